"""Restoring portraits through the command line: what it writes, and what it says of faces."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from portrayer.image import codec
from portrayer.tasks.presets import PRESETS
from portrayer.types import Image

from .terminal import astronaut, picture, portrayer, state, tree

SIDE = 192  # pixels of a portrait; its face is about 50 wide
OURS = tuple(name for name, preset in PRESETS.items() if preset.task == "enhance")


def worn(side: int = SIDE) -> Image:
    """A portrait that was made smaller and larger again."""
    small = cv2.resize(astronaut(side), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC))


def save(path: Path, image: Image) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(codec.encode(image, codec.format_of(path), quality=60))
    return path


def pixels(path: Path) -> Image:
    return codec.decode(path.read_bytes()).image


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """A portrait, two portraits in one photo, a wall, and what is no photo."""
    folder = tmp_path / "in"
    save(folder / "one.jpg", worn())
    save(folder / "sub" / "two.png", np.hstack([worn(), worn()[:, ::-1]]))
    save(folder / "wall.jpg", np.full((SIDE, SIDE, 3), (180, 170, 150), np.uint8))
    (folder / "bad.jpg").write_text("no photo")
    return folder


def test_a_folder_is_restored_and_gone_on_with(inputs: Path, tmp_path: Path) -> None:
    """Faces are counted for each photo, the bad file is told, a second run does only what is new
    or changed."""
    out = tmp_path / "out"
    first = portrayer("enhance", inputs, "-o", out, "--json")
    report = first.report
    assert (first.code, first.err) == (1, "")
    assert first.failed == {"bad.jpg": "decode"}
    assert (report["done"], report["total"]) == (3, 4)
    counted = {Path(file).relative_to(inputs).as_posix(): n for file, n in report["faces"].items()}
    assert counted == {"one.jpg": 1, "sub/two.png": 2, "wall.jpg": 0}
    assert tree(out) == {"one.jpg", "sub/two.jpg", "wall.jpg"}
    assert picture(out / "sub" / "two.jpg") == ("RGB", (2 * SIDE, SIDE))

    before = state(out)
    save(inputs / "wall.jpg", worn()[:, ::-1])  # changed
    save(inputs / "bad.jpg", worn())  # mended
    second = portrayer("enhance", inputs, "-o", out, "--json")
    assert (second.code, second.report["done_before"], second.report["done"]) == (0, 2, 4)
    assert set(second.report["faces"].values()) == {1}
    after = state(out)
    assert {name for name in before if after[name] == before[name]} == {"one.jpg", "sub/two.jpg"}
    assert set(after) == {*before, "bad.jpg"}


def test_the_summary_for_people(inputs: Path, tmp_path: Path) -> None:
    """How many faces on stdout; on stderr a line for each photo without one, and each failure."""
    done = portrayer("enhance", inputs, "-o", tmp_path / "out")
    assert done.code == 1
    *_, faces = done.out.decode().splitlines()
    assert faces == "3 faces in 3 photos"
    alone = portrayer("enhance", inputs / "one.jpg", "-o", tmp_path / "one")
    assert alone.out.decode().splitlines()[-1] == "1 face in 1 photo"
    none, failed = done.err.splitlines()
    assert none == f"no face: {inputs / 'wall.jpg'}: only the whole frame was worked on"
    assert failed.startswith(f"failed: {inputs / 'bad.jpg'}: not a readable picture")


def test_one_photo_as_json(inputs: Path, tmp_path: Path) -> None:
    """Where its faces are, in its own pixels; the face is sharper than it was."""
    result = tmp_path / "a.png"
    done = portrayer("enhance", inputs / "one.jpg", "-o", result, "--json", "--denoise", "0")
    assert (done.code, done.err) == (0, "")
    [[x, y, width, height]] = done.report["faces"]
    assert 0.15 * SIDE < width < 0.5 * SIDE
    assert 0 < x < x + width < SIDE
    assert 0 < y < y + height < SIDE
    inside = np.s_[round(y) : round(y + height), round(x) : round(x + width)]
    before, after = (
        cv2.Laplacian(pixels(p)[inside], cv2.CV_32F) for p in (inputs / "one.jpg", result)
    )
    assert after.std() > before.std()


def test_one_photo_without_a_face_says_so(inputs: Path, tmp_path: Path) -> None:
    """On stderr, whether people or programs read stdout; the photo is done all the same."""
    for options in ((), ("--json",)):
        done = portrayer("enhance", inputs / "wall.jpg", "-o", tmp_path / "a.jpg", *options)
        assert done.code == 0
        assert done.err == "no face was found: only the whole frame was worked on\n"
        assert picture(tmp_path / "a.jpg") == ("RGB", (SIDE, SIDE))
    assert done.report["faces"] == []


@pytest.mark.parametrize("name", ["old-photo", "fast", "retouch"])
def test_presets(name: str, inputs: Path, tmp_path: Path) -> None:
    """A preset does what its options do when they are typed."""
    assert name in OURS
    flags = [word for o, value in PRESETS[name].options.items() for word in (f"--{o}", value)]
    by_name, typed = tmp_path / "name.png", tmp_path / "typed.png"
    assert portrayer("enhance", inputs / "one.jpg", "-o", by_name, "--preset", name).code == 0
    assert portrayer("enhance", inputs / "one.jpg", "-o", typed, *flags).code == 0
    assert pixels(by_name).shape == (SIDE, SIDE, 3)
    assert np.abs(pixels(by_name).astype(int) - pixels(typed)).max() <= 1


def test_a_flag_beats_the_preset(inputs: Path, tmp_path: Path) -> None:
    """What is said explicitly wins."""
    files = (inputs / "one.jpg", "-o", tmp_path / "a.png")
    assert portrayer("enhance", *files, "--preset", "fast", "--max-side", "64").code == 0
    assert pixels(tmp_path / "a.png").shape == (64, 64, 3)


WRONG = [
    (("--faces", "many"), "faces is 'many': say all, largest, or a number from 1"),
    (("--faces", "0"), "faces is '0'"),
    (("--mode", "loud"), "it can be natural, strong, detail"),
    (("--strength", "101"), "strength is 101, it can be 0 to 100 %"),
    (("--model", "gpen"), "it can be lite, gpen-256"),
    (("--preset", "id-photo"), "preset 'id-photo' is for the task 'matte', not 'enhance'"),
    (("--erode", "1"), "--erode"),
    (("--yes",), "--yes"),
]


@pytest.mark.parametrize(("options", "line"), WRONG)
def test_a_wrong_wish(options: tuple[str, ...], line: str, inputs: Path, tmp_path: Path) -> None:
    """One line, exit code 2, and nothing is written."""
    wrong = portrayer("enhance", inputs, "-o", tmp_path / "out", *options)
    assert wrong.code == 2
    assert line in wrong.complaint()
    assert not (tmp_path / "out").exists()


def test_a_model_nobody_brought(inputs: Path, tmp_path: Path) -> None:
    """The installation is wrong, not the photos: exit code 3, and how to bring it."""
    wrong = portrayer(
        "enhance", inputs / "one.jpg", "-o", tmp_path / "a.png", "--model", "gpen-512"
    )
    assert wrong.code == 3
    assert "portrayer models pull gpen-512" in wrong.complaint()
    assert not (tmp_path / "a.png").exists()


def test_the_largest_face_alone(inputs: Path, tmp_path: Path) -> None:
    """--faces says which are worked on, and so which are told."""
    source = inputs / "sub" / "two.png"
    for which, count in (("largest", 1), ("2", 2)):
        done = portrayer("enhance", source, "-o", tmp_path / "a.png", "--faces", which, "--json")
        assert len(done.report["faces"]) == count
