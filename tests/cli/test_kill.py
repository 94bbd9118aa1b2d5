"""The kill -9 law, through the real command line."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import suppress
from itertools import count
from pathlib import Path
from random import Random

import pytest

from .terminal import photo, picture, portrayer, started, tree

KILLS = 20
PHOTOS = 30
SIDE = 128
WORKERS = 2
NAMES = [f"{'sub/' * (number % 2)}{number:02}" for number in range(PHOTOS)]

pytestmark = [
    pytest.mark.stress,
    pytest.mark.skipif(sys.platform == "win32", reason="no kill -9 on Windows"),
]


def written(out: Path) -> dict[str, tuple[int, int]]:
    """Name to (inode, time of writing) of the results there are now."""
    found = {}
    for name in NAMES:
        with suppress(FileNotFoundError):
            stat = (out / f"{name}.png").stat()
            found[name] = stat.st_ino, stat.st_mtime_ns
    return found


def run_and_kill(command: tuple[object, ...], out: Path, random: Random) -> bool:
    """One run, killed while it starts or at work; False if it was quicker than the killer."""
    with started(*command, "-o", out) as process:
        if random.random() < 0.3:
            time.sleep(random.uniform(0, 2.5))
        else:
            before = len(written(out))
            while process.poll() is None and len(written(out)) == before:
                time.sleep(0.002)
            time.sleep(random.uniform(0, 0.1))
        process.kill()
        _, complained = process.communicate(timeout=60)
    # 1: done, but for photos that were at work in three kills
    assert process.returncode in (0, 1, -signal.SIGKILL), complained
    return process.returncode == -signal.SIGKILL


def test_killed_twenty_times_nothing_is_lost_or_done_twice(tmp_path: Path) -> None:
    """Started again until done: every result is whole, and none is written twice.

    But for those in flight at the kill, which the ledger may not know to be written.
    """
    random, inputs = Random(20), tmp_path / "in"
    for name in NAMES:
        photo(inputs / f"{name}.jpg", SIDE)
    command = ("matte", inputs, "--workers", WORKERS)
    kills = 0
    for turn in count():  # a run that is done before the last kill is followed by another
        out, before, killed = tmp_path / f"out-{turn}", dict[str, tuple[int, int]](), True
        while killed and kills < KILLS:
            killed = run_and_kill(command, out, random)
            kills += killed
            after = written(out)
            assert before.keys() <= after.keys()
            assert sum(after[name] != stamp for name, stamp in before.items()) <= WORKERS
            assert {picture(out / f"{name}.png") for name in after} <= {("RGBA", (SIDE, SIDE))}
            before = after
        first = portrayer(*command, "-o", out, "--json")
        # A photo that was at work in three kills is told as such, and done when asked for again.
        assert set(first.failed.values()) <= {"crashed"}
        assert first.report["done"] + len(first.failed) == PHOTOS
        last = portrayer(*command, "-o", out, "--json", "--retry-failed")
        assert (last.code, last.report["done"], last.report["failed"]) == (0, PHOTOS, [])
        after = written(out)
        assert sum(after[name] != stamp for name, stamp in before.items()) <= WORKERS
        assert {picture(out / f"{name}.png") for name in NAMES} == {("RGBA", (SIDE, SIDE))}
        assert tree(out) == {f"{name}.png" for name in NAMES}
        if kills == KILLS:
            return
