"""What the ledger holds: a job is a user's wish, an item is one picture of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

JSON: TypeAlias = bool | int | float | str | Sequence["JSON"] | Mapping[str, "JSON"] | None
"""A value that survives a round trip through JSON text."""

Entry: TypeAlias = tuple[str, str, str] | tuple[str, str, str, str]
"""An item as it is put: source, target, signature and, if the user has one, label."""

ATTEMPTS = 3
"""How often an item is started before it is given up for what was seen to go wrong."""

STARTS = 24
"""How often it is started if the program dies each time and nothing says why.

More than the twenty kills that no item is to suffer from, and an end for one that takes the whole
program or machine along every time.
"""

ALONE = 2
"""From this attempt on nothing else of the job runs beside an item."""


class State(StrEnum):
    """Where an item stands; it is always in exactly one of these."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELED = "canceled"


INTERRUPTED = "interrupted"
"""The code of an attempt that ended with the program: killed from outside, or by the item."""

CRASHED = "crashed"
"""The code of an attempt that ended the process it had to itself, while the program lived on."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an item failed: a stable, machine-readable ``code`` and one line for a person."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Job:
    """One task with its options over many items.

    ``priority``: higher goes first; ``created`` and ``touched``, the last time it was put or
    retried: seconds since the epoch; ``name``: what a person calls it.
    """

    id: str
    task: str
    options: Mapping[str, JSON]
    priority: int
    created: float
    touched: float
    name: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """One picture of a job: read ``source``, write ``target``.

    ``signature`` tells one content of the source file from another (its size and time, say).
    ``attempt``: how often it was started since it was put or retried, 0..STARTS.
    ``error``: the last failure, also while the item is queued or running to be tried again.
    ``started``, ``finished``: of the last attempt, seconds since the epoch; ``started`` grows with
    every claim of the item and never repeats.
    ``label``: what the user calls the picture. ``changed``: the number of its last change of state,
    counted over all items of the ledger.
    """

    id: int
    job: str
    source: str
    target: str
    signature: str
    state: State
    attempt: int
    error: Failure | None
    result: Mapping[str, JSON] | None
    started: float | None
    finished: float | None
    label: str = ""
    changed: int = 0

    @property
    def interrupted(self) -> bool:
        """Whether the program died during the attempt before: no evidence against the item."""
        return self.error is not None and self.error.code == INTERRUPTED

    @property
    def suspect(self) -> bool:
        """Whether some process died during the attempt before, so that this one may do it again."""
        return self.error is not None and self.error.code in (INTERRUPTED, CRASHED)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many items of a job are in each state."""

    total: int = 0
    queued: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    canceled: int = 0

    @property
    def settled(self) -> int:
        """Items that nothing more will happen to: done, failed or canceled."""
        return self.done + self.failed + self.canceled


@dataclass(frozen=True, slots=True)
class Standing:
    """What there is to do in the whole ledger.

    ``queued``: items by (task, priority); ``oldest``: the smallest ``touched`` of the jobs that
    have queued items, None where there is none.
    """

    queued: Mapping[tuple[str, int], int]
    running: int
    oldest: float | None
