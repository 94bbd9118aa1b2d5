"""Who takes the next item."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from threading import Barrier, Event, Lock

import pytest

from portrayer.errors import Canceled, EngineClosed
from portrayer.jobs.seats import Seat, Seats


def seats(*rooms: int) -> tuple[Seats, list[Seat]]:
    """Seats that are up, by their rooms."""
    there, made = Seats(), [Seat(f"n{n}", room, None) for n, room in enumerate(rooms)]
    for seat in made:
        there.add(seat)
        there.set_up(seat)
    return there, made


def wanted() -> None:
    """It is."""


def test_the_least_loaded_takes_the_next() -> None:
    """By the part of its room that is taken, so that large workers take more."""
    there, (small, large) = seats(1, 3)
    with there.taken(wanted) as first, there.taken(wanted) as second, there.taken(wanted) as third:
        assert [first, second, third] == [small, large, large]
        with there.taken(wanted) as fourth:
            assert fourth is large
        assert (small.load, large.load) == (1, 2)
    assert (small.load, large.load) == (0, 0)


def test_no_worker_has_more_than_its_room() -> None:
    """However many threads ask at once; and all get their turn."""
    there, made = seats(2, 3)
    most, lock, go = [0, 0], Lock(), Barrier(20)

    def work(_: int) -> None:
        go.wait(30)
        for _ in range(50):
            with there.taken(wanted) as seat, lock:
                number = made.index(seat)
                most[number] = max(most[number], seat.load)

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(work, range(20)))
    assert most[0] <= 2
    assert most[1] <= 3
    assert [seat.load for seat in made] == [0, 0]


def test_alone_means_alone() -> None:
    """It waits until the worker is empty, and meanwhile nobody else is let in."""
    there, [only] = seats(4)
    entered, leave = Event(), Event()

    def alone() -> int:
        with there.taken(wanted, alone=True) as seat:
            entered.set()
            leave.wait(30)
            return seat.load

    with ThreadPoolExecutor(2) as pool:
        with there.taken(wanted):
            suspect = pool.submit(alone)
            while not only.emptied:
                pass
            late: Future[Seat] = pool.submit(lambda: enter(there))
            assert not entered.is_set()
        assert entered.wait(30)
        assert not late.done()
        leave.set()
        assert suspect.result(30) == 1
        assert late.result(30) is only
    assert (only.load, only.emptied) == (0, False)


def enter(there: Seats) -> Seat:
    with there.taken(wanted) as seat:
        return seat


def test_a_worker_that_dies_while_it_is_being_emptied_is_left_for_another() -> None:
    """Whoever waited for it alone goes to the next."""
    there, [only] = seats(2)
    with ThreadPoolExecutor(1) as pool, there.taken(wanted):

        def alone() -> Seat:
            with there.taken(wanted, alone=True) as seat:
                return seat

        suspect = pool.submit(alone)
        while not only.emptied:
            pass
        other = Seat("other", 1, None)
        there.add(other)
        there.set_up(other)
        assert there.set_down(only)
        assert suspect.result(30) is other
        assert not there.set_down(only), "it is no news any more"
    assert not only.emptied


def test_who_waits_is_told_the_end() -> None:
    """Now and later; the first reason counts."""
    there, [only] = seats(1)
    with ThreadPoolExecutor(1) as pool, there.taken(wanted):
        waits = pool.submit(enter, there)
        while not there.waiting:
            pass
        there.end(EngineClosed("gone"))
        there.end(EngineClosed("later"))
        with pytest.raises(EngineClosed, match="gone"):
            waits.result(30)
    with pytest.raises(EngineClosed, match="gone"):
        enter(there)
    assert (only.load, there.waiting) == (0, 0)


def test_what_is_not_wanted_any_more_waits_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``wanted`` raises ends the wait, and the worker that was being emptied is let go."""
    monkeypatch.setattr("portrayer.jobs.seats.POLL", 0.01)
    there, [only] = seats(1)

    def unwanted() -> None:
        raise Canceled("no more")

    with there.taken(wanted):
        for alone in (False, True):
            with pytest.raises(Canceled), there.taken(unwanted, alone=alone):
                pass
        assert (only.load, only.emptied, there.waiting) == (1, False, 0)


def test_what_is_removed_is_not_counted() -> None:
    """Its room is gone with it; twice is harmless."""
    there, [first, second] = seats(2, 3)
    assert there.room == 5
    there.remove(first)
    there.remove(first)
    assert (there.all, there.room) == ((second,), 3)
    assert enter(there) is second
