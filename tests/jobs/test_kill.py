"""The kill -9 law: a program killed at any instant loses nothing and does nothing twice."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from portrayer.jobs.store import ATTEMPTS, Counts, Failure, Item, State, Store

from .killable import WIDTH

ROOT = Path(__file__).parents[2]
KILLS = 6

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no kill -9 on Windows")


def lay_out(folder: Path, contents: dict[str, bytes], job: str = "j") -> None:
    """A job over files of these names and contents."""
    (folder / "in").mkdir(exist_ok=True)
    (folder / "out").mkdir(exist_ok=True)
    for name, content in contents.items():
        (folder / "in" / name).write_bytes(content)
    with Store(folder / "jobs.db") as store:
        entries = ((str(folder / "in" / n), str(folder / "out" / n), "") for n in contents)
        store.put("copy", {}, entries, id=job)


def start(folder: Path, *mode: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.jobs.killable", str(folder), *mode]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1, cwd=ROOT)


def tell(program: subprocess.Popen[str], line: str) -> None:
    assert program.stdin is not None
    program.stdin.write(f"{line}\n")


def hear(program: subprocess.Popen[str], line: str) -> None:
    """Read what the program says until it says this."""
    assert program.stdout is not None
    assert any(said.strip() == line for said in program.stdout), f"it never said {line}"


def run_until_it_ends(folder: Path, limit: int = 20) -> int:
    """Start it again each time it dies. Returns how often it was killed."""
    for kills in range(limit):
        with start(folder) as program:
            program.communicate(timeout=60)
        if program.returncode == 0:
            return kills
        assert program.returncode == -signal.SIGKILL
    raise AssertionError("it never ends")


def rows(folder: Path) -> dict[str, Item]:
    with Store(folder / "jobs.db") as store:
        items = [item for job in store.jobs() for item in store.items(job.id)]
    return {Path(item.source).name: item for item in items}


def done(folder: Path) -> dict[str, Item]:
    return {name: item for name, item in rows(folder).items() if item.state is State.DONE}


def begun(folder: Path) -> int:
    """How many copies were begun so far."""
    path = folder / "pids"
    return len(path.read_text().splitlines()) if path.exists() else 0


def trace(folder: Path) -> Counter[str]:
    path = folder / "trace"
    return Counter(path.read_text().split() if path.exists() else [])


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_random_moments_it_ends_whole(tmp_path: Path, seed: int) -> None:
    """Sixty files, six kills: every output whole, every item done, what was done never touched."""
    random = Random(seed)
    contents = {f"{i}.bin": random.randbytes(random.randint(1, 60_000)) for i in range(60)}
    lay_out(tmp_path, contents)
    before: dict[str, Item] = {}
    copies: Counter[str] = Counter()
    kills = 0
    for _ in range(KILLS):
        with start(tmp_path) as program:
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"
            with suppress(subprocess.TimeoutExpired):
                program.wait(timeout=random.uniform(0.0, 0.04))
            program.kill()
        if program.returncode == 0:
            break  # a machine so busy that all was done before the kill
        kills += 1
        now = done(tmp_path)
        assert before.items() <= now.items(), "a done row is never changed"
        for name in before:
            assert trace(tmp_path)[name] == copies[name], "nor is its picture made again"
        for name in now:
            assert (tmp_path / "out" / name).read_bytes() == contents[name]
        before, copies = now, trace(tmp_path)
    assert kills > 0
    assert run_until_it_ends(tmp_path) == 0
    with Store(tmp_path / "jobs.db") as store:
        assert store.counts("j") == Counts(total=60, done=60)
    for name, content in contents.items():
        assert (tmp_path / "out" / name).read_bytes() == content
    assert set(trace(tmp_path)) == set(contents)
    assert trace(tmp_path).total() - 60 <= kills * WIDTH, "at most what was in flight"


@pytest.mark.parametrize(("place", "copies"), [("start", 1), ("half", 1), ("moved", 1)])
def test_killed_at_each_step_it_is_copied_once(tmp_path: Path, place: str, copies: int) -> None:
    """Killed before, in the middle of, or right after the write: one whole output, copied once."""
    contents = {f"{i}.bin": b"x" * 100 for i in range(4)}
    contents["victim.bin"] = f"die at {place}".encode()
    lay_out(tmp_path, contents)
    assert run_until_it_ends(tmp_path) == 1
    victim = done(tmp_path)["victim.bin"]
    assert trace(tmp_path)["victim.bin"] == copies
    assert (victim.result == {"adopted": True}) == (place == "moved")
    assert victim.attempt == (1 if place == "moved" else 2)
    assert {n: (tmp_path / "out" / n).read_bytes() for n in contents} == contents


def test_a_poison_item_fails_alone(tmp_path: Path) -> None:
    """What kills its process every time is given up after three; its neighbours are all done.

    It takes the program with it once, when nobody could know.
    """
    contents = {f"{i}.bin": b"x" * 100 for i in range(8)}
    contents = {"bad.bin": b"poison"} | contents | {"worse.bin": b"poison"}
    lay_out(tmp_path, contents)
    assert run_until_it_ends(tmp_path) <= 2
    for name, item in rows(tmp_path).items():
        if contents[name] == b"poison":
            assert (item.state, item.attempt) == (State.FAILED, ATTEMPTS)
            assert item.error == Failure("crashed", "the process at work on it died (Killed)")
        else:
            assert item.state is State.DONE
            assert (tmp_path / "out" / name).read_bytes() == contents[name]


def test_a_poison_item_that_is_retried_kills_no_program(tmp_path: Path) -> None:
    """What has crashed stays suspect when it is asked for again: it is begun apart."""
    contents = {"bad.bin": b"poison"} | {f"{i}.bin": b"x" * 100 for i in range(4)}
    lay_out(tmp_path, contents)
    assert run_until_it_ends(tmp_path) == 1
    with Store(tmp_path / "jobs.db") as store:
        assert store.retry("j") == 1
    assert run_until_it_ends(tmp_path) == 0
    bad = rows(tmp_path)["bad.bin"]
    assert (bad.state, bad.attempt) == (State.FAILED, ATTEMPTS)


def test_killed_in_every_attempt_an_innocent_item_is_not_to_blame(tmp_path: Path) -> None:
    """Killed from outside again and again while it is the only one at work, it is done in the end.

    And its process dies with the program each time: two never work on one file.
    """
    lay_out(tmp_path, {"only.bin": b"slow"})
    for kills in range(1, ATTEMPTS + 3):
        with start(tmp_path) as program:
            while (pids := begun(tmp_path)) < kills:
                assert program.poll() is None
                time.sleep(0.005)
            program.kill()
            # The pipe is at its end when the last process that could write to it is.
            program.communicate(timeout=20)
        assert pids == kills
    assert rows(tmp_path)["only.bin"].attempt == ATTEMPTS + 2
    (tmp_path / "in" / "only.bin").write_bytes(b"quick")
    assert run_until_it_ends(tmp_path) == 0
    assert (tmp_path / "out" / "only.bin").read_bytes() == b"quick"
    apart = [line.split()[1] for line in (tmp_path / "pids").read_text().splitlines()]
    assert len(set(apart)) == len(apart)


ORDERS = ["cancel canceled", "cancel removed", "remove removed", "cancel retried", "retry retried"]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_service_killed_after_each_order_keeps_its_word(tmp_path: Path, seed: int) -> None:
    """What was canceled stays as it was, what was removed stays away, all else is done, once."""
    random = Random(seed)
    contents = {}
    for job in ("kept", "canceled", "removed", "retried"):
        names = [f"{job}-{number}.bin" for number in range(20)]
        files = {name: random.randbytes(random.randint(1, 60_000)) for name in names}
        lay_out(tmp_path, files, job)
        contents |= files
    stays: dict[str, Item] = {}
    for order in ORDERS:
        with start(tmp_path, "serve") as program:
            hear(program, "ready")
            time.sleep(random.uniform(0, 0.05))
            tell(program, order)
            hear(program, order)
            time.sleep(random.uniform(0, 0.05))
            program.kill()
        if order == "remove removed":
            stays = {name: item for name, item in stays.items() if item.job != "removed"}
            contents = {name: blob for name, blob in contents.items() if "removed" not in name}
        now = rows(tmp_path)
        assert stays.items() <= now.items()
        assert now.keys() == contents.keys()
        canceled = {"canceled"} if order == ORDERS[0] else set()
        stays |= {n: i for n, i in now.items() if i.state is State.DONE or i.job in canceled}
    with start(tmp_path, "serve") as program:
        hear(program, "idle")
        tell(program, "stop")
        program.communicate(timeout=20)
    assert program.returncode == 0
    now = rows(tmp_path)
    assert stays.items() <= now.items()
    assert now.keys() == contents.keys()
    copies = trace(tmp_path)
    for name, item in now.items():
        if item.state is State.DONE:
            assert (tmp_path / "out" / name).read_bytes() == contents[name]
        else:
            assert (item.job, item.state) == ("canceled", State.CANCELED)
    assert {State.DONE, State.CANCELED} == {item.state for item in now.values()}
    again = sum(max(0, copies[name] - 1) for name in contents)
    assert again <= len(ORDERS) * WIDTH, "at most what was in flight at a kill"
