"""Ledgers of bytes: what there is, what is promised, what a batch costs."""

from __future__ import annotations

import re
import threading
import time
import weakref
from bisect import insort
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

from portrayer.engine.scheduler import PATIENCE
from portrayer.errors import DeadlineExceeded, InvalidOption, OutOfMemory

UNITS = {
    "": 1,
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "t": 10**12,
    "ki": 2**10,
    "mi": 2**20,
    "gi": 2**30,
    "ti": 2**40,
}

LEAST = 256 * 2**20  # less than this runs nothing
CPU_SHARE = 0.4  # of the memory that may be used: weights and forwards; the rest holds photos
LARGE = 768 * 2**20  # what a photo of 60 MP takes in any task


def parse(text: str, available: int) -> int:
    """Bytes meant by ``4GiB``, ``512MiB``, ``60%`` (of ``available``) or a plain number.

    Raises :class:`InvalidOption` for anything else, for nothing, and for more than ``available``.
    """
    match = re.fullmatch(r"\s*([\d.]+)\s*(?:(%)|([kmgt]?i?)b?)\s*", text.lower())
    try:
        number = float(match[1]) if match else 0.0
    except ValueError:
        number = 0.0
    unit = available if match and match[2] else UNITS.get((match and match[3]) or "", 0)
    # A float to the end: what is more than there is may be more than an integer can be made of.
    amount = (number / 100 if match and match[2] else number) * unit
    if amount < 1:
        raise InvalidOption(f"{text!r} is not an amount of memory: write 4GiB, 512MiB or 60%")
    if amount > available:
        raise InvalidOption(
            f"{text.strip()} is more than there is: {show(available)} are available"
        )
    return int(amount)


def show(amount: int) -> str:
    """Bytes for people: ``1.5 GiB``."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if amount >= size:
            return f"{amount / size:.1f} {unit}"
    return f"{amount} B"


def for_models(memory: int) -> int:
    """The part of the host's ``memory`` that models may take, and photos may not.

    Two parts, not one ledger: a photo holds its memory while it waits for its forward, so photos
    that held all of it would wait for ever. Models get their share, less while that leaves no room
    for a large photo, and never less than the least memory gives them, which is enough for ours.
    """
    return int(max(min(CPU_SHARE * memory, memory - LARGE), CPU_SHARE * LEAST))


@dataclass(frozen=True, slots=True)
class Cost:
    """What a forward of n samples needs at its peak, in bytes: ``fixed + n * per_sample``.

    Measured, never guessed.
    """

    fixed: int
    per_sample: int

    def of(self, samples: int) -> int:
        return self.fixed + samples * self.per_sample

    def fitting(self, room: int) -> int:
        """The most samples whose peak stays within ``room`` bytes."""
        return max(0, (room - self.fixed) // max(1, self.per_sample))

    @classmethod
    def through(cls, few: tuple[int, int], many: tuple[int, int]) -> Cost:
        """The line through two measured (samples, peak bytes); never below either of them."""
        (n, low), (m, high) = few, many
        slope = max(0, -(-(high - low) // (m - n)))
        # A flat pair would promise samples for nothing: a share of the smaller peak bounds it.
        per_sample = max(slope, low // (8 * n), 1)
        return cls(max(0, low - n * per_sample, high - m * per_sample), per_sample)


class Budget:
    """A ledger of bytes with one lock: reserved never passes total, and never falls below zero.

    Waiting is first come, first served: a large picture is not overtaken for ever by small ones.
    As in the scheduler, priority is a head start in time.
    """

    def __init__(self, total: int, name: str = "memory") -> None:
        self.total, self.name = int(total), name
        self._reserved = self._peak = 0
        self._line: list[tuple[float, int]] = []
        self._places = count()
        self._held: weakref.WeakSet[object] = weakref.WeakSet()
        self._changed = threading.Condition()

    @property
    def reserved(self) -> int:
        return self._reserved

    @property
    def peak(self) -> int:
        """The most that was ever reserved at once."""
        return self._peak

    @property
    def free(self) -> int:
        return self.total - self._reserved

    def take(self, amount: int) -> bool:
        """Reserve now, or leave everything as it is and say False."""
        with self._changed:
            if amount < 0 or self._line or amount > self.free:
                return False
            self._add(amount)
            return True

    def hold(self, thing: object, amount: int) -> bool:
        """Reserve ``amount`` for as long as ``thing`` lives, once however many hold it.

        False, and nothing reserved, where it does not fit now.
        """
        with self._changed:
            if thing in self._held:
                return True
            if not self.take(amount):
                return False
            self._held.add(thing)
            weakref.finalize(thing, self.release, amount).atexit = False
            return True

    def release(self, amount: int) -> None:
        """Give back; ``ValueError`` for more than is reserved."""
        with self._changed:
            if not 0 <= amount <= self._reserved:
                raise ValueError(f"release of {amount} with {self._reserved} reserved")
            self._reserved -= amount
            self._changed.notify_all()

    @contextmanager
    def reserve(
        self, amount: int, seconds: float | None = None, *, priority: int = 0
    ) -> Iterator[None]:
        """Hold ``amount`` bytes, waiting in line for them, for ``seconds`` at most.

        More than the total raises :class:`OutOfMemory`, a wait in vain :class:`DeadlineExceeded`,
        less than nothing ``ValueError``.
        """
        if amount < 0:
            raise ValueError(f"{amount} bytes cannot be reserved")
        if amount > self.total:
            raise OutOfMemory(f"needs {show(amount)}, the {self.name} budget is {show(self.total)}")
        with self._changed:
            place = (time.monotonic() - priority * PATIENCE, next(self._places))
            insort(self._line, place)
            try:
                if not self._changed.wait_for(
                    lambda: self._line[0] == place and amount <= self.free, seconds
                ):
                    raise DeadlineExceeded(f"{show(amount)} of {self.name} did not become free")
                self._add(amount)
            finally:
                self._line.remove(place)
                self._changed.notify_all()
        try:
            yield
        finally:
            self.release(amount)

    def _add(self, amount: int) -> None:
        self._reserved += amount
        self._peak = max(self._peak, self._reserved)
