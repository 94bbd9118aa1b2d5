"""Laws of the runner's commits: threads share them, and nobody hears of what is not on the disk."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from portrayer.jobs.backend import Watch
from portrayer.jobs.record import JSON, Counts, Item, Job, State
from portrayer.jobs.runner import Event, Runner
from portrayer.jobs.store import Store
from portrayer.jobs.transaction import Transaction

WIDTH = 8
LONG = 20.0  # seconds in which all that a test waits for comes about


class Counted(Store):
    """Notes how many items each transaction completed, of those that completed any."""

    def __init__(self, path: Path) -> None:
        self.groups: list[int] = []
        super().__init__(path)

    @contextmanager
    def together(self) -> Iterator[Transaction]:
        with super().together() as transaction:
            done = 0
            complete = transaction.complete

            def counted(item: Item, result: Mapping[str, JSON]) -> bool:
                nonlocal done
                done += 1
                return complete(item, result)

            transaction.complete = counted  # type: ignore[method-assign]
            yield transaction
        if done:
            self.groups.append(done)


class Line(deque[Any]):
    """Steps that wait; says of each when it has come."""

    def __init__(self) -> None:
        super().__init__()
        self.came = threading.Semaphore(0)

    def append(self, step: Any) -> None:
        super().append(step)
        self.came.release()


class Meeting:
    """A backend whose items all answer at one moment; that of source "0" gives ``first``."""

    def __init__(self, first: Mapping[Any, JSON]) -> None:
        self.width = WIDTH
        self._first = first
        self._all = threading.Barrier(WIDTH)

    def run(self, job: Job, item: Item, watch: Watch) -> Mapping[str, JSON]:
        self._all.wait(LONG)
        return self._first if item.source == "0" else {}

    def close(self) -> None:
        pass


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Counted]:
    with Counted(tmp_path / "jobs.db") as store:
        yield store


def put(store: Store, n: int) -> None:
    store.put("matte", {}, ((str(i), f"{i}.png", "") for i in range(n)), id="j")


def meet(store: Store, first: Mapping[Any, JSON]) -> None:
    """Run as many items as there are threads; the first event lasts until all want to settle."""
    put(store, WIDTH)
    events: list[Event] = []

    def on_event(event: Event) -> None:
        events.append(event)
        if len(events) == 1:
            for _ in range(2 * WIDTH):  # they have all claimed, too
                assert line.came.acquire(timeout=LONG)

    runner = Runner(store, Meeting(first), on_event=on_event)
    runner._waiting = line = Line()
    try:
        assert runner.run("j") == Counts(total=WIDTH, done=WIDTH)
    finally:
        assert [event.counts.settled for event in events] == list(range(1, len(events) + 1))


def test_who_waits_at_one_time_shares_a_commit(store: Counted) -> None:
    """While one is told of, the others' answers gather: they are one transaction."""
    meet(store, {})
    assert len(store.groups) <= 2
    assert sum(store.groups) == WIDTH


def test_one_bad_step_spoils_no_other(store: Counted) -> None:
    """What a bug makes impossible to write is its own thread's error; the others' are written."""
    with pytest.raises(TypeError):
        meet(store, {(1, 2): "no key of JSON"})
    assert [i.state for i in store.items("j")] == [State.RUNNING] + [State.DONE] * (WIDTH - 1)


def test_nobody_hears_of_what_is_not_on_the_disk(store: Store) -> None:
    """A claim that is begun and an event that is told stand in the file, for other programs too."""
    put(store, 300)
    with Store(store.path) as other:

        class Looks:
            width = 2 * WIDTH

            def run(self, job: Job, item: Item, watch: Watch) -> Mapping[str, JSON]:
                assert other.item(item.id) == item
                return {"source": item.source}

            def close(self) -> None:
                pass

        events: list[Event] = []

        def on_event(event: Event) -> None:
            assert other.item(event.item.id) == event.item
            events.append(event)

        counts = Runner(store, Looks(), on_event=on_event).run("j")
    assert counts == Counts(total=300, done=300)
    assert [event.item.changed for event in events] == sorted(e.item.changed for e in events)
    assert [event.counts.done for event in events] == list(range(1, 301))
    assert all(i.result == {"source": i.source} for i in store.items("j"))
