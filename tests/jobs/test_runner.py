"""Laws of the runner: what one item's error does to it, to its neighbours and to the run."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from portrayer.errors import (
    DecodeError,
    EngineClosed,
    NoFaceFound,
    OutOfMemory,
    OutputError,
    PortrayerError,
    UnknownJob,
    UnknownTask,
    WeightsMismatch,
)
from portrayer.jobs.backend import Backend, LocalBackend, Watch, unwatched
from portrayer.jobs.record import JSON, Counts, Failure, Item, Job, State
from portrayer.jobs.runner import Event, Runner
from portrayer.jobs.store import Store


class Calls:
    """A backend that notes what it is given and then does as it is told."""

    def __init__(self, width: int = 1, then: Callable[[Item], None] | None = None) -> None:
        self.width = width
        self.then = then
        self.seen: list[Item] = []

    def run(self, job: Job, item: Item, watch: Watch) -> Mapping[str, JSON]:
        self.seen.append(item)
        if self.then is not None:
            self.then(item)
        return {"source": item.source}

    def close(self) -> None:
        pass


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "jobs.db") as store:
        yield store


def put(store: Store, n: int) -> None:
    store.put("matte", {}, ((str(i), f"{i}.png", "") for i in range(n)), id="j")


def states(store: Store) -> list[State]:
    return [item.state for item in store.items("j")]


def fault(error: Exception, source: str = "1") -> Callable[[Item], None]:
    """Raise ``error`` for one source and let the others be."""

    def then(item: Item) -> None:
        if item.source == source:
            raise error

    return then


def test_jobs_are_run_as_one(store: Store) -> None:
    """They share the workers and nothing else is touched; every event counts for the whole."""
    for id, n in (("a", 2), ("b", 1), ("c", 1), ("not", 1)):
        store.put("matte", {}, ((f"{id}{i}", f"{id}{i}.png", "") for i in range(n)), id=id)
    start, events = threading.Barrier(3), []

    def then(item: Item) -> None:
        if item.source != "a1":
            start.wait(timeout=20)

    counts = Runner(store, Calls(3, then), on_event=events.append).run("a", "b", "c")
    assert counts == Counts(total=4, done=4)
    assert [event.counts.done for event in events] == [1, 2, 3, 4]
    assert {event.counts.total for event in events} == {4}
    assert store.counts("not", "a") == Counts(total=3, queued=1, done=2)


@pytest.mark.parametrize("width", [1, 3])
def test_every_item_is_run_once(store: Store, width: int) -> None:
    """Everything queued is done, once, with its result kept; a second run has nothing to do."""
    put(store, 20)
    backend = Calls(width)
    assert Runner(store, backend).run("j") == Counts(total=20, done=20)
    assert sorted(int(item.source) for item in backend.seen) == list(range(20))
    assert [item.result for item in store.items("j")] == [{"source": str(i)} for i in range(20)]
    Runner(store, backend).run("j")
    assert len(backend.seen) == 20


def test_items_go_in_the_order_they_were_put(store: Store) -> None:
    """One at a time, the oldest goes first."""
    put(store, 9)
    backend = Calls()
    Runner(store, backend).run("j")
    assert [item.source for item in backend.seen] == [str(i) for i in range(9)]


def test_no_more_than_width_run_at_once_and_that_many_do(store: Store) -> None:
    """Three wanted in flight are three in flight: each waits until it has met the two others."""
    put(store, 9)
    meeting = threading.Barrier(3)

    def then(_: Item) -> None:
        meeting.wait(timeout=20)

    assert Runner(store, Calls(3, then)).run("j").done == 9


@pytest.mark.parametrize(
    "error", [DecodeError("1: not a picture"), NoFaceFound("1: no face"), UnknownTask("no matte")]
)
def test_one_bad_item_fails_alone(store: Store, error: PortrayerError) -> None:
    """What the caller can fix fails its item at once, with code and reason; the others are done."""
    put(store, 4)
    backend = Calls(2, fault(error))
    assert Runner(store, backend).run("j") == Counts(total=4, done=3, failed=1)
    [failed] = store.items("j", State.FAILED)
    assert failed.error == Failure(error.code, str(error))
    assert failed.attempt == 1


def test_a_bug_is_logged_without_the_key_to_a_photo(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """An address of the web may have been signed, for this reader alone."""
    store.put("matte", {}, [("https://host/a.jpg?sig=secret", "/out/a.png", "")], id="j")
    with caplog.at_level(logging.ERROR, logger="portrayer"):
        Runner(store, Calls(1, lambda *_: 1 / 0)).run("j")
    assert "https://host/a.jpg" in caplog.text
    assert "secret" not in caplog.text


def test_a_bug_is_logged_whole_and_fails_its_item(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """An error nobody planned for is one line in the ledger, which tells of its kind alone, and a
    traceback in the log.
    """
    put(store, 3)
    with caplog.at_level(logging.ERROR, logger="portrayer"):
        counts = Runner(store, Calls(1, fault(ZeroDivisionError("by\n/home/zero")))).run("j")
    assert counts == Counts(total=3, done=2, failed=1)
    [failed] = store.items("j", State.FAILED)
    assert failed.error == Failure("internal", "internal error (ZeroDivisionError): see the log")
    [record] = caplog.records
    assert record.exc_info
    assert record.exc_info[0] is ZeroDivisionError


@pytest.mark.parametrize("misses", [1, 2, 3])
def test_short_of_capacity_is_tried_three_times(store: Store, misses: int) -> None:
    """A capacity error puts the item back, behind the untried ones, until its attempts are used."""
    put(store, 3)

    def then(item: Item) -> None:
        if item.source == "0" and item.attempt <= misses:
            raise OutOfMemory("too large")

    backend = Calls(1, then)
    counts = Runner(store, backend).run("j")
    assert [item.source for item in backend.seen] == ["0", "1", "2", "0", "0"][: 3 + min(misses, 2)]
    assert counts == (Counts(total=3, done=2, failed=1) if misses == 3 else Counts(total=3, done=3))
    assert next(store.items("j")).attempt == min(misses + 1, 3)


def test_a_further_attempt_runs_alone(store: Store) -> None:
    """With all the memory there is: beside a second or third attempt nothing of the job runs."""
    put(store, 12)
    lock = threading.Lock()
    flying: list[int] = []
    beside: list[int] = []

    class Tight(Calls):
        def run(self, job: Job, item: Item, watch: Watch) -> Mapping[str, JSON]:
            with lock:
                flying.append(item.attempt)
                if max(flying) > 1:
                    beside.append(len(flying))
            try:
                if item.attempt < 3 and int(item.source) % 2:
                    raise OutOfMemory("too large")
            finally:
                with lock:
                    flying.remove(item.attempt)
            return {}

    assert Runner(store, Tight(4)).run("j") == Counts(total=12, done=12)
    assert beside == [1] * 12


@pytest.mark.parametrize(
    "error",
    [OutputError("disk full"), WeightsMismatch("not these"), EngineClosed("closed")],
)
def test_what_would_fail_every_item_stops_the_run(store: Store, error: PortrayerError) -> None:
    """A full disk fails no picture: the run ends with the error, the attempt is given back."""
    put(store, 5)
    with pytest.raises(type(error)) as caught:
        Runner(store, Calls(1, fault(error))).run("j")
    assert caught.value is error
    assert states(store) == [State.DONE] + [State.QUEUED] * 4
    assert [item.attempt for item in store.items("j")] == [1, 0, 0, 0, 0]
    assert Runner(store, Calls(2)).run("j").done == 5, "and goes on once that is put right"


def test_a_stopping_error_lets_the_neighbours_finish(store: Store) -> None:
    """Items in flight when the run ends are done, not thrown away."""
    put(store, 6)
    meeting = threading.Barrier(2)
    raised = threading.Event()

    class Watched(Runner):
        def stop(self) -> None:
            super().stop()
            raised.set()

    def then(item: Item) -> None:
        meeting.wait(timeout=20)
        if item.source == "0":
            raise OutputError("disk full")
        assert raised.wait(timeout=20)

    with pytest.raises(OutputError):
        Watched(store, Calls(2, then)).run("j")
    assert states(store) == [State.QUEUED, State.DONE] + [State.QUEUED] * 4


def test_an_output_whose_own_name_is_at_fault_fails_alone(store: Store, tmp_path: Path) -> None:
    """A folder where the file should be says nothing about the disk: the run goes on."""
    put(store, 3)

    def then(item: Item) -> None:
        if item.source == "1":
            with pytest.raises(IsADirectoryError) as caught:
                tmp_path.write_bytes(b"")
            raise OutputError(f"{tmp_path} is a folder") from caught.value

    assert Runner(store, Calls(1, then)).run("j") == Counts(total=3, done=2, failed=1)


def test_stop_leaves_the_rest_queued(store: Store) -> None:
    """After stop() nothing more is claimed; what was in flight is done; nothing is left running."""
    put(store, 10)
    settled: list[Event] = []

    def on_event(event: Event) -> None:
        settled.append(event)
        if len(settled) == 3:
            runner.stop()

    runner = Runner(store, Calls(2), on_event=on_event)
    counts = runner.run("j")
    assert counts.running == counts.failed == 0
    assert 3 <= counts.done <= 4
    assert counts.done + counts.queued == 10
    assert runner.run("j") == counts, "stop is final"


@pytest.mark.skipif(sys.platform == "win32", reason="no signal to one thread on Windows")
def test_ctrl_c_finishes_what_is_in_flight(store: Store) -> None:
    """KeyboardInterrupt comes out of run() after the items in flight were done and written down."""
    put(store, 5)
    stopped = threading.Event()

    class Watched(Runner):
        def stop(self) -> None:
            super().stop()
            stopped.set()

    def then(_: Item) -> None:
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, signal.SIGINT)
        assert stopped.wait(timeout=20)

    with pytest.raises(KeyboardInterrupt):
        Watched(store, Calls(1, then)).run("j")
    assert states(store) == [State.DONE] + [State.QUEUED] * 4


def test_events_tell_a_progress_bar_all_it_needs(store: Store) -> None:
    """One event for each time an item leaves the running state, in the ledger's own words."""
    put(store, 8)
    events: list[Event] = []

    def then(item: Item) -> None:
        fault(DecodeError("no"), "3")(item)
        if item.attempt == 1:
            fault(OutOfMemory("no"), "5")(item)

    counts = Runner(store, Calls(3, then), on_event=events.append).run("j")
    assert sorted((e.item.source, e.item.state) for e in events) == sorted(
        [(str(i), State.FAILED if i == 3 else State.DONE) for i in range(8)] + [("5", State.QUEUED)]
    )
    progress = [event.counts.settled for event in events]
    assert progress == sorted(progress)
    assert progress[-1] == 8
    assert events[-1].counts == counts
    assert all(event.seconds >= 0 for event in events)


def test_an_item_put_anew_while_it_runs_is_run_anew(store: Store) -> None:
    """If the file changed while it was worked on, the late result is dropped and made anew."""
    put(store, 2)

    def then(item: Item) -> None:
        if item.source == "0" and item.signature == "":
            store.put("matte", {}, [("0", "0.png", "changed")], id="j")

    backend = Calls(1, then)
    events: list[Event] = []
    assert Runner(store, backend, on_event=events.append).run("j").done == 2
    assert [(i.source, i.signature) for i in backend.seen] == [
        ("0", ""),
        ("0", "changed"),
        ("1", ""),
    ]
    assert len(events) == 2


def test_an_error_in_on_event_comes_out_of_run(store: Store) -> None:
    """The caller's own mistake is the caller's to see; the item it was told of stays done."""
    put(store, 3)

    def on_event(_: Event) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Runner(store, Calls(), on_event=on_event).run("j")
    assert states(store) == [State.DONE, State.QUEUED, State.QUEUED]


def test_an_unknown_job_is_not_run(store: Store) -> None:
    """There is nothing to do for a job that does not exist, and that is said."""
    with pytest.raises(UnknownJob):
        Runner(store, Calls()).run("nope")


def test_local_backend_hands_files_to_the_pipeline(store: Store, tmp_path: Path) -> None:
    """Task, options, source and target arrive as they were put; width is the pipeline's workers."""

    class Shout:
        workers = 2

        def process_file(
            self,
            task: str,
            options: Mapping[str, JSON],
            source: Path,
            target: Path,
            watch: Watch = unwatched,
        ) -> Mapping[str, JSON]:
            target.write_text(source.read_text().upper() + str(options["end"]))
            return {"task": task}

    (tmp_path / "a.txt").write_text("hello")
    target = tmp_path / "a.out"
    store.put("shout", {"end": "!"}, [(str(tmp_path / "a.txt"), str(target), "")], id="j")
    backend: Backend = LocalBackend(Shout())
    assert backend.width == 2
    assert Runner(store, backend).run("j").done == 1
    backend.close()
    assert target.read_text() == "HELLO!"
    assert next(store.items("j")).result == {"task": "shout"}
