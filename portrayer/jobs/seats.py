"""Who takes the next item: the worker with the least to do, or one that is emptied for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition
from typing import Any

from portrayer.errors import PortrayerError

POLL = 1.0  # seconds after which whoever waits looks whether the item is still wanted


@dataclass(eq=False, slots=True)
class Seat:
    """A worker on a node: ``room`` for so many calls at once, ``load`` of them taken.

    ``up``: whether it is there now. ``emptied``: whether one item has it, or waits for it, alone.
    """

    node: str
    room: int
    worker: Any
    up: bool = False
    load: int = 0
    emptied: bool = False


class Seats:
    """The workers there are. Safe to call from many threads."""

    def __init__(self) -> None:
        self._change = Condition()
        self._seats: list[Seat] = []
        self._ended: PortrayerError | None = None
        self._waiting = 0

    @property
    def all(self) -> tuple[Seat, ...]:
        """Those that are there, and those that are awaited."""
        with self._change:
            return tuple(self._seats)

    @property
    def room(self) -> int:
        """How many calls all of them take at once."""
        return sum(seat.room for seat in self.all)

    @property
    def waiting(self) -> int:
        """How many items wait for a seat."""
        return self._waiting

    def add(self, seat: Seat) -> None:
        """One more, awaited."""
        with self._change:
            self._seats.append(seat)

    def set_up(self, seat: Seat) -> None:
        """It is there."""
        with self._change:
            seat.up = True
            self._change.notify_all()

    def set_down(self, seat: Seat) -> bool:
        """It is not there now. Whether that is news."""
        with self._change:
            news, seat.up = seat.up, False
            self._change.notify_all()
            return news

    def remove(self, seat: Seat) -> None:
        """It will not be there again. Twice is harmless."""
        with self._change:
            seat.up = False
            if seat in self._seats:
                self._seats.remove(seat)
            self._change.notify_all()

    def end(self, error: PortrayerError) -> None:
        """Whoever waits for a seat, now or later, is told this instead."""
        with self._change:
            self._ended = self._ended or error
            self._change.notify_all()

    @contextmanager
    def taken(self, wanted: Callable[[], None], *, alone: bool = False) -> Iterator[Seat]:
        """A place with the least loaded worker, until left; ``alone``: nobody else has one there.

        ``wanted`` is called now and then while it waits, and ends that by raising.
        """
        with self._change:
            self._waiting += 1
            try:
                seat = self._wait(wanted, alone)
            finally:
                self._waiting -= 1
        try:
            yield seat
        finally:
            with self._change:
                seat.load -= 1
                seat.emptied &= not alone
                self._change.notify_all()

    def _wait(self, wanted: Callable[[], None], alone: bool) -> Seat:
        held: Seat | None = None
        try:
            while self._ended is None:
                if held is None or not held.up:
                    self._let_go(held)
                    held = self._least(alone)
                if held is not None and (not alone or held.load == 0):
                    held.load += 1
                    return held
                if not self._change.wait(POLL):
                    wanted()
            raise self._ended
        except BaseException:
            self._let_go(held)
            raise

    def _least(self, alone: bool) -> Seat | None:
        """The worker with the least to do of those that take more; ``alone``: it takes no more."""
        there = [seat for seat in self._seats if seat.up and not seat.emptied]
        free = [seat for seat in there if alone or seat.load < seat.room]
        if not free:
            return None
        seat = min(free, key=lambda seat: seat.load / seat.room)
        seat.emptied = alone
        return seat

    def _let_go(self, held: Seat | None) -> None:
        if held is not None:
            held.emptied = False
            self._change.notify_all()
