"""The kill -9 law, through the real command line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from contextlib import suppress
from itertools import count
from pathlib import Path
from random import Random

import pytest

from portrayer.cli.ledger import LEDGER
from portrayer.errors import OutputError
from portrayer.jobs.store import Store
from portrayer.pipeline import Pipeline

from .terminal import photo, picture, portrayer, started, tree

ROOT = Path(__file__).parents[2]
KILLS = 20
PHOTOS = 30
SIDE = 128
WORKERS = 2
NAMES = [f"{'sub/' * (number % 2)}{number:02}" for number in range(PHOTOS)]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no kill -9 on Windows")


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
    assert process.returncode in (0, -signal.SIGKILL), complained
    return process.returncode == -signal.SIGKILL


@pytest.mark.stress
@pytest.mark.parametrize("seed", [20, 3])
def test_killed_twenty_times_nothing_is_lost_or_done_twice(tmp_path: Path, seed: int) -> None:
    """Started again until done: every photo is done, every result whole, and none written twice.

    But for those in flight at the kill, which the ledger may not know to be written.
    """
    random, inputs = Random(seed), tmp_path / "in"
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
        last = portrayer(*command, "-o", out, "--json")
        assert (last.code, last.report["done"], last.report["failed"]) == (0, PHOTOS, [])
        after = written(out)
        assert sum(after[name] != stamp for name, stamp in before.items()) <= WORKERS
        assert {picture(out / f"{name}.png") for name in NAMES} == {("RGBA", (SIDE, SIDE))}
        assert tree(out) == {f"{name}.png" for name in NAMES}
        if kills == KILLS:
            return


def test_what_was_at_work_at_a_kill_is_done_in_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run takes no risk with it: it is done although this process could not do it."""
    photo(tmp_path / "in" / "a.jpg")
    command = ("matte", tmp_path / "in", "-o", tmp_path / "out", "--json")

    def full(*_: object) -> None:
        raise OutputError("the disk is full")

    monkeypatch.setattr(Pipeline, "process_file", full)
    assert portrayer(*command).code == 3
    with Store(tmp_path / "out" / LEDGER) as store:
        assert store.claim("matte"), "as by a program that is killed now"
    last = portrayer(*command)
    assert (last.code, last.report["done"]) == (0, 1)
    assert picture(tmp_path / "out" / "a.png") == ("RGBA", (96, 96))


@pytest.mark.slow
def test_a_poison_photo_fails_alone(tmp_path: Path) -> None:
    """It takes the program along once; then it is tried apart, and fails, and the rest are done."""
    names = ["a", "poison", "z"]
    for name in names:
        photo(tmp_path / "in" / f"{name}.jpg")
    command = [sys.executable, "-m", "tests.cli.poisoned", "matte", str(tmp_path / "in")]
    command += ["-o", str(tmp_path / "out"), "--workers", str(len(names)), "--json"]
    codes, report = [], b""
    while 1 not in codes:
        process = subprocess.run(command, capture_output=True, cwd=ROOT, timeout=60, check=False)
        codes, report = [*codes, process.returncode], process.stdout
        assert len(codes) <= 2, process.stderr
    assert codes == [-signal.SIGKILL, 1]
    [failed] = json.loads(report)["failed"]
    assert (Path(failed["file"]).name, failed["code"]) == ("poison.jpg", "crashed")
    assert "died (Killed)" in failed["reason"]
    assert tree(tmp_path / "out") == {"a.png", "z.png"}
