"""What memory there is: never more than the machine's, nor than any group's around this process."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from portrayer.engine.host import available

GIB = 1 << 30
CACHE = 12345  # bytes of files, which are let go of when memory is short


def group(folder: Path, limit: str, used: int, names: tuple[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used + CACHE}\n")
    (folder / "memory.stat").write_text(f"anon 7\ninactive_file {CACHE}\n")


TWO = ("memory.max", "memory.current")
ONE = ("memory.limit_in_bytes", "memory.usage_in_bytes")


@pytest.mark.parametrize(
    ("inner", "outer", "left"),
    [
        (str(GIB), "max", GIB // 2),
        ("max", str(GIB), GIB // 2),
        (str(GIB), str(3 * GIB // 4), GIB // 4),
        (str(GIB // 4), "max", 0),
    ],
)
def test_the_tightest_group_counts(tmp_path: Path, inner: str, outer: str, left: int) -> None:
    """From the process' own group to the root."""
    (tmp_path / "own").write_text("0::/system.slice/portrayer.service\n")
    group(tmp_path / "at/system.slice/portrayer.service", inner, GIB // 2, TWO)
    group(tmp_path / "at/system.slice", outer, GIB // 2, TWO)
    assert available(tmp_path / "at", tmp_path / "own") == left


def test_groups_of_the_first_kind(tmp_path: Path) -> None:
    """With a folder for each controller."""
    (tmp_path / "own").write_text("5:cpu:/x\n4:memory:/docker/abc\n0::/\n")
    group(tmp_path / "at/memory/docker/abc", str(GIB), GIB // 4, ONE)
    assert available(tmp_path / "at", tmp_path / "own") == 3 * GIB // 4


@pytest.mark.parametrize("text", ["", "0::/\n", "0::/gone\n"])
def test_without_limits_it_is_the_machines(tmp_path: Path, text: str) -> None:
    """No groups, no files, or nothing said in them."""
    (tmp_path / "own").write_text(text)
    there = psutil.virtual_memory().available
    found = available(tmp_path / "at", tmp_path / "own")
    assert abs(found - there) < there / 4
    assert available(tmp_path / "at", tmp_path / "none") > 0
