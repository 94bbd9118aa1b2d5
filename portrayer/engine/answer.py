"""What callers of the engine hear: answers, errors without what they hold on to, counters."""

from __future__ import annotations

import threading
import traceback
from copy import copy
from dataclasses import dataclass, field

from portrayer.engine.device import Array
from portrayer.errors import PortrayerError


@dataclass(frozen=True, slots=True)
class Answer:
    """Results of one :meth:`Engine.infer`, N first, and what they ran with.

    ``batch``: the size of the largest batch that any of the N ran in. ``forwards``: the numbers of
    the forwards they were in, ascending; samples of different callers share them.
    """

    arrays: Array
    device: str
    precision: str
    batch: int
    forwards: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Ran:
    """What one sample ran with. ``forward``: the engine counts them from 1."""

    device: str = ""
    precision: str = ""
    batch: int = 0
    forward: int = 0


@dataclass(slots=True)
class Ticket:
    """A caller's place in the engine for one sample."""

    sample: Array
    done: threading.Event = field(default_factory=threading.Event)
    result: Array | None = None
    ran: Ran = Ran()
    error: BaseException | None = None
    alone: int = 0


@dataclass(frozen=True, slots=True)
class DeviceStats:
    """A replica's device now, and what it has done since the start.

    ``reserved`` and ``total``: bytes of its budget, which other replicas may share. ``models``:
    those loaded. ``busy``: seconds in which it had a batch. ``samples`` that were answered, in so
    many ``forwards``. ``batch``: the size of the last one, and ``why`` it was no larger.
    """

    name: str
    precision: str
    reserved: int
    total: int
    models: tuple[str, ...]
    busy: float
    samples: int
    forwards: int
    batch: int
    why: str


@dataclass(frozen=True, slots=True)
class Stats:
    """Counters since the start. ``batches`` counts launches by batch size."""

    waiting: int
    batches: dict[int, int]
    splits: int
    reserved: int
    peak: int
    total: int
    devices: tuple[DeviceStats, ...] = ()


def let_go(error: BaseException) -> str:
    """The traceback as text, and its frames forgotten: a failed forward's tensors live in them."""
    text = "".join(traceback.format_exception(error)).rstrip()
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return text


def own(error: BaseException) -> BaseException:
    """A caller's own copy: one raised by many threads would gather the frames of all of them."""
    if not isinstance(error, PortrayerError):
        return error  # a stranger may not be copyable
    mine = copy(error)
    mine.__cause__ = error.__cause__
    return mine
