"""Higher priorities go first, nobody waits for ever, and nobody waits for one who waits for him."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portrayer.engine import precedence
from portrayer.engine.memory import Budget
from portrayer.engine.precedence import Course, Precedence
from portrayer.errors import Canceled, DeadlineExceeded, OutOfMemory
from tests.engine.fakes import eventually


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody goes on for want of patience."""
    monkeypatch.setattr(precedence, "PATIENCE", 60.0)


class Photo(threading.Thread):
    """A photo of another thread that is at a border: ``on`` when it goes on."""

    def __init__(self, one: Precedence, priority: int, memory: Any = None) -> None:
        super().__init__(daemon=True)
        self.one, self.priority, self.memory = one, priority, memory or nullcontext()
        self.there, self.on, self.leave = (threading.Event() for _ in range(3))
        self.start()

    def run(self) -> None:
        with self.one.working(self.priority, self.memory):
            self.there.set()
            self.one.pause(self.priority, 60.0)
            self.on.set()
            assert self.leave.wait(20)

    def pauses(self) -> bool:
        assert self.there.wait(10)
        return not self.on.wait(0.05)

    def end(self) -> None:
        self.leave.set()
        self.join(10)
        assert not self.is_alive()


@pytest.mark.usefixtures("patient")
def test_lower_ones_pause_until_the_higher_one_is_done() -> None:
    """Of three priorities each goes on when what is above it has left; equals do not pause."""
    one = Precedence()
    high, also = Photo(one, 2), Photo(one, 2)
    assert high.on.wait(10)
    assert also.on.wait(10)
    mid = Photo(one, 1)
    assert mid.pauses()
    low = Photo(one, 0)
    assert low.pauses()
    high.end()
    assert mid.pauses()
    also.end()
    assert mid.on.wait(10)
    assert low.pauses()
    mid.end()
    assert low.on.wait(10)
    low.end()


@pytest.mark.parametrize(("patience", "seconds"), [(0.02, 60.0), (60.0, 0.02), (60.0, -1.0)])
def test_a_pause_ends(patience: float, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """After PATIENCE, or after the seconds there are, the lower one goes on all the same."""
    monkeypatch.setattr(precedence, "PATIENCE", patience)
    one = Precedence()
    with one.working(1, nullcontext()), one.working(0, nullcontext()):
        thread = threading.Thread(target=one.pause, args=(0, seconds), daemon=True)
        thread.start()
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.usefixtures("patient")
def test_what_waits_for_memory_is_not_waited_for() -> None:
    """A higher one in line pauses nobody; those that hold what it needs go on and give it back."""
    one, budget = Precedence(), Budget(10)
    low = Photo(one, 0, budget.reserve(6))
    assert low.on.wait(10)
    high = Photo(one, 1, budget.reserve(4))
    assert high.on.wait(10)
    again = Photo(one, 0)
    assert again.pauses()
    higher = Photo(one, 1, budget.reserve(6, priority=1))
    assert again.on.wait(10), "while a higher one waits for memory, lower ones work"
    assert not higher.there.is_set()
    low.end()
    assert higher.there.wait(10)
    for photo in (again, high, higher):
        photo.end()
    assert budget.reserved == 0


def test_what_fails_leaves_nothing_behind() -> None:
    """Memory that is refused, or an error at work: nobody pauses for it afterwards."""
    one, budget = Precedence(), Budget(10)
    with pytest.raises(OutOfMemory), one.working(2, budget.reserve(11)):
        pass
    with budget.reserve(5), pytest.raises(DeadlineExceeded), one.working(2, budget.reserve(6, 0)):
        pass
    with pytest.raises(KeyError), one.working(2, budget.reserve(6)):
        raise KeyError
    assert budget.reserved == 0
    low = Photo(one, 0)
    assert low.on.wait(10)
    low.end()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 10)), min_size=1, max_size=12))
def test_everyone_gets_done(photos: list[tuple[int, int]]) -> None:
    """Any mix of priorities and needs over one small ledger: nobody waits for one who waits for
    him, however patient they are."""
    one, budget, done = Precedence(), Budget(10), []

    def work(priority: int, need: int) -> None:
        with one.working(priority, budget.reserve(need, priority=priority)):
            for _ in range(3):
                one.pause(priority, 60.0)
            done.append(priority)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precedence, "PATIENCE", 60.0)
        threads = [threading.Thread(target=work, args=photo, daemon=True) for photo in photos]
        for thread in threads:
            thread.start()
        assert eventually(lambda: len(done) == len(photos))
        for thread in threads:
            thread.join(10)
    assert budget.reserved == 0


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_course_is_timed_by_stage() -> None:
    """Each stage's seconds are summed; what lies between leaving one and entering the next is
    nobody's; who watches hears every stage as it begins."""
    clock, heard = Clock(), list[str]()
    course = Course(Precedence(), heard.append, clock=clock)
    for stage, seconds in (("decode", 1.0), ("task", 2.0), ("infer", 4.0), ("task", 8.0)):
        course.enter(stage)
        clock.now += seconds
    course.leave()
    clock.now += 16.0
    course.leave()
    course.enter("encode")
    assert course.seconds == {"decode": 1.0, "task": 10.0, "infer": 4.0}
    assert heard == ["decode", "task", "infer", "task", "encode"]


def test_pauses_are_not_counted() -> None:
    """The seconds of a stage are those it was worked on."""

    class Slow(Precedence):
        def pause(self, priority: int, seconds: float = 0.0) -> None:
            clock.now += 5.0

    clock = Clock()
    course = Course(Slow(), clock=clock)
    course.enter("decode")
    clock.now += 1.0
    course.enter("task")
    assert course.seconds == {"decode": 1.0}


def test_a_course_ends_at_its_deadline() -> None:
    """The stage that would begin too late does not, and nobody is told that it did."""
    clock, heard = Clock(), list[str]()
    course = Course(Precedence(), heard.append, seconds=3.0, clock=clock)
    course.enter("decode")
    clock.now += 2.0
    assert course.left == 1.0
    course.enter("task")
    clock.now += 1.0
    with pytest.raises(DeadlineExceeded):
        course.enter("infer")
    assert heard == ["decode", "task"]
    assert course.seconds == {"decode": 2.0, "task": 1.0}
    assert Course(Precedence()).left is None


def test_who_watches_may_end_it() -> None:
    """What the watch raises leaves the border as it is."""

    def watch(stage: str) -> None:
        raise Canceled(stage)

    with pytest.raises(Canceled, match="decode"):
        Course(Precedence(), watch).enter("decode")
