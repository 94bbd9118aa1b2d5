"""What callers of the engine hear: answers, errors without what they hold on to, counters."""

from __future__ import annotations

import threading
import traceback
from collections import Counter
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from portrayer.errors import PortrayerError
from portrayer.models.spec import ModelSpec

if TYPE_CHECKING:
    from portrayer.engine.device import Array  # torch, which who only reads figures need not have
    from portrayer.engine.replica import Replica  # it builds on this file


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
    """A caller's place in the engine for one sample: a picture, a vector, or one of each.

    ``alone``: how often it ran out of memory in a batch of its own on one replica. ``failed``: the
    replica it last failed on for another reason.
    """

    sample: Array | None
    vector: Array | None = None
    done: threading.Event = field(default_factory=threading.Event)
    result: Array | None = None
    ran: Ran = Ran()
    error: BaseException | None = None
    alone: int = 0
    failed: Replica | None = None


def tickets(spec: ModelSpec, samples: Array | None, vectors: Array | None) -> list[Ticket]:
    """One for each sample; ``ValueError`` where they are not what the model takes."""
    given = samples if spec.side else vectors
    count = 0 if given is None else len(given)
    width = spec.graph.width if spec.graph is not None and spec.graph.vector else 0
    _check(spec.name, samples, np.uint8, count, (spec.side, spec.side, 3) if spec.side else ())
    _check(spec.name, vectors, np.float32, count, (width,) if width else ())
    pictures, told = ([None] * count if given is None else given for given in (samples, vectors))
    return [Ticket(*pair) for pair in zip(pictures, told, strict=True)]


def _check(
    model: str, given: Array | None, dtype: type[Any], count: int, shape: tuple[int, ...]
) -> None:
    """Whether there are ``count`` of this dtype and shape, none where there is no shape."""
    if given is None and not shape:
        return
    if given is None or given.dtype != dtype or given.shape != (max(1, count), *shape) or not shape:
        found = "nothing" if given is None else f"{given.dtype} {given.shape}"
        sizes = ", ".join(map(str, shape))
        wanted = f"{np.dtype(dtype)} (N >= 1, {sizes})" if shape else f"no {np.dtype(dtype)}"
        raise ValueError(f"{model} takes {wanted}, not {found}")


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
    """Counters since the start. ``batches`` counts launches by batch size; ``resident``: the most
    bytes that processes of their own have had, if they are in such, each at its time.
    """

    waiting: int
    batches: dict[int, int]
    splits: int
    reserved: int
    peak: int
    total: int
    devices: tuple[DeviceStats, ...] = ()
    resident: int = 0


def together(rows: Sequence[Stats]) -> Stats:
    """What engines have done and hold, all in all; their devices one after the other."""
    return Stats(
        waiting=sum(row.waiting for row in rows),
        batches=dict(sum((Counter(row.batches) for row in rows), Counter())),
        splits=sum(row.splits for row in rows),
        reserved=sum(row.reserved for row in rows),
        peak=sum(row.peak for row in rows),
        total=sum(row.total for row in rows),
        devices=tuple(device for row in rows for device in row.devices),
    )


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
