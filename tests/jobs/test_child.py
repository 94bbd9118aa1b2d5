"""Laws of the process that suspects have to themselves."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import psutil
import pytest

from portrayer.engine.memory import Budget
from portrayer.errors import (
    Canceled,
    CapacityError,
    DecodeError,
    DeviceUnavailable,
    OutOfMemory,
    OutputError,
    PortrayerError,
)
from portrayer.jobs.backend import Crashed, LocalBackend, Watch, unwatched
from portrayer.jobs.child import Child
from portrayer.jobs.record import JSON, Counts, Failure
from portrayer.jobs.runner import Runner
from portrayer.jobs.store import Store

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no kill -9 on Windows")

forked = pytest.mark.skipif(sys.platform != "linux", reason="forked on Linux alone")

BYTES = 2**30


class Orders:
    """A pipeline that does what the file says."""

    workers = 1

    def __init__(self, host: Budget | None = None, ready: bool = True) -> None:
        if not ready:
            raise DeviceUnavailable("no device for a second process")
        self.host = host

    def process_file(
        self,
        task: str,
        options: Mapping[str, JSON],
        source: Path,
        target: Path,
        watch: Watch = unwatched,
    ) -> Mapping[str, JSON]:
        order = source.read_text()
        if order.startswith("signal"):
            os.kill(os.getpid(), int(order.split()[1]))
        if order == "stop all":  # as a service is stopped: whoever forked this one is told too
            os.kill(os.getppid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
        if order == "exit":
            os._exit(3)
        if order == "interrupt":  # as Ctrl-C does, which every process of a terminal hears
            os.kill(os.getpid(), signal.SIGINT)
        if order == "decode":
            raise DecodeError("a.jpg: not a picture")
        if order == "bug":
            raise ZeroDivisionError("by zero")
        if order.startswith("reserve"):
            assert self.host
            with self.host.reserve(int(order.split()[1])):
                return {"reserved": self.host.reserved, "pid": os.getpid()}
        if order == "folder":
            try:
                target.write_bytes(b"")
            except OSError as error:
                raise OutputError("it is a directory") from error
        return {"task": task, "options": dict(options), "pid": os.getpid()}


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    with Child(Orders, Budget(BYTES)) as child:
        yield child


def do(child: Child, folder: Path, order: str) -> Mapping[str, JSON]:
    (folder / "source").write_text(order)
    return child.process_file("matte", {"size": 1}, folder / "source", folder)


def test_files_are_done_in_one_other_process(child: Child, tmp_path: Path) -> None:
    """Task and options arrive, the result comes back, and one process does file after file."""
    first, second = do(child, tmp_path, ""), do(child, tmp_path, "")
    assert first == second
    assert (first["task"], first["options"]) == ("matte", {"size": 1})
    assert first["pid"] != os.getpid()


def test_errors_come_back_as_they_were_raised(child: Child, tmp_path: Path) -> None:
    """Class, words and the cause that decides a run come back; the process lives on."""
    before = do(child, tmp_path, "")["pid"]
    with pytest.raises(DecodeError, match=r"a\.jpg: not a picture"):
        do(child, tmp_path, "decode")
    with pytest.raises(OutputError) as output:
        do(child, tmp_path, "folder")
    assert isinstance(output.value.__cause__, IsADirectoryError)
    with pytest.raises(RuntimeError, match="ZeroDivisionError: by zero") as bug:
        do(child, tmp_path, "bug")
    assert "in process_file" in bug.value.__notes__[0], "where it happened, for the log"
    assert do(child, tmp_path, "interrupt")["pid"] == before
    assert do(child, tmp_path, "")["pid"] == before


@pytest.mark.parametrize(
    ("order", "how"),
    [
        (f"signal {signal.SIGKILL:d}", "Killed"),
        (f"signal {signal.SIGSEGV:d}", "Segmentation fault"),
        ("exit", "exit code 3"),
    ],
)
def test_a_death_is_seen_and_survived(child: Child, tmp_path: Path, order: str, how: str) -> None:
    """However the process dies, this one says of what, and the next file has a new one."""
    before = do(child, tmp_path, "")["pid"]
    with pytest.raises(Crashed, match=how):
        do(child, tmp_path, order)
    assert do(child, tmp_path, "")["pid"] not in (before, os.getpid())


def test_an_end_from_outside_is_no_death_of_the_file(child: Child, tmp_path: Path) -> None:
    """SIGTERM is what a service's processes all get when it is stopped; no picture sends it."""
    with pytest.raises(CapacityError, match="from outside"):
        do(child, tmp_path, f"signal {signal.SIGTERM:d}")
    assert do(child, tmp_path, "")["pid"] != os.getpid()


@forked
def test_an_end_of_all_from_outside_is_no_death_of_the_file(child: Child, tmp_path: Path) -> None:
    """What forks the processes hears the end too, and must still tell how they died."""
    with pytest.raises(CapacityError, match="from outside"):
        do(child, tmp_path, "stop all")


@forked
def test_what_forks_does_not_hear_ctrl_c(child: Child, tmp_path: Path) -> None:
    """Not even while it loads modules, when Python has not been told yet to ignore it."""
    pid = do(child, tmp_path, "")["pid"]
    assert isinstance(pid, int)
    status = Path(f"/proc/{psutil.Process(pid).ppid()}/status").read_text()
    [blocked] = (line.split()[1] for line in status.splitlines() if line.startswith("SigBlk"))
    assert int(blocked, 16) >> (signal.SIGINT - 1) & 1


def test_a_death_between_files_is_held_against_neither(child: Child, tmp_path: Path) -> None:
    """A process that dies while it waits is replaced without a word."""
    before = do(child, tmp_path, "")["pid"]
    assert isinstance(before, int)
    os.kill(before, signal.SIGKILL)
    psutil.Process(before).wait(60)
    assert do(child, tmp_path, "")["pid"] != before


def test_what_is_not_wanted_when_its_turn_comes_is_not_begun(child: Child, tmp_path: Path) -> None:
    """One stage is told, before the process has the file."""

    def watch(stage: str) -> None:
        raise Canceled(stage)

    with pytest.raises(Canceled, match="task"):
        child.process_file("matte", {}, tmp_path / "nothing", tmp_path, watch)


def test_what_is_not_wanted_apart_is_not_begun_here(child: Child, tmp_path: Path) -> None:
    """That its turn came to nothing there is no want of room."""

    def watch(stage: str) -> None:
        raise Canceled(stage)

    with Store(tmp_path / "jobs.db") as store:
        suspects(store, tmp_path, [""])
        claimed = store.claim("j")
        assert claimed
        with pytest.raises(Canceled):
            LocalBackend(Roomy(), child).run(*claimed, watch)


def test_closed_it_is_gone(tmp_path: Path) -> None:
    """Nothing is left behind, and closing what never ran or was closed is harmless."""
    with Child(Orders, Budget(BYTES)) as child:
        pid = do(child, tmp_path, "")["pid"]
    child.close()
    assert isinstance(pid, int)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def suspects(store: Store, folder: Path, orders: list[str]) -> None:
    """A job "j" whose items were all running when the program died."""
    for number, order in enumerate(orders):
        (folder / f"{number}").write_text(order)
    rows = ((str(folder / f"{n}"), str(folder / f"{n}.out"), "") for n in range(len(orders)))
    store.put("matte", {}, rows, id="j")
    while store.claim("j"):
        pass
    store.recover("j")


def test_suspects_are_run_apart_and_the_poison_among_them_fails(
    child: Child, tmp_path: Path
) -> None:
    """One death of the program and two of its process are enough; the innocent are done."""
    poison = f"signal {signal.SIGSEGV:d}"
    with Store(tmp_path / "jobs.db") as store:
        suspects(store, tmp_path, ["", poison, ""])
        backend = LocalBackend(Orders(), child)
        assert Runner(store, backend).run("j") == Counts(total=3, done=2, failed=1)
        first, bad, last = store.items("j")
    assert bad.error == Failure("crashed", "the process at work on it died (Segmentation fault)")
    assert (first.attempt, bad.attempt, last.attempt) == (2, 3, 2)
    for item in (first, last):
        assert item.result
        assert item.result["pid"] != os.getpid()


def test_what_is_no_suspect_is_run_here(child: Child, tmp_path: Path) -> None:
    """Untried items do not pay for another process."""
    with Store(tmp_path / "jobs.db") as store:
        (tmp_path / "a").write_text("")
        store.put("matte", {}, [(str(tmp_path / "a"), str(tmp_path / "a.out"), "")], id="j")
        Runner(store, LocalBackend(Orders(), child)).run("j")
        [item] = store.items("j")
    assert item.result
    assert item.result["pid"] == os.getpid()


class Roomy(Orders):
    """The pipeline of this process: what is too large for another is not for it."""

    def process_file(
        self,
        task: str,
        options: Mapping[str, JSON],
        source: Path,
        target: Path,
        watch: Watch = unwatched,
    ) -> Mapping[str, JSON]:
        return {"pid": os.getpid()}


@pytest.mark.parametrize(
    ("opened", "order", "why"),
    [
        (Orders, f"reserve {BYTES + 1}", OutOfMemory),
        (partial(Orders, ready=False), "", DeviceUnavailable),
    ],
)
def test_where_there_is_no_room_apart_a_suspect_is_run_here(
    opened: partial[Orders] | type[Orders],
    order: str,
    why: type[PortrayerError],
    tmp_path: Path,
) -> None:
    """No second device, or not enough memory for two, is not the picture's fault."""
    with Store(tmp_path / "jobs.db") as store, Child(opened, Budget(BYTES)) as child:
        suspects(store, tmp_path, [order])
        with pytest.raises(CapacityError) as told:
            do(child, tmp_path, order)
        assert isinstance(told.value, why) or isinstance(told.value.__cause__, why)
        assert Runner(store, LocalBackend(Roomy(), child)).run("j").done == 1
        [item] = store.items("j")
    assert item.result == {"pid": os.getpid()}


def test_what_a_file_needs_is_reserved_here(tmp_path: Path) -> None:
    """Of this process' ledger, until the file is done or its process has died."""
    host = Budget(BYTES)
    with Child(Orders, host) as child:
        assert do(child, tmp_path, f"reserve {BYTES - 1}")["reserved"] == BYTES - 1
        assert (host.reserved, host.peak) == (0, BYTES - 1)
        with pytest.raises(OutOfMemory, match="host memory budget"):
            do(child, tmp_path, f"reserve {BYTES + 1}")
        before = do(child, tmp_path, "")["pid"]
        with host.reserve(BYTES), ThreadPoolExecutor() as pool:
            waiting = pool.submit(do, child, tmp_path, f"reserve {BYTES}")
            with pytest.raises(TimeoutError):
                waiting.result(0.2)
            host.release(BYTES)
            assert waiting.result(60)["pid"] == before
            assert host.take(BYTES)  # for the block's end
        (tmp_path / "source").write_text("")


def test_what_a_process_had_when_it_died_is_given_back(tmp_path: Path) -> None:
    """Nothing stays promised to the dead."""
    host = Budget(BYTES)
    with Child(Holding, host) as child, pytest.raises(Crashed):
        do(child, tmp_path, f"signal {signal.SIGKILL:d}")
    assert (host.reserved, host.peak) == (0, 1)


class Holding(Orders):
    """Reserves a byte for whatever it does."""

    def process_file(
        self,
        task: str,
        options: Mapping[str, JSON],
        source: Path,
        target: Path,
        watch: Watch = unwatched,
    ) -> Mapping[str, JSON]:
        assert self.host
        with self.host.reserve(1):
            return super().process_file(task, options, source, target, watch)
