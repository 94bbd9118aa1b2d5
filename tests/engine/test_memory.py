"""Ledgers: never over, never below zero, first come first served; and how amounts are written."""

from __future__ import annotations

import gc
import threading
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from portrayer.engine.memory import UNITS, Budget, Cost, parse, show
from portrayer.errors import DeadlineExceeded, InvalidOption, OutOfMemory
from tests.engine.fakes import eventually

TOTAL = 1000
amounts = st.integers(0, TOTAL + 50)


class Thing:
    """Something that holds memory for as long as it lives."""


class Ledger(RuleBasedStateMachine):
    """A budget does what a plain sum would: what fits is taken, what does not changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = Budget(TOTAL)
        self.taken: list[int] = []
        self.things: list[tuple[Thing, int]] = []
        self.most = 0

    @property
    def sum(self) -> int:
        return sum(self.taken) + sum(size for _, size in self.things)

    @rule(amount=amounts)
    def take(self, amount: int) -> None:
        fits = self.sum + amount <= TOTAL
        assert self.budget.take(amount) is fits
        if fits:
            self.taken.append(amount)

    @rule(amount=amounts)
    def hold(self, amount: int) -> None:
        thing, fits = Thing(), self.sum + amount <= TOTAL
        assert self.budget.hold(thing, amount) is fits
        if fits:
            self.things.append((thing, amount))

    @rule(amount=amounts)
    def hold_again(self, amount: int) -> None:
        if self.things:
            assert self.budget.hold(self.things[-1][0], amount)

    @rule()
    def drop(self) -> None:
        if self.things:
            self.things.pop(0)

    @rule()
    def release(self) -> None:
        if self.taken:
            self.budget.release(self.taken.pop())

    @rule(amount=amounts)
    def reserve(self, amount: int) -> None:
        if self.sum + amount <= TOTAL:
            with self.budget.reserve(amount):
                assert self.budget.reserved == self.sum + amount
                self.most = max(self.most, self.sum + amount)
        else:
            error = OutOfMemory if amount > TOTAL else DeadlineExceeded
            with pytest.raises(error) as caught, self.budget.reserve(amount, seconds=0):
                pass
            assert "\n" not in str(caught.value)

    @rule(more=st.integers(1, 10))
    def release_too_much(self, more: int) -> None:
        with pytest.raises(ValueError, match="release"):
            self.budget.release(self.sum + more)

    @rule(amount=st.integers(-10, -1))
    def less_than_nothing(self, amount: int) -> None:
        assert not self.budget.take(amount)
        with pytest.raises(ValueError, match="release"):
            self.budget.release(amount)
        with pytest.raises(ValueError, match="reserved"), self.budget.reserve(amount):
            pass

    @invariant()
    def is_the_sum(self) -> None:
        assert self.budget.reserved == self.sum
        assert self.budget.free == TOTAL - self.sum >= 0
        self.most = max(self.most, self.sum)
        assert self.budget.peak == self.most


TestLedger = Ledger.TestCase


def test_what_is_held_goes_with_its_thing() -> None:
    """Held memory is released by the last reference, at once and without a collector."""
    budget, thing = Budget(10), Thing()
    gc.disable()
    try:
        assert budget.hold(thing, 7)
        also = thing
        del thing
        assert budget.reserved == 7
        del also
        assert budget.reserved == 0
    finally:
        gc.enable()


def test_a_raised_error_releases() -> None:
    """What was reserved comes back, however the block is left."""
    budget = Budget(10)
    with pytest.raises(KeyError), budget.reserve(7):
        raise KeyError
    assert budget.reserved == 0


def test_first_come_first_served() -> None:
    """A large reservation is not overtaken by small ones that would fit; order is arrival's."""
    budget, order = Budget(10), list[int]()
    threads = []

    def reserve(name: int, amount: int) -> None:
        with budget.reserve(amount):
            order.append(name)

    assert budget.take(5)
    for name, amount in enumerate((8, 1, 2, 10, 1)):
        threads.append(threading.Thread(target=reserve, args=(name, amount)))
        threads[-1].start()
        assert eventually(lambda line=name + 1: len(budget._line) == line)  # type: ignore[misc]
    assert not budget.take(1), "what waits in line goes before what asks for now or never"
    assert order == []
    budget.release(5)
    for thread in threads:
        thread.join(10)
    assert order == [0, 1, 2, 3, 4]
    assert budget.reserved == 0


def test_priority_is_a_head_start_in_line() -> None:
    """Who goes first is served first, whenever it came; among equals, who came first."""
    budget, order = Budget(10), list[str]()
    threads = []

    def reserve(name: str, priority: int) -> None:
        with budget.reserve(10, priority=priority):
            order.append(name)

    assert budget.take(1)
    came = (("a", 0), ("b", 0), ("high", 1), ("low", -1), ("also high", 1))
    for line, (name, priority) in enumerate(came, 1):
        threads.append(threading.Thread(target=reserve, args=(name, priority)))
        threads[-1].start()
        assert eventually(lambda line=line: len(budget._line) == line)  # type: ignore[misc]
    budget.release(1)
    for thread in threads:
        thread.join(10)
    assert order == ["high", "also high", "a", "b", "low"]


def test_a_wait_in_vain_gives_up_its_place() -> None:
    """After its seconds it is refused in one line, and who waits behind it goes on."""
    budget, told, done = Budget(10, "host memory"), list[str](), threading.Event()

    def impatient() -> None:
        with pytest.raises(DeadlineExceeded) as caught, budget.reserve(8, seconds=0.1):
            pass
        told.append(str(caught.value))

    def patient() -> None:
        with budget.reserve(4):
            done.set()

    assert budget.take(5)
    threads = [threading.Thread(target=impatient), threading.Thread(target=patient)]
    for thread in threads:
        thread.start()
    assert done.wait(10)
    for thread in threads:
        thread.join(10)
    assert ["8 B of host memory" in line and "\n" not in line for line in told] == [True]
    assert budget.reserved == 5


def test_one_who_gives_up_leaves_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupted wait does not hold up those behind it."""

    class Impatient(Exception):
        pass

    budget, done = Budget(10), threading.Event()

    def interrupted(condition: object, timeout: object = None) -> None:
        raise Impatient

    assert budget.take(5)
    with monkeypatch.context() as patch:
        patch.setattr(budget._changed, "wait_for", interrupted)
        with pytest.raises(Impatient), budget.reserve(8):
            pass

    def reserve() -> None:
        with budget.reserve(5):
            done.set()

    thread = threading.Thread(target=reserve)
    thread.start()
    thread.join(10)
    assert done.is_set()


def test_many_threads_never_hold_more_than_there_is() -> None:
    """Under contention, what is really held never passes the total, and everyone gets a turn."""
    budget, lock, held, most, turns = Budget(100), threading.Lock(), 0, 0, 0

    def work(seed: int) -> None:
        nonlocal held, most, turns
        for step in range(40):
            amount = 1 + (seed * 37 + step * 53) % 100
            with budget.reserve(amount):
                with lock:
                    held += amount
                    most = max(most, held)
                with lock:
                    held -= amount
                    turns += 1

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert turns == 12 * 40
    assert most <= budget.peak <= 100
    assert budget.reserved == 0


sizes = st.integers(1, 2**40)
batches = st.lists(st.integers(1, 64), min_size=2, max_size=2, unique=True).map(sorted)


@given(batches, sizes, sizes)
def test_a_cost_covers_what_was_measured(samples: list[int], low: int, high: int) -> None:
    """The line is never below a measured point, rises with every sample, and is never negative."""
    (n, m) = samples
    cost = Cost.through((n, low), (m, high))
    assert cost.of(n) >= low
    assert cost.of(m) >= high
    assert cost.fixed >= 0
    assert all(a < b for a, b in pairwise(cost.of(k) for k in range(5)))


@given(st.integers(0, 2**40), st.integers(1, 2**36), st.integers(0, 2**42))
def test_fitting_is_the_inverse_of_the_cost(fixed: int, per_sample: int, room: int) -> None:
    """As many as fit do fit, and one more does not."""
    cost = Cost(fixed, per_sample)
    count = cost.fitting(room)
    assert count >= 0
    assert count == 0 or cost.of(count) <= room
    assert cost.of(count + 1) > room
    assert cost.fitting(cost.of(count)) == count


@given(st.integers(1, 2**50))
def test_a_plain_number_is_bytes(amount: int) -> None:
    """Digits alone are that many bytes, exactly."""
    assert parse(str(amount), 2**50) == amount


@given(st.integers(1, 999), st.sampled_from(sorted(UNITS)), st.sampled_from(["", "b", "B"]))
def test_units(number: int, unit: str, b: str) -> None:
    """kB is a thousand, KiB 1024, in any case of letters, with or without a space."""
    for text in (f"{number}{unit}{b}", f" {number} {unit.upper()}{b} "):
        assert parse(text, 2**60) == number * UNITS[unit]


@given(st.floats(0.01, 100), st.integers(10**6, 2**50))
def test_a_share_is_of_what_is_available(share: float, available: int) -> None:
    """A percentage is never more than there is; 100% is all of it."""
    assert 0 < parse(f"{share:.4f}%", available) <= available
    assert parse("100%", available) == available


@given(st.integers(1, 2**50))
def test_what_is_shown_can_be_read(amount: int) -> None:
    """``show`` writes what ``parse`` reads, to a twentieth of the unit shown."""
    assert parse(show(amount), 2**60) == pytest.approx(amount, rel=0.05)


WRONG = ["", "lots", "-1", "0", "0%", "101%", "1.2.3", "4 GiB extra", "4i", "4XB", "nan", "inf"]


@pytest.mark.parametrize("text", [*WRONG, "1.1GiB", "1025MiB", "9" * 400, "9" * 400 + "%", "0.1"])
def test_what_is_no_amount_is_refused_in_one_line(text: str) -> None:
    """Nonsense, nothing, and more than there is raise InvalidOption that says what is meant."""
    with pytest.raises(InvalidOption) as caught:
        parse(text, 2**30)
    assert "\n" not in str(caught.value)
    assert "GiB" in str(caught.value)
