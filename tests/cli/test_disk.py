"""A disk without room: the run stops with one line, and goes on when there is some."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .terminal import photo, picture, portrayer, tree

PHOTOS = 4
ROOM = 300_000  # bytes: several ledgers, and less than one result
RESULTS = {f"{number}.png" for number in range(PHOTOS)}

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no such limits on Windows")


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    for number in range(PHOTOS):
        photo(tmp_path / "in" / f"{number}.jpg", side=512)
    return tmp_path / "in"


@contextmanager
def small_files(limit: int) -> Iterator[None]:
    """No file of this process grows beyond ``limit`` bytes."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_results_too_large_for_the_disk(inputs: Path, tmp_path: Path) -> None:
    """No photo is called failed, nothing is half-written, and the run goes on given room."""
    out = tmp_path / "out"
    for _ in range(4):  # more often than an item may be tried: the disk is not the photos' fault
        with small_files(ROOM):
            full = portrayer("matte", inputs, "-o", out)
        assert full.code == 3
        assert "the file is too large for this disk" in full.complaint()
        assert tree(out) == set()
    given = portrayer("matte", inputs, "-o", out, "--json")
    assert (given.code, given.report["failed"]) == (0, [])
    assert {picture(out / name) for name in RESULTS} == {("RGBA", (512, 512))}
    assert tree(out) == RESULTS


def test_one_result_too_large_for_the_disk(inputs: Path, tmp_path: Path) -> None:
    """The same for one photo to one file, and what was there before stays as it was."""
    cut = tmp_path / "cut.png"
    cut.write_bytes(b"what was here before")
    with small_files(ROOM):
        full = portrayer("matte", inputs / "0.jpg", "-o", cut)
    assert full.code == 3
    assert "the file is too large for this disk" in full.complaint()
    assert cut.read_bytes() == b"what was here before"
    assert tree(tmp_path) == {"cut.png", *(f"in/{number}.jpg" for number in range(PHOTOS))}


@contextmanager
def disk(at: Path, size: int) -> Iterator[None]:
    """A disk of ``size`` bytes in memory."""
    at.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(at)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("may not mount a disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="a disk in memory as on Linux")
@pytest.mark.parametrize(
    "size", [1 << 20, pytest.param(128 << 10, marks=pytest.mark.slow), 48 << 10]
)
def test_a_disk_that_fills_up(size: int, inputs: Path, tmp_path: Path) -> None:
    """Full for the results and for the ledger itself: whole files only, and no photo is failed."""
    out = tmp_path / "disk" / "out"
    with disk(tmp_path / "disk", size):
        for _ in range(4):
            full = portrayer("matte", inputs, "-o", out)
            assert full.code == 3
            assert re.search("full|check the disk", full.complaint())
            whole = tree(out)
            assert whole < RESULTS
            assert {picture(out / name) for name in whole} <= {("RGBA", (512, 512))}
        grow = ["mount", "-o", f"remount,size={32 << 20}", str(tmp_path / "disk")]
        subprocess.run(grow, check=True)
        given = portrayer("matte", inputs, "-o", out, "--json")
        assert (given.code, given.report["failed"]) == (0, [])
        assert {picture(out / name) for name in RESULTS} == {("RGBA", (512, 512))}
        assert tree(out) == RESULTS
