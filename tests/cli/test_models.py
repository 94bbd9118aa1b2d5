"""``portrayer models``: the list, and models that are added, pulled, verified and removed."""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from portrayer.cli import main
from portrayer.models import catalog, weights
from tests.models.conftest import nets
from tests.models.origin import Origin, published, small, tensors, torch_file

from .terminal import Outcome, portrayer

__all__ = ["nets"]  # the fixture of the other folder's tests

pytestmark = pytest.mark.usefixtures("nets")

CONTENT = torch_file(tensors())
USAGE, ENVIRONMENT = 2, 3


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this user's models lie."""
    monkeypatch.setenv("PORTRAYER_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture(autouse=True)
def origin(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Origin]:
    """Where ``small`` is published: free; and ``bound``, whose licence must be accepted."""
    with published(CONTENT) as server:
        for name, consent in (("small", False), ("bound", True)):
            row = small(folder, server.url, consent=consent)
            own = replace(row.weights, file=f"{name}.safetensors", folder=None)
            monkeypatch.setitem(catalog.CATALOG, name, replace(row, name=name, weights=own))
        yield server


@pytest.fixture
def given(tmp_path: Path) -> Path:
    path = tmp_path / "given.pth"
    path.write_bytes(CONTENT)
    return path


def fine(outcome: Outcome) -> str:
    """What was said on stdout of a command that went well and said nothing else."""
    assert (outcome.code, outcome.err) == (0, "")
    return outcome.out.decode()


def listed(name: str) -> dict[str, str]:
    rows = {row["name"]: row for row in json.loads(fine(portrayer("models", "--json")))}
    assert list(rows) == list(catalog.CATALOG)
    found: dict[str, str] = rows[name]
    return found


def test_the_list_says_what_is_here(folder: Path, given: Path) -> None:
    """What ships is installed and verified; what a user brings is not, until it is, and then is
    shown where it lies."""
    head, *rows = fine(portrayer("models")).splitlines()
    wanted = ["name", "task", "size", "licence", "installed", "where", "verified"]
    assert head.split() == wanted
    assert [row.split()[0] for row in rows] == list(catalog.CATALOG)
    for name, spec in catalog.CATALOG.items():
        shipped, row = spec.weights.shipped, listed(name)
        assert list(row) == wanted
        assert row["installed"] == ("yes" if shipped else "no")
        assert Path(row["where"]).is_file() == shipped
        assert row["verified"] == "yes" or f"`portrayer models pull {name}`" in row["verified"]
    portrayer("models", "add", "small", given)
    row = listed("small")
    assert row["where"] == str(folder / "small.safetensors")
    assert (row["installed"], row["verified"]) == ("yes", "yes")


def test_a_model_comes_and_goes(folder: Path, given: Path, origin: Origin) -> None:
    """Added, it is there; removed, it is not; pulled, it is there again. Each says so in a line."""
    said = fine(portrayer("models", "add", "small", given))
    assert said.startswith("small is installed")
    assert f"from {given}, sha256 " in said
    assert fine(portrayer("models", "remove", "small")) == "small is removed\n"
    assert listed("small")["installed"] == "no"
    assert f"from {origin.url}, sha256 " in fine(portrayer("models", "pull", "small"))
    assert listed("small")["installed"] == "yes"


def test_an_unfinished_pull_goes_on(folder: Path, origin: Origin) -> None:
    """A broken line is the environment's fault, and says that the same command goes on."""
    origin.cut = 2000
    wrong = portrayer("models", "pull", "small")
    assert wrong.code == ENVIRONMENT
    assert "run the same command again to go on" in wrong.complaint()
    origin.cut = None
    fine(portrayer("models", "pull", "small"))
    assert origin.asked == ["", "bytes=2000-"]


@pytest.mark.parametrize("command", ["add", "pull"])
def test_a_licence_needs_a_yes(command: str, folder: Path, given: Path, origin: Origin) -> None:
    """Where nobody can answer, one line names the licence and the flag; with the flag it goes on,
    and afterwards needs none."""
    arguments = ["models", command, "bound", *([given] if command == "add" else [])]
    wrong = portrayer(*arguments)
    assert wrong.code == USAGE
    line = wrong.complaint()
    assert "for tests" in line
    assert "--yes" in line
    assert (folder.exists(), origin.asked) == (False, [])
    fine(portrayer(*arguments, "--yes"))
    assert json.loads((folder / "bound.json").read_text())["consented"]
    fine(portrayer(*arguments))


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.parametrize(
    ("answer", "code"), [("yes", 0), ("YES ", 0), ("no", USAGE), ("", USAGE), ("y", USAGE)]
)
def test_a_terminal_is_asked(
    answer: str, code: int, folder: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The question names the licence and its origin; nothing but yes is yes."""
    outside, inside = os.openpty()
    os.write(outside, f"{answer}\n".encode())
    with open(inside, encoding="utf-8") as typed, open(os.dup(inside), "w") as shown:
        monkeypatch.setattr("sys.stdin", typed)
        monkeypatch.setattr("sys.stderr", shown)
        with pytest.raises(SystemExit) as end:
            main(["models", "pull", "bound"])
        shown.flush()
        asked = ""
        while "licence: " not in asked and select.select([outside], [], [], 5)[0]:
            asked += os.read(outside, 4096).decode()  # a terminal hands over what it likes
    os.close(outside)
    assert end.value.code == code
    assert "bound is for tests, from here" in asked
    assert "Type yes to accept this licence: " in asked
    assert (folder / "bound.safetensors").exists() == (code == 0)
    assert bool(origin.asked) == (code == 0)


def test_verify_finds_the_damaged_one(folder: Path, given: Path) -> None:
    """What is installed is listed with its verdict; damage is exit code 3."""
    portrayer("models", "add", "small", given)
    head, *rows = fine(portrayer("models", "verify")).splitlines()
    assert head.split() == ["name", "where", "verified"]
    shipped = [name for name in catalog.CATALOG if catalog.CATALOG[name].weights.shipped]
    assert [row.split()[0] for row in rows] == [*shipped, "small"]
    path = folder / "small.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    weights.verify.cache_clear()  # a process trusts what it has checked
    damaged = portrayer("models", "verify")
    assert damaged.code == ENVIRONMENT
    assert b"damaged" in damaged.out.splitlines()[-1]


WRONG = [
    (("add", "smal", "given.pth"), USAGE, "no model is called 'smal'"),
    (("add", "small"), USAGE, "argument"),
    (("add", "small", "none.pth"), USAGE, "none.pth cannot be read: No such file"),
    (("add", "small", "text.pth"), ENVIRONMENT, "text.pth cannot be read: it is cut short"),
    (("add", "small", "other.pth"), ENVIRONMENT, "'first.weight' is missing"),
    (("add", "portrait-matting", "given.pth"), USAGE, "comes with the package"),
    (("pull", "portrait-matting"), USAGE, "comes with the package"),
    (("pull", "none"), USAGE, "`portrayer models` lists them"),
    (("remove", "small"), USAGE, "small is not installed"),
    (("remove", "portrait-matting"), USAGE, "comes with the package"),
    (("--json", "verify"), USAGE, "--json is for the list"),
    (("list",), USAGE, "list"),
]


@pytest.mark.parametrize(("command", "code", "line"), WRONG)
def test_one_clear_line(
    command: tuple[str, ...],
    code: int,
    line: str,
    folder: Path,
    given: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Usage is 2 and the environment 3; nothing is installed."""
    monkeypatch.chdir(given.parent)
    Path("text.pth").write_text("no weights")
    Path("other.pth").write_bytes(torch_file({"a": tensors()["first.bias"]}))
    wrong = portrayer("models", *command)
    assert wrong.code == code
    assert line in wrong.complaint()
    assert not folder.exists()
