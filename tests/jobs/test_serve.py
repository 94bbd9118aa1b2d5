"""Laws of the runner as a service: it waits for work, outlives what goes wrong, and lets go."""

from __future__ import annotations

import signal
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from portrayer.errors import (
    DecodeError,
    EngineClosed,
    OutOfMemory,
    OutputError,
    UnknownJob,
    WeightsMismatch,
)
from portrayer.jobs import runner as module
from portrayer.jobs import store as ledger
from portrayer.jobs.backend import Watch
from portrayer.jobs.record import JSON, Counts, Item, Job, State
from portrayer.jobs.runner import Event, Runner
from portrayer.jobs.store import Store
from portrayer.jobs.transaction import Transaction

LONG = 20.0  # seconds in which all that a test waits for comes about


class Stages:
    """A backend of two stages that notes what it has written, and does as it is told."""

    def __init__(self, width: int = 1, then: Callable[[Item], None] | None = None) -> None:
        self.width = width
        self.then = then
        self.written: list[str] = []

    def run(self, job: Job, item: Item, watch: Watch) -> Mapping[str, JSON]:
        watch("task")
        if self.then is not None:
            self.then(item)
        watch("encode")
        self.written.append(item.source)
        return {}

    def close(self) -> None:
        pass


class Heard:
    """What the runner told, to be waited for."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._came = threading.Condition()

    def __call__(self, event: Event) -> None:
        with self._came:
            self.events.append(event)
            self._came.notify_all()

    def settled(self, n: int) -> None:
        """Wait until so many items were settled."""

        def enough() -> bool:
            return sum(event.item.state is not State.QUEUED for event in self.events) >= n

        with self._came:
            assert self._came.wait_for(enough, timeout=LONG)


class Asked(Store):
    """Counts how often there was nothing to claim, and how often the file could not be written."""

    def __init__(self, path: Path) -> None:
        self.nothing, self.refused = threading.Semaphore(0), threading.Semaphore(0)
        super().__init__(path)

    @contextmanager
    def together(self) -> Iterator[Transaction]:
        try:
            with super().together() as transaction:
                claim = transaction.claim

                def counted(*jobs: str) -> tuple[Job, Item] | None:
                    claimed = claim(*jobs)
                    if claimed is None:
                        self.nothing.release()
                    return claimed

                transaction.claim = counted  # type: ignore[method-assign]
                yield transaction
        except OutputError:
            self.refused.release()
            raise


def came(count: threading.Semaphore, n: int) -> bool:
    """Wait until it was counted so often."""
    return all(count.acquire(timeout=LONG) for _ in range(n))


@pytest.fixture(autouse=True)
def no_safety_net(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here may rest on a service looking for work now and then."""
    monkeypatch.setattr(module, "IDLE", 1000.0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Asked]:
    with Asked(tmp_path / "jobs.db") as store:
        yield store


@contextmanager
def serving(runner: Runner) -> Iterator[threading.Thread]:
    """The runner at work; stopped in the end, and what ended it before is raised."""
    errors: list[BaseException] = []

    def serve() -> None:
        try:
            runner.serve()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield thread
    finally:
        runner.stop()
        thread.join(LONG)
    assert not thread.is_alive()
    if errors:
        raise errors[0]


def put(store: Store, job: str, n: int = 1, priority: int = 0) -> None:
    rows = ((f"{job}{i}", f"{job}{i}.png", "") for i in range(n))
    store.put("matte", {}, rows, id=job, priority=priority)


def states(store: Store, job: str) -> list[State]:
    return [item.state for item in store.items(job)]


def test_it_works_on_all_jobs_and_waits_for_more(store: Store) -> None:
    """Jobs that were there, jobs that come, and what is retried: done, once, when it is told."""
    heard, backend = Heard(), Stages(3)
    put(store, "a", 5)
    put(store, "b", 5)
    runner = Runner(store, backend, on_event=heard)
    with serving(runner):
        heard.settled(10)
        put(store, "c", 5)
        runner.wake()
        heard.settled(15)
        store.put("matte", {}, [("a0", "a0.png", "changed")], id="a")
        runner.wake()
        heard.settled(16)
    assert sorted(backend.written) == sorted([f"{j}{i}" for j in "abc" for i in range(5)] + ["a0"])


def test_all_threads_hear_of_new_work(store: Asked) -> None:
    """One word wakes as many as there is work for: each waits until it has met the two others."""
    heard, meeting = Heard(), threading.Barrier(3)
    runner = Runner(store, Stages(3, lambda _: meeting.wait(LONG) and None), on_event=heard)
    with serving(runner):
        assert came(store.nothing, 3)
        put(store, "a", 3)
        runner.wake()
        heard.settled(3)
    assert states(store, "a") == [State.DONE] * 3


def test_what_nobody_told_it_of_is_found(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks for itself from time to time."""
    monkeypatch.setattr(module, "IDLE", 0.01)
    heard = Heard()
    with serving(Runner(store, Stages(), on_event=heard)):
        put(store, "a")
        heard.settled(1)


def test_an_item_is_tried_again_when_its_neighbours_are_out_of_the_way(store: Asked) -> None:
    """By a thread that found nothing to do, if the neighbour's own has gone on to another job."""
    heard, met, again = Heard(), threading.Barrier(2), threading.Event()

    def then(item: Item) -> None:
        match item.source, item.attempt:
            case "a0", 1:
                met.wait(LONG)
                raise OutOfMemory("too large")
            case "a0", 2:
                again.set()
            case "a1", _:
                met.wait(LONG)
                assert came(store.nothing, 1)
                put(store, "urgent", 1, priority=1)  # for this thread: nobody else is told
            case "urgent0", _:
                assert again.wait(LONG), "the other thread was not woken"

    put(store, "a", 2)
    with serving(Runner(store, Stages(2, then), on_event=heard)):
        heard.settled(3)
    assert [event.item.state for event in heard.events] == [State.QUEUED] + [State.DONE] * 3


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OutputError("disk full"), "output"),
        (WeightsMismatch("not these"), "weights"),
        (DecodeError("not a picture"), "decode"),
        (OutOfMemory("too large"), "out-of-memory"),
        (ZeroDivisionError("by zero"), "internal"),
    ],
)
def test_nothing_that_meets_a_job_ends_the_service(
    store: Store, error: Exception, code: str
) -> None:
    """Its items fail with their reason, and the next job is done."""

    def then(item: Item) -> None:
        if item.job == "bad":
            raise error

    heard = Heard()
    put(store, "bad", 2)
    put(store, "good", 2)
    with serving(Runner(store, Stages(2, then), on_event=heard)):
        heard.settled(4)
    assert states(store, "good") == [State.DONE] * 2
    assert [item.error and item.error.code for item in store.items("bad")] == [code] * 2
    assert states(store, "bad") == [State.FAILED] * 2


def test_what_cannot_be_told_ends_no_service(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """Who listens may be at fault: that is logged, and the item is done all the same."""
    heard = Heard()

    def on_event(event: Event) -> None:
        heard(event)
        raise ZeroDivisionError

    put(store, "a", 3)
    with serving(Runner(store, Stages(), on_event=on_event)):
        heard.settled(3)
    assert states(store, "a") == [State.DONE] * 3
    assert len(caplog.records) == 3


def test_a_closed_engine_ends_it(store: Store) -> None:
    """The item is put back as if it had not been begun, and whoever serves is told."""

    def then(_: Item) -> None:
        raise EngineClosed("closed")

    put(store, "a", 3)
    with pytest.raises(EngineClosed), serving(Runner(store, Stages(1, then))) as thread:
        thread.join(LONG)
    assert [(item.state, item.attempt) for item in store.items("a")] == [(State.QUEUED, 0)] * 3


class Blocked:
    """A ledger that cannot be written: another program keeps it."""

    def __init__(self, store: Store) -> None:
        self._other = sqlite3.connect(store.path, isolation_level=None, check_same_thread=False)
        self._other.execute("BEGIN IMMEDIATE")

    def end(self) -> None:
        if self._other.in_transaction:
            self._other.execute("ROLLBACK")
        self._other.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger that another keeps is soon given up, and soon tried again."""
    monkeypatch.setattr(ledger, "PATIENCE", 0.01)
    monkeypatch.setattr(module, "TROUBLE", 0.01)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("when", ["claim", "settle"])
def test_what_the_ledger_refuses_is_written_when_it_can_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, when: str
) -> None:
    """It is said once, however long it takes; what was done is written down, not done again."""
    blocked: list[Blocked] = []

    def then(item: Item) -> None:
        if item.source == "a0" and when == "settle":
            blocked.append(Blocked(store))

    heard, backend = Heard(), Stages(2 if when == "claim" else 1, then)
    with Asked(tmp_path / "jobs.db") as store:
        put(store, "a", 4)
        if when == "claim":
            blocked.append(Blocked(store))
        with serving(Runner(store, backend, on_event=heard)):
            assert came(store.refused, 4)
            assert not heard.events
            blocked[0].end()
            heard.settled(4)
        assert store.counts("a") == Counts(total=4, done=4)
    assert sorted(backend.written) == ["a0", "a1", "a2", "a3"]
    assert len(caplog.records) == 1


@pytest.mark.usefixtures("impatient")
def test_a_service_stops_although_the_ledger_cannot_be_written(tmp_path: Path) -> None:
    """That is said, and the next program settles what was in flight."""
    blocked: list[Blocked] = []
    with Asked(tmp_path / "jobs.db") as store:
        put(store, "a", 2)
        backend = Stages(1, lambda _: blocked.append(Blocked(store)))
        with pytest.raises(OutputError, match="locked"), serving(Runner(store, backend)):
            assert came(store.refused, 1)
        blocked[0].end()
        assert states(store, "a") == [State.RUNNING, State.QUEUED]
        assert store.recover() == 1


def test_canceled_it_is_not_written(store: Store) -> None:
    """What is in flight ends before its next stage; retried it is done. Others are not touched."""
    heard = Heard()
    flying, canceled = threading.Barrier(3), threading.Event()

    def then(_: Item) -> None:
        if not canceled.is_set():
            flying.wait(LONG)
            assert canceled.wait(LONG)

    put(store, "a", 5)
    put(store, "b", 1)
    backend = Stages(2, then)
    runner = Runner(store, backend, on_event=heard)
    with serving(runner):
        flying.wait(LONG)
        assert runner.cancel("a") == 5
        canceled.set()
        heard.settled(1)
        assert backend.written == ["b0"]
        assert states(store, "a") == [State.CANCELED] * 5
        assert store.retry("a") == 5
        runner.wake()
        heard.settled(6)
        with pytest.raises(UnknownJob):
            runner.cancel("nope")
    assert sorted(backend.written) == ["a0", "a1", "a2", "a3", "a4", "b0"]
    assert all(item.attempt == 1 for item in store.items("a"))


@pytest.mark.parametrize("now", [True, False])
def test_stopped_it_finishes_what_it_has_begun_or_puts_it_back(store: Store, now: bool) -> None:
    """At once: nothing more is written, the attempts are given back. Else what is in flight is."""
    flying, stopped = threading.Barrier(3), threading.Event()

    def then(_: Item) -> None:
        flying.wait(LONG)
        assert stopped.wait(LONG)

    put(store, "a", 5)
    backend = Stages(2, then)
    runner = Runner(store, backend)
    with serving(runner) as thread:
        flying.wait(LONG)
        runner.stop(now=now)
        stopped.set()
        thread.join(LONG)
    assert len(backend.written) == (0 if now else 2)
    done = len(backend.written)
    assert store.counts("a") == Counts(total=5, queued=5 - done, done=done)
    assert sum(item.attempt for item in store.items("a")) == done


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal on Windows")
@pytest.mark.parametrize("where", ["main", "other"])
def test_a_signal_may_stop_it_while_it_waits(store: Store, where: str) -> None:
    """Wherever it serves, and whatever the main thread is at: it is not kept waiting for work."""
    heard = Heard()
    runner = Runner(store, Stages(2), on_event=heard)
    before = signal.signal(signal.SIGTERM, lambda *_: runner.stop(now=True))

    def send() -> None:
        heard.settled(1)
        signal.raise_signal(signal.SIGTERM)

    put(store, "a")
    try:
        if where == "main":
            sender = threading.Thread(target=send)
            sender.start()
            runner.serve()
            sender.join(LONG)
        else:
            with serving(runner) as thread:
                send()
                thread.join(LONG)
                assert not thread.is_alive()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_stages_are_told_as_they_begin(store: Store) -> None:
    """First that it was claimed; and who is told may ask the runner for something."""
    heard = Heard()
    told: list[tuple[str, str]] = []

    def on_stage(item: Item, stage: str) -> None:
        told.append((item.source, stage))
        runner.wake()
        runner.cancel("other")

    put(store, "other", 0)
    put(store, "a", 2)
    runner = Runner(store, Stages(), on_event=heard, on_stage=on_stage)
    with serving(runner):
        heard.settled(2)
    assert told == [(s, stage) for s in ("a0", "a1") for stage in ("claimed", "task", "encode")]


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_asked_of_it_all_is_done_or_canceled(store: Store, seed: int) -> None:
    """Put, canceled, retried, removed at any moment: it goes on, and what is done was written."""
    random = Random(seed)

    def then(item: Item) -> None:
        if item.attempt < 3 and Random(item.source + str(item.attempt)).random() < 0.1:
            raise OutOfMemory("too large")

    empty = threading.Condition()

    def on_event(_: Event) -> None:
        with empty:
            empty.notify_all()

    backend = Stages(3, then)
    runner = Runner(store, backend, on_event=on_event)
    with serving(runner):
        for turn in range(60):
            job = random.choice("abc")
            known = job in {each.id for each in store.jobs()}
            match random.choice("ppprcx"):
                case "c" if known:
                    runner.cancel(job)
                    assert not store.counts(job).running
                case "r" if known:
                    store.retry(job)
                    runner.wake()
                case "x" if known:
                    store.remove(job)
                case _:
                    rows = ((f"{job}{turn}.{i}", f"{job}{turn}.{i}.png", "") for i in range(5))
                    store.put("matte", {}, rows, id=job, priority=random.randint(0, 1))
                    runner.wake()

        def idle() -> bool:
            standing = store.standing()
            return not standing.queued and not standing.running

        with empty:
            assert empty.wait_for(idle, timeout=LONG)
    written = set(backend.written)
    for job in store.jobs():
        for item in store.items(job.id):
            assert item.state in (State.DONE, State.CANCELED)
            assert item.state is State.CANCELED or item.source in written
