"""What can go wrong: one clear line on stderr, the documented exit code, and nothing written."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import torch

from portrayer.cli import main
from portrayer.models import catalog, weights

from .terminal import PROGRAM, photo, portrayer, tree

USAGE, ENVIRONMENT = 2, 3
OUT = ("-o", "out")
LOCATE = weights.locate

WRONG = [
    (("matte",), USAGE, "argument"),
    (("matte", "a.jpg"), USAGE, "say where the results go"),
    (("matte", "a.jpg", "-o"), USAGE, "requires an argument"),
    (("mate", "a.jpg"), USAGE, "mate"),
    (("matte", "a.jpg", *OUT, "--fether", "1"), USAGE, "--fether"),
    (("matte", "a.jpg", *OUT, "--feather", "soft"), USAGE, "--feather"),
    (("matte", "a.jpg", *OUT, "--feather", "21"), USAGE, "feather is 21.0, it can be 0 to 20 px"),
    (("matte", "a.jpg", *OUT, "--feather", "nan"), USAGE, "feather"),
    (("matte", "a.jpg", *OUT, "--refine", "best"), USAGE, "it can be fast, closed-form, none"),
    (("matte", "a.jpg", *OUT, "--background", "pink"), USAGE, "pink"),
    (("matte", "a.jpg", *OUT, "--background", "#12345"), USAGE, "#12345"),
    (("matte", "a.jpg", *OUT, "--format", "gif"), USAGE, "it can be png, webp, jpeg"),
    (("matte", "a.jpg", *OUT, "--format", "jpeg"), USAGE, "has no transparency"),
    (("matte", "a.jpg", "-o", "cut.jpg"), USAGE, "has no transparency"),
    (("matte", "a.jpg", "-o", "cut.gif"), USAGE, "'.gif' cannot be written"),
    (("matte", "a.jpg", "-o", "a.jpg", "--background", "white"), USAGE, "overwritten by its own"),
    (("matte", "a.jpg", "folder", "-o", "cut.png"), USAGE, "many results need a folder"),
    (("matte", "a.jpg", *OUT, "--preset", "idphoto"), USAGE, "no preset is called 'idphoto'"),
    (("matte", "a.jpg", *OUT, "--preset", "no.toml"), USAGE, "no.toml cannot be read"),
    (("matte", "a.jpg", *OUT, "--preset", "bad.toml"), USAGE, "bad.toml is not valid TOML"),
    (("matte", "a.jpg", *OUT, "--preset", "odd.toml"), USAGE, "no option is called 'fether'"),
    (("presets", "idphoto"), USAGE, "no preset is called 'idphoto'"),
    (("matte", "none.jpg", *OUT), USAGE, "none.jpg does not exist"),
    (("matte", "a.jpg", "none", *OUT), USAGE, "none does not exist"),
    (("matte", "empty", *OUT), USAGE, "no photos in empty"),
    (("matte", "-", "a.jpg", *OUT), USAGE, "stdin"),
    (("matte", "-", "--watch"), USAGE, "cannot be watched"),
    (("matte", "-", "-o", "empty"), USAGE, "empty is a folder: what comes from stdin needs a file"),
    (("matte", "folder", "-o", "-"), USAGE, "stdout"),
    (("matte", "a.jpg", "-o", "-", "--json"), USAGE, "--json"),
    (("matte", "-"), USAGE, "the file is empty"),
    (("matte", "text.jpg", "-o", "cut.png"), USAGE, "not a readable picture"),
    (("matte", "a.jpg", *OUT, "--memory", "lots"), USAGE, "'lots' is not an amount of memory"),
    (("matte", "a.jpg", *OUT, "--memory", "900TiB"), USAGE, "more than there is"),
    (("matte", "a.jpg", *OUT, "--memory", "1MiB"), USAGE, "at least 256.0 MiB are needed"),
    (("matte", "a.jpg", *OUT, "--workers", "-1"), USAGE, "workers"),
    (("matte", "a.jpg", *OUT, "--max-pixels", "0"), USAGE, "max_pixels"),
    (("matte", "a.jpg", *OUT, "--device", "gpu9"), USAGE, "gpu9"),
    (("matte", "a.jpg", *OUT, "--precision", "int3"), USAGE, "int3"),
    (("matte", "folder", "-o", "text.jpg"), ENVIRONMENT, "is a file, many results need a folder"),
    (("matte", "folder", "-o", "text.jpg/out"), ENVIRONMENT, "cannot be written"),
    (("matte", "a.jpg", "-o", "text.jpg/cut.png"), ENVIRONMENT, "cannot be written"),
    (("matte", "a.jpg", "-o", "/proc/cut.png"), ENVIRONMENT, "cannot be written"),
    (("matte", "folder", "-o", "/proc/out"), ENVIRONMENT, "cannot be written"),
]


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in: a photo, a folder with another, an empty one, and texts."""
    photo(tmp_path / "a.jpg")
    photo(tmp_path / "folder" / "b.jpg")
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.jpg").write_text("no photo")
    (tmp_path / "bad.toml").write_text("feather: 1")
    (tmp_path / "odd.toml").write_text("[options]\nfether = 1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("command", "code", "line"), WRONG)
def test_one_clear_line(command: tuple[str, ...], code: int, line: str, room: Path) -> None:
    """Usage is 2 and the environment 3, told in one line; no picture is written or changed."""
    before = tree(room)
    wrong = portrayer(*command)
    assert wrong.code == code
    assert line in wrong.complaint()
    assert tree(room) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    "asked", [("--require-gpu",), ("--require-gpu", "--device", "auto"), ("--device", "cuda:0")]
)
def test_a_gpu_that_is_not_there(asked: tuple[str, ...], room: Path) -> None:
    """What asks for a GPU fails at once, instead of running for days on the CPU."""
    before = tree(room)
    wrong = portrayer("matte", "a.jpg", *OUT, *asked)
    assert wrong.code == ENVIRONMENT
    assert "GPU" in wrong.complaint()
    assert tree(room) == before


@pytest.fixture
def damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The weights' file, with one bit of it turned over; lies elsewhere than the real one."""
    spec = catalog.spec("portrait-matting")
    copy = tmp_path / "package" / spec.weights.file
    copy.parent.mkdir()
    content = bytearray(weights.locate(spec.weights).read_bytes())
    content[-1000] ^= 1
    copy.write_bytes(content)
    monkeypatch.setattr(weights, "locate", lambda _: copy)
    return copy


def test_damaged_weights_are_told_by_every_command(room: Path, damaged: Path) -> None:
    """One turned bit: nothing is cut out with it, no photo is called failed, doctor knows why."""
    for arguments in (("a.jpg", "-o", "cut.png"), ("folder", "-o", "out")):
        wrong = portrayer("matte", *arguments)
        assert wrong.code == ENVIRONMENT
        assert "the file is damaged or not the published one" in wrong.complaint()
    assert tree(room / "out") == set()
    assert not (room / "cut.png").exists()
    doctor = portrayer("doctor", "--json")
    assert (doctor.code, doctor.report["ready"]) == (ENVIRONMENT, False)
    assert b"damaged" in portrayer("models").out
    with pytest.MonkeyPatch.context() as again:
        again.setattr(weights, "locate", LOCATE)
        assert portrayer("matte", "folder", *OUT).code == 0  # installed again: it goes on


def test_a_bug_is_called_one(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody expected is logged whole for a report; the last line says what it is."""
    monkeypatch.setattr("portrayer.models.weights.verify", lambda _: 1 / 0)
    broken = portrayer("models")
    assert broken.code == ENVIRONMENT
    assert broken.err.splitlines()[-1].startswith("portrayer: internal error, this is a bug")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("command", [("models",), ("matte", "a.jpg", "-o", "-")])
def test_a_full_disk_behind_stdout(
    command: tuple[str, ...],
    room: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """stdout that takes nothing more: one line, and none from Python itself at the end."""
    with open("/dev/full", "w") as full:
        monkeypatch.setattr("sys.stdout", full)
        with pytest.raises(SystemExit) as end:
            main(command)
    assert end.value.code == ENVIRONMENT
    assert capsys.readouterr().err == "portrayer: standard output: No space left on device\n"


def test_a_reader_who_has_seen_enough(room: Path) -> None:
    """stdout closed by the other side, as ``| head`` does: no words are lost over it."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as pipe:
        done = subprocess.run(
            [*PROGRAM, "presets"], stdout=pipe, stderr=subprocess.PIPE, text=True, cwd=room
        )
    assert (done.returncode, done.stderr) == (ENVIRONMENT, "")
