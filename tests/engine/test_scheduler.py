"""The scheduler's laws, as a state machine beside a plain list that is sorted anew each time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from portrayer.engine.scheduler import PATIENCE, Request, Scheduler

MODELS = ("a", "b", "c")


class Queue(RuleBasedStateMachine):
    """Every request leaves exactly once, and always the best-ranked first."""

    @initialize()
    def begin(self) -> None:
        self.scheduler = Scheduler()
        self.now = 0.0
        self.next = 0
        self.waiting: list[Request] = []
        self.out: list[Request] = []  # taken, and perhaps to come back
        self.left: list[int] = []

    @rule(seconds=st.floats(0, 20))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(
        model=st.sampled_from(MODELS),
        priority=st.integers(-2, 2),
        patience=st.none() | st.floats(0, 40),
    )
    def submit(self, model: str, priority: int, patience: float | None) -> None:
        deadline = None if patience is None else self.now + patience
        request = Request(self.next, model, self.now, priority, deadline)
        self.next += 1
        self.scheduler.submit(request)
        self.waiting.append(request)
        with pytest.raises(ValueError, match="already"):
            self.scheduler.submit(request)

    @rule(room=st.integers(0, 5), without=st.sets(st.sampled_from(MODELS), max_size=2))
    def take(self, room: int, without: set[str]) -> None:
        allowed = [r for r in self.waiting if r.model not in without]
        best = min(allowed, key=lambda r: r.rank, default=None)
        asked: list[str] = []

        def answer(model: str) -> int:
            asked.append(model)
            return room

        batch = self.scheduler.take(answer, without)
        if best is None or room == 0:
            assert batch is None
            return
        same = sorted((r for r in allowed if r.model == best.model), key=lambda r: r.rank)
        assert batch is not None
        assert asked == [batch.model] == [best.model]
        assert list(batch.requests) == same[:room]
        assert 1 <= len(batch) <= room
        for request in batch.requests:
            self.waiting.remove(request)
            self.out.append(request)

    @rule()
    def come_back(self) -> None:
        """What was taken may be submitted again; its rank, so its place, is what it was."""
        while self.out:
            request = self.out.pop()
            self.scheduler.submit(request)
            self.waiting.append(request)

    @rule()
    def answer(self) -> None:
        self.left += [request.id for request in self.out]
        self.out.clear()

    @rule(at=st.integers(0, 30))
    def cancel(self, at: int) -> None:
        ids = {request.id for request in self.waiting}
        assert self.scheduler.cancel(at) is (at in ids)
        if at in ids:
            self.waiting = [r for r in self.waiting if r.id != at]
            self.left.append(at)

    @rule()
    def expire(self) -> None:
        late = [r for r in self.waiting if r.deadline is not None and r.deadline <= self.now]
        assert sorted(self.scheduler.expire(self.now), key=lambda r: r.id) == late
        assert self.scheduler.expire(self.now) == []
        self.waiting = [r for r in self.waiting if r not in late]
        self.left += [r.id for r in late]

    @invariant()
    def agrees(self) -> None:
        self.waiting.sort(key=lambda r: r.id)
        assert len(self.scheduler) == len(self.waiting)
        for model in MODELS:
            assert self.scheduler.waiting(model) == sum(r.model == model for r in self.waiting)
        best = min(self.waiting, key=lambda r: r.rank, default=None)
        assert self.scheduler.next_model() == (best.model if best else None)
        assert len(self.left) == len(set(self.left))
        known = [*self.left, *(r.id for r in self.waiting), *(r.id for r in self.out)]
        assert sorted(known) == list(range(self.next))

    def teardown(self) -> None:
        if not hasattr(self, "scheduler"):
            return
        while batch := self.scheduler.take(lambda _: 3):
            for request in batch.requests:
                self.waiting.remove(request)
        assert self.waiting == []
        assert len(self.scheduler) == 0


TestQueue = Queue.TestCase


def drain(scheduler: Scheduler, room: int = 1) -> list[int]:
    batches = iter(lambda: scheduler.take(lambda _: room), None)
    return [request.id for batch in batches for request in batch.requests]


@given(st.lists(st.floats(0, 5), max_size=12), st.integers(-3, 3))
def test_equal_priorities_go_in_order_of_arrival(gaps: list[float], priority: int) -> None:
    """Within a priority nobody overtakes, not even those who came at the same instant."""
    scheduler, now = Scheduler(), 0.0
    for id, gap in enumerate(gaps):
        now += gap
        scheduler.submit(Request(id, "a", now, priority))
    assert drain(scheduler) == list(range(len(gaps)))


@given(st.floats(0, 2 * PATIENCE), st.integers(1, 3))
def test_a_level_of_priority_is_worth_patience(later: float, levels: int) -> None:
    """A higher priority overtakes those that came less than PATIENCE a level before it."""
    scheduler = Scheduler()
    scheduler.submit(Request(0, "a", 0.0))
    scheduler.submit(Request(1, "a", later, levels))
    assert drain(scheduler)[0] == (1 if later < levels * PATIENCE else 0)


@given(st.floats(0.5, 7), st.integers(1, 3), st.integers(1, 3))
def test_nobody_starves(every: float, levels: int, room: int) -> None:
    """However much of higher priority keeps coming, what waits is taken within its patience."""
    scheduler = Scheduler()
    scheduler.submit(Request(0, "low", 0.0))
    now, id = 0.0, 0
    while scheduler.waiting("low"):
        for _ in range(room):  # always a full batch more of what goes before
            id += 1
            scheduler.submit(Request(id, "high", now, levels))
        scheduler.take(lambda _: room)
        now += every
        assert now <= levels * PATIENCE + 2 * every
    assert id >= room


def test_no_room_is_not_overtaken() -> None:
    """Where the best-ranked request's model has no room, others wait with it."""
    scheduler = Scheduler()
    scheduler.submit(Request(0, "large", 0.0))
    scheduler.submit(Request(1, "small", 1.0))
    assert scheduler.take(lambda model: 0 if model == "large" else 9) is None
    assert drain(scheduler) == [0, 1]


def test_a_failing_ledger_loses_nothing() -> None:
    """An error in ``room`` leaves every request where it was."""
    scheduler = Scheduler()
    scheduler.submit(Request(0, "a", 0.0))

    def broken(model: str) -> int:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        scheduler.take(broken)
    assert drain(scheduler) == [0]


def test_memory_is_that_of_what_waits() -> None:
    """A long run of canceled requests leaves nothing behind once its place has come."""
    scheduler = Scheduler()
    for id in range(1000):
        scheduler.submit(Request(id, "a", float(id)))
        assert scheduler.cancel(id)
    assert scheduler.next_model() is None
    assert not scheduler._gone
    assert not any(scheduler._queues.values())
