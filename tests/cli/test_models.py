"""``portrayer models``: the list, licences, and models that are added, pulled, verified and
removed.
"""

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
from portrayer.models import catalog
from tests.models import graphs
from tests.models.conftest import nets
from tests.models.origin import (
    GRAPH,
    Origin,
    cuts,
    cutter,
    inside,
    published,
    runs,
    small,
    tensors,
    torch_file,
)

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
def graph(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Origin]:
    """Where ``cutter`` is published: a graph that does not work without ``bound``."""
    with published(GRAPH) as server:
        row = cutter(folder, server.url)
        own = replace(row.weights, folder=None)
        monkeypatch.setitem(catalog.CATALOG, "cutter", replace(row, weights=own))
        monkeypatch.setitem(catalog.NEEDS, "cutter", ("bound",))
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
    wanted = ["name", "task", "size", "licence", "commercial", "installed", "where", "verified"]
    assert head.split() == wanted
    assert portrayer("models", "list") == portrayer("models")
    assert portrayer("models", "list", "--json") == portrayer("models", "--json")
    assert [row.split()[0] for row in rows] == list(catalog.CATALOG)
    for name, spec in catalog.CATALOG.items():
        shipped, row = spec.weights.shipped, listed(name)
        assert list(row) == wanted
        assert (row["installed"], row["verified"]) == (("yes", "yes") if shipped else ("no", "-"))
        assert Path(row["where"]).is_file() == shipped
        assert shipped or row["where"] == f"`portrayer models pull {name}`"
        assert row["commercial"] == ("yes" if spec.weights.commercial else "no")
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


def test_several_are_pulled_with_what_they_need(
    folder: Path, origin: Origin, graph: Origin
) -> None:
    """What comes along is told with its size, before; each licence is asked for first, and nothing
    is fetched until all are accepted."""
    wrong = portrayer("models", "pull", "small", "cutter")
    assert (wrong.code, graph.paths, origin.paths) == (USAGE, [], [])
    assert "say --yes to accept this licence" in wrong.err
    first, *rest = fine(portrayer("models", "pull", "small", "cutter", "--yes")).splitlines()
    assert first == "cutter (2.0 KiB) needs bound (29.3 KiB)"
    assert [line.split()[0] for line in rest] == ["small", "cutter", "bound"]
    assert cuts(catalog.spec("cutter"))
    again = fine(portrayer("models", "pull", "cutter")).splitlines()
    assert [line.split()[0] for line in again] == ["cutter", "bound"]
    assert (len(graph.paths), len(origin.paths)) == (1, 2)


def test_a_model_of_ones_own(folder: Path, tmp_path: Path, origin: Origin) -> None:
    """Added like another it is listed, verified, chosen by its name and removed as any; a licence
    of its own is nobody's business here."""
    file = tmp_path / "given.onnx"
    file.write_bytes(graphs.of(catalog.CATALOG["u2netp"]))
    said = fine(
        portrayer("models", "add", file, "--task", "matte", "--like", "u2netp", "--name", "mine")
    )
    assert said.startswith("mine is installed")
    rows = json.loads(fine(portrayer("models", "--json")))
    assert [row["name"] for row in rows] == [*catalog.CATALOG, "mine"]
    assert rows[-1] == {
        "name": "mine",
        "task": "matte",
        "size": rows[-1]["size"],
        "licence": "your own",
        "commercial": "-",
        "installed": "yes",
        "where": str(folder / "mine.onnx"),
        "verified": "yes",
    }
    assert cuts(catalog.spec("mine"))
    assert "mine" in fine(portrayer("models", "verify")).splitlines()[-1]
    (folder / "mine.onnx").unlink()
    assert f"from {file.as_uri()}" in fine(portrayer("models", "pull", "mine"))
    assert fine(portrayer("models", "remove", "mine")) == "mine is removed\n"
    assert portrayer("models", "licence", "mine").code == USAGE


def test_a_model_of_ones_own_anew(folder: Path, tmp_path: Path) -> None:
    """The name of one's own says what it is: another file of it, of either kind, takes its place;
    what is fetched again is the file that was added."""
    files = [tmp_path / name for name in ("one.pth", "two.onnx", "three.pth")]
    files[0].write_bytes(torch_file(tensors(0)))
    files[1].write_bytes(graphs.picture(8, planes=3, squash="Tanh"))
    files[2].write_bytes(torch_file(tensors(1)))
    fine(portrayer("models", "add", files[0], "--like", "small", "--name", "mine"))
    one = catalog.spec("mine")
    for file in files[1:]:
        fine(portrayer("models", "add", file, "--like", "mine"))
        assert inside(folder) == {f"mine{'.onnx' if 'two' in file.name else '.safetensors'}"} | {
            "mine.json"
        }
    assert runs(catalog.spec("mine"), seed=1)
    assert catalog.spec("mine") != one, "who has the first loaded sees that it is another"
    files[2].write_bytes(torch_file(tensors(2)))
    (folder / "mine.safetensors").write_bytes(b"damaged")
    wrong = portrayer("models", "pull", "mine")
    assert wrong.code == ENVIRONMENT
    assert "has sha256" in wrong.complaint()


def test_other_weights_of_a_network(folder: Path, tmp_path: Path) -> None:
    """They run beside the first."""
    for name, seed in (("small", 0), ("mine", 1)):
        file = tmp_path / f"{name}.pth"
        file.write_bytes(torch_file(tensors(seed)))
        fine(portrayer("models", "add", file, "--like", "small", "--name", name))
    assert runs(catalog.spec("small"), seed=0)
    assert runs(catalog.spec("mine"), seed=1)


def test_a_licence_is_said(folder: Path, origin: Origin, graph: Origin) -> None:
    """With whether it was accepted, what it lets one do, and where the model comes from."""
    said = dict(
        line.split("  ", 1) for line in fine(portrayer("models", "licence", "bound")).splitlines()
    )
    assert {name: value.strip() for name, value in said.items()} == {
        "name": "bound",
        "licence": "for tests",
        "commercial use": "yes",
        "accepted": "not yet",
        "origin": "here",
        "fetched from": origin.url,
    }
    fine(portrayer("models", "pull", "cutter", "--yes"))
    accepted = json.loads((folder / "bound.json").read_text())["consented"]
    assert accepted in fine(portrayer("models", "licence", "bound"))
    fine(portrayer("models", "add", folder / "cutter.onnx", "--like", "cutter", "--name", "mine"))
    for name in ("cutter", "mine"):
        assert "needs           bound\n" in fine(portrayer("models", "licence", name))
    assert "non-commercial" in fine(portrayer("models", "licence", "inswapper-128"))


def test_the_network_is_as_it_is_set(
    folder: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offline nothing is fetched, by flag or setting; a mirror is asked first, by either."""
    wrong = portrayer("models", "pull", "small", "--offline")
    assert wrong.code == ENVIRONMENT
    assert "nothing is fetched offline: `portrayer models add FILE --like small`" in wrong.err
    monkeypatch.setenv("PORTRAYER_OFFLINE", "true")
    assert portrayer("models", "pull", "small").code == ENVIRONMENT
    monkeypatch.delenv("PORTRAYER_OFFLINE")
    assert origin.paths == []
    base = origin.url.rpartition("/")[0]
    fine(portrayer("models", "pull", "small", "--mirror", f"{base}/one"))
    portrayer("models", "remove", "small")
    monkeypatch.setenv("PORTRAYER_MIRROR", f"{base}/two/")
    fine(portrayer("models", "pull", "small"))
    assert origin.paths == ["/one/small.pth", "/two/small.pth"]


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
    damaged = portrayer("models", "verify")
    assert damaged.code == ENVIRONMENT
    assert b"damaged" in damaged.out.splitlines()[-1]


WRONG = [
    (("add", "smal", "given.pth"), USAGE, "no model is called 'smal'"),
    (("add", "given.pth"), USAGE, "`portrayer models add FILE --like NAME`"),
    (("add", "small", "given.pth", "--like", "small"), USAGE, "say which model it is"),
    (("add", "small", "given.pth", "more.pth"), USAGE, "say which model it is"),
    (("add", "given.pth", "--like", "smal"), USAGE, "no model is called 'smal'"),
    (("add", "given.pth", "--like", "small", "--task", "matte"), USAGE, "is for 'enhance'"),
    (("add", "given.pth", "--like", "small", "--name", "bound"), USAGE, "is in the catalogue"),
    (("add", "given.pth", "--like", "small", "--name", "A B"), USAGE, "'A B' is no name"),
    (("add", "given.pth", "--like", "u2net", "--name", "a"), USAGE, "u2net is an ONNX graph"),
    (("add", "given.pth", "--like", "small", "--name", "lite"), USAGE, "'lite' is taken"),
    (("add", "given.pth", "--like", "small", "--name", "mesh"), USAGE, "'mesh' is taken"),
    (("add", "text.pth", "--like", "u2net"), ENVIRONMENT, "--name keeps it as a model of your own"),
    (("add", "small", "none.pth"), USAGE, "none.pth cannot be read: No such file"),
    (("add", "small", "text.pth"), ENVIRONMENT, "text.pth cannot be read: it is cut short"),
    (("add", "small", "other.pth"), ENVIRONMENT, "'first.weight' is missing"),
    (("add", "portrait-matting", "given.pth"), USAGE, "comes with the package"),
    (("pull", "portrait-matting"), USAGE, "comes with the package"),
    (("pull", "small", "none"), USAGE, "`portrayer models` lists them"),
    (("pull", "small", "--mirror", "ftp://a"), USAGE, "an address is needed"),
    (("licence", "none"), USAGE, "`portrayer models` lists them"),
    (("pull", "none"), USAGE, "`portrayer models` lists them"),
    (("remove", "small"), USAGE, "small is not installed"),
    (("remove", "portrait-matting"), USAGE, "comes with the package"),
    (("--json", "verify"), USAGE, "--json is for the list"),
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
    assert inside(folder) == set()
