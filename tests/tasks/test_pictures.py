"""Laws of pictures that an option names."""

from __future__ import annotations

import os
import tracemalloc
import weakref
from pathlib import Path

import numpy as np
import pytest

from portrayer.errors import InvalidOption
from portrayer.image import codec
from portrayer.tasks import matting, task
from portrayer.tasks.options import read
from portrayer.tasks.pictures import memory, named, picture
from tests.tasks.test_matting import portrait, redness


def hill(file: Path, height: int = 50, width: int = 80) -> Path:
    file.write_bytes(codec.encode(np.full((height, width, 3), (10, 200, 60), np.uint8)))
    return file


def test_a_picture_is_read_where_it_lies(tmp_path: Path) -> None:
    """And again once it has changed."""
    file = hill(tmp_path / "hill.png")
    assert picture("background", str(file)).shape == (50, 80, 3)
    hill(file, 9, 8)
    os.utime(file, ns=(1, 1))
    assert picture("background", str(file)).shape == (9, 8, 3)


def test_a_large_picture_is_let_go_with_its_use(tmp_path: Path) -> None:
    """A small one is kept for the next photo: nobody's budget has what stays in memory."""
    small, large = (hill(tmp_path / f"{side}.png", side, 4100) for side in (4000, 4100))
    for file, kept in ((small, True), (large, False)):
        known = weakref.ref(picture("background", str(file)))
        assert (known() is not None) == kept


@pytest.mark.parametrize("name", ["gone.png", "notes.txt", "folder", "a\0b"])
def test_what_is_no_picture_is_told_by_name(tmp_path: Path, name: str) -> None:
    """The option and the file, not the folders that it lies in."""
    (tmp_path / "notes.txt").write_text("milk, bread")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InvalidOption) as caught:
        picture("background", str(tmp_path / name))
    line = str(caught.value)
    assert line.startswith(f"background is {name!r}")
    assert str(tmp_path) not in line
    assert "\n" not in line


def test_the_pictures_of_a_dataclass(tmp_path: Path) -> None:
    """Of a task and of every step of a chain."""
    file = hill(tmp_path / "hill.png")
    assert named(read(matting.Matting, {"background": str(file)})) == {"background": str(file)}
    assert named(read(matting.Matting, {"background": "blur"})) == {}
    values = {"fuse.target-face": "like:a.jpg", "matte.background": str(file)}
    both = read(task("fuse+matte").options, values)
    assert named(both) == {"fuse.target-face": "a.jpg", "matte.background": str(file)}


def test_what_needs_no_memory(tmp_path: Path) -> None:
    """Words and colours, and what cannot be read: that is told when it is used."""
    assert memory(matting.Matting()) == 0
    file = hill(tmp_path / "hill.png")
    chosen = read(matting.Matting, {"background": str(file)})
    assert memory(chosen) > 0
    file.write_text("milk, bread")
    os.utime(file, ns=(1, 1))
    assert memory(chosen) == 0
    file.unlink()
    assert memory(chosen) == 0


def test_no_more_memory_than_was_said(tmp_path: Path) -> None:
    """The arrays alive at the peak, those of the picture among them, stay within the estimates."""
    file = hill(tmp_path / "hill.png", 1500, 2500)
    chosen = read(matting.Matting, {"background": str(file)})
    tracemalloc.start()
    try:
        photo = portrait(800, 700)
        matting.run([photo], chosen, redness)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= matting.memory(chosen, 800 * 700) + memory(chosen)
    assert memory(chosen) >= 2 * 3 * 1500 * 2500
