"""Laws of files worked on in several processes beside one another."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from portrayer.engine.memory import Budget
from portrayer.errors import CapacityError, DeviceUnavailable, OutOfMemory
from portrayer.jobs.backend import Crashed, LocalBackend, Watch, unwatched
from portrayer.jobs.child import START, Child
from portrayer.jobs.children import Children
from portrayer.jobs.record import JSON, Counts
from portrayer.jobs.runner import Runner
from portrayer.jobs.store import Store

from .test_child import Holding, Orders

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no kill -9 on Windows")

BYTES = 2**20


class Meeting:
    """A pipeline that waits until as many files as the source says are at work; or dies of one.

    ``late``: all but the first process of this folder die while they are being started.
    """

    workers = 1

    def __init__(self, folder: Path, host: Budget, late: bool = False) -> None:
        self.folder = folder
        try:
            (folder / "first").touch(exist_ok=False)
        except FileExistsError:
            if late:
                os.kill(os.getpid(), signal.SIGKILL)

    def process_file(
        self,
        task: str,
        options: Mapping[str, JSON],
        source: Path,
        target: Path,
        watch: Watch = unwatched,
    ) -> Mapping[str, JSON]:
        order = source.read_text()
        if order == "die once" and not (self.folder / "died").exists():
            (self.folder / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        (self.folder / f"{os.getpid()}.here").touch()
        while len(list(self.folder.glob("*.here"))) < int(options["met"]):
            pass
        return {"pid": os.getpid()}


class Refusing:
    """A pipeline that there cannot be."""

    workers = 1

    def __init__(self, host: Budget) -> None:
        raise DeviceUnavailable("a GPU is required, and none was found")


def do(children: Children, folder: Path, met: int, number: int = 0) -> Mapping[str, JSON]:
    return children.process_file("matte", {"met": met}, folder / "source", folder / f"{number}")


def test_files_are_done_beside_one_another(tmp_path: Path) -> None:
    """As many as there are processes, each in its own, and none of them in this one."""
    (tmp_path / "source").write_text("")
    with (
        Children(partial(Meeting, tmp_path), Budget(BYTES), 3) as children,
        ThreadPoolExecutor() as pool,
    ):
        assert children.workers == 3
        done = [pool.submit(do, children, tmp_path, 3, number) for number in range(3)]
        pids = {future.result(60)["pid"] for future in done}
        stats = children.stats()
    assert len(pids) == 3
    assert os.getpid() not in pids
    assert stats.resident > 3 << 20, "what each of them had"
    for pid in pids:
        assert isinstance(pid, int)
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_what_ails_them_is_told_as_it_was_raised() -> None:
    """Before any file is begun, and not as a want of room."""
    with pytest.raises(DeviceUnavailable, match="a GPU is required") as told:
        Children(Refusing, Budget(BYTES), 2)
    assert not isinstance(told.value, CapacityError)


def test_those_that_do_not_get_ready_are_done_without(tmp_path: Path) -> None:
    """One that works is enough; no file fails for want of the others."""
    (tmp_path / "source").write_text("")
    opened = partial(Meeting, tmp_path, late=True)
    with Children(opened, Budget(BYTES), 3) as children, ThreadPoolExecutor() as pool:
        done = [pool.submit(do, children, tmp_path, 1, number) for number in range(6)]
        assert len({future.result(60)["pid"] for future in done}) == 1


@pytest.mark.parametrize("refused", [1, 99])
@pytest.mark.parametrize("why", [BlockingIOError(errno.EAGAIN, "no more"), EOFError()])
def test_who_cannot_be_started_is_done_without(
    why: Exception, refused: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody hears of it where another can be; where none can, it is told as a want of room.

    EOFError: what forks them has died of the attempt.
    """
    (tmp_path / "source").write_text("")
    start, refusals = START.Process.start, iter(range(refused))

    def short(process: BaseProcess) -> None:
        if next(refusals, None) is not None:
            raise why
        start(process)  # type: ignore[arg-type]

    monkeypatch.setattr(START.Process, "start", short)
    with ExitStack() as told:
        if refused > 2:
            told.enter_context(pytest.raises(CapacityError, match="no process could be started"))
        with Children(partial(Meeting, tmp_path), Budget(BYTES), 2) as children:
            assert do(children, tmp_path, 1)["pid"] != os.getpid()


def test_who_died_beside_others_is_tried_alone(tmp_path: Path) -> None:
    """A process may die of what others did to the machine: alone the file is done."""
    orders = ["", "die once", "", ""]
    for number, order in enumerate(orders):
        (tmp_path / f"{number}").write_text(order)
    rows = ((str(tmp_path / f"{n}"), str(tmp_path / f"{n}.out"), "") for n in range(len(orders)))
    opened, host = partial(Meeting, tmp_path), Budget(BYTES)
    with (
        Store(tmp_path / "jobs.db") as store,
        Children(opened, host, 2) as children,
        Child(opened, host) as apart,
    ):
        store.put("matte", {"met": 1}, rows, id="j")
        backend = LocalBackend(children, apart)
        assert backend.width == 2
        assert Runner(store, backend).run("j") == Counts(total=4, done=4)
        items = list(store.items("j"))
    pids = {item.result["pid"] for item in items if item.result}
    assert all(item.attempt == 1 for item in items)
    assert len(pids) >= 2


def test_a_file_that_kills_alone_is_the_culprit(tmp_path: Path) -> None:
    """It fails once both its processes have died of it, and what was promised to them is back."""
    (tmp_path / "source").write_text(f"signal {signal.SIGKILL:d}")
    host = Budget(BYTES)
    with Children(Holding, host, 2) as children, pytest.raises(Crashed, match="Killed"):
        do(children, tmp_path, 1)
    assert host.peak > host.reserved == 0


def test_memory_is_that_of_all(tmp_path: Path) -> None:
    """What fits in no budget is told its file, whichever process it is in."""
    (tmp_path / "source").write_text(f"reserve {BYTES + 1}")
    with (
        Children(Orders, Budget(BYTES), 2) as children,
        pytest.raises(OutOfMemory, match="the host memory budget is"),
    ):
        do(children, tmp_path, 1)
