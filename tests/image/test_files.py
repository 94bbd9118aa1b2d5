"""A file is there whole or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from portrayer.errors import OutputError
from portrayer.image import files


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_writes_and_replaces(tmp_path: Path) -> None:
    """The content arrives, its folder is made, a second write replaces it; nothing else stays."""
    path = tmp_path / "deep" / "er" / "a.png"
    files.write(path, b"one")
    files.write(path, memoryview(b"another"))
    assert path.read_bytes() == b"another"
    assert names(path.parent) == ["a.png"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_permissions_are_the_users_own(tmp_path: Path) -> None:
    """A result is as readable as any file the user makes."""
    (tmp_path / "usual").write_bytes(b"")
    files.write(tmp_path / "a.png", b"x")
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_directory_in_the_way(tmp_path: Path) -> None:
    """A directory of that name, or a file where the folder should be, is one line of reason."""
    (tmp_path / "taken").mkdir()
    with pytest.raises(OutputError, match="directory"):
        files.write(tmp_path / "taken", b"x")
    (tmp_path / "file").write_bytes(b"kept")
    with pytest.raises(OutputError, match="not a directory") as caught:
        files.write(tmp_path / "file" / "a.png", b"x")
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == ["file", "taken"]
    assert (tmp_path / "file").read_bytes() == b"kept"


def test_names_that_no_disk_takes(tmp_path: Path) -> None:
    """A name too long, or with a NUL in it, is one line of reason and leaves nothing."""
    with pytest.raises(OutputError, match="too long"):
        files.write(tmp_path / ("x" * 300), b"x")
    with pytest.raises(OutputError, match="null"):
        files.write(tmp_path / "a\0b", b"x")
    assert names(tmp_path) == []


def test_the_longest_name_fits(tmp_path: Path) -> None:
    """A name of 255 bytes can be written: the temporary does not borrow from it."""
    files.write(tmp_path / ("x" * 255), b"x")
    assert names(tmp_path) == ["x" * 255]


@pytest.mark.parametrize(
    ("number", "reason"), [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "read-only")]
)
def test_a_failing_disk_leaves_the_old_file(
    number: int, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the bytes cannot reach the disk, the old content stays and no temporary does."""
    path = tmp_path / "a.png"
    files.write(path, b"old")

    def fails(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OutputError, match=reason):
        files.write(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.png"]


def test_an_interrupt_leaves_no_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of a write passes through and leaves the folder as it was."""

    def interrupted(handle: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        files.write(tmp_path / "a.png", b"new")
    assert names(tmp_path) == []


def test_readers_never_see_half(tmp_path: Path) -> None:
    """While one content replaces the other, a reader finds one of the two, whole."""
    path = tmp_path / "a.bin"
    contents = [bytes([letter]) * 300_000 for letter in b"ab"]
    files.write(path, contents[0])
    done = threading.Event()

    def writer() -> None:
        for turn in range(40):
            files.write(path, contents[turn % 2])
        done.set()

    thread = threading.Thread(target=writer)
    thread.start()
    seen = set()
    while not done.is_set():
        seen.add(path.read_bytes())
    thread.join()
    assert seen <= set(contents)


_KILLED = """
import os, sys
from pathlib import Path
from portrayer.image import files
os.fsync = lambda handle: os._exit(9)
files.write(Path(sys.argv[1]), b"half")
"""


def test_sweep_removes_what_the_dead_left(tmp_path: Path) -> None:
    """A killed writer's temporary is swept; its target never appeared; other files stay."""
    killed = subprocess.run([sys.executable, "-c", _KILLED, tmp_path / "a.png"], check=False)
    assert killed.returncode == 9
    (left,) = names(tmp_path)
    assert left.startswith(".portrayer-")
    (tmp_path / ".hidden.part").write_bytes(b"not ours")
    files.sweep(tmp_path)
    assert names(tmp_path) == [".hidden.part"]


def test_sweep_spares_the_living(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write in progress is not disturbed by a sweep beside it."""
    synced = os.fsync

    def sweeping(handle: int) -> None:
        files.sweep(tmp_path)
        synced(handle)

    monkeypatch.setattr(os, "fsync", sweeping)
    files.write(tmp_path / "a.png", b"x")
    assert names(tmp_path) == ["a.png"]


def test_sweep_of_other_machines(tmp_path: Path) -> None:
    """What another machine is writing into a shared folder stays, unless it is a day old."""
    fresh = tmp_path / ".portrayer-00000000-1-0123456789abcdef.part"
    stale = tmp_path / ".portrayer-00000000-2-0123456789abcdef.part"
    fresh.write_bytes(b"")
    stale.write_bytes(b"")
    old = time.time() - 25 * 3600
    os.utime(stale, (old, old))
    files.sweep(tmp_path)
    assert names(tmp_path) == [fresh.name]


def test_sweep_of_nothing(tmp_path: Path) -> None:
    """A folder that is not there has nothing to sweep."""
    files.sweep(tmp_path / "absent")
