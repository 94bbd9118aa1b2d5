"""The engine: callers block in :meth:`Engine.infer`, replicas pull batches, everyone gets exactly one answer."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from portrayer.engine.device import Array, Device
from portrayer.engine.memory import Budget
from portrayer.engine.replica import Replica, Running
from portrayer.engine.scheduler import Batch, Request, Scheduler
from portrayer.errors import DeadlineExceeded, EngineClosed, OutOfMemory, PortrayerError
from portrayer.models.spec import ModelSpec

log = logging.getLogger(__name__)
LAST_TRIES = 2  # how often a batch of one may run out of memory before its caller hears of it


@dataclass(frozen=True, slots=True)
class Answer:
    """Results of one :meth:`Engine.infer`, N first, and what they ran with (``batch``: the largest batch joined)."""

    arrays: Array
    device: str
    precision: str
    batch: int


@dataclass(slots=True)
class Ticket:
    """A caller's place in the engine for one sample."""

    sample: Array
    done: threading.Event = field(default_factory=threading.Event)
    result: Array | None = None
    ran: tuple[str, str, int] = ("", "", 0)
    error: BaseException | None = None
    alone: int = 0


@dataclass(frozen=True, slots=True)
class Stats:
    """Counters since the start. ``batches`` counts launches by batch size."""

    waiting: int
    batches: dict[int, int]
    splits: int
    reserved: int
    peak: int
    total: int


class Engine:
    """Replicas over devices, one thread each, fed by one scheduler.

    ``budget``: the ledger of a device (the same object for devices that share memory). ``overlap``: launch the next
    batch before the last one is finished, on devices that can; the plain loop gives the same answers.
    """

    def __init__(
        self,
        devices: Sequence[Device],
        budget: Callable[[Device], Budget],
        spec: Callable[[str], ModelSpec],
        *,
        overlap: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.replicas = [Replica(device, budget(device), spec) for device in devices]
        self._scheduler, self._overlap, self._clock = Scheduler(), overlap, clock
        self._tickets: dict[int, Ticket] = {}
        self._refused: dict[Replica, dict[str, BaseException]] = {r: {} for r in self.replicas}
        self._sizes: dict[int, int] = {}
        self._ids, self._closed = count(), False
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._serve, args=(r,), name=f"replica-{i}", daemon=True)
            for i, r in enumerate(self.replicas)
        ]
        for thread in self._threads:
            thread.start()

    def infer(
        self, model: str, samples: Array, *, priority: int = 0, deadline: float | None = None
    ) -> Answer:
        """Run (N, S, S, 3) uint8 samples through a model; blocks until all N are answered.

        ``deadline``: on the engine's clock. Raises the first error of any sample: :class:`OutOfMemory` for one that
        does not fit alone, :class:`DeadlineExceeded`, :class:`EngineClosed`, or a :class:`ModelError`.
        """
        tickets = {next(self._ids): Ticket(sample) for sample in samples}
        with self._changed:
            if self._closed:
                raise EngineClosed("the engine is closed")
            now = self._clock()
            for id, ticket in tickets.items():
                self._tickets[id] = ticket
                self._scheduler.submit(Request(id, model, now, priority, deadline))
            self._changed.notify_all()
        for ticket in tickets.values():
            while not ticket.done.wait(None if deadline is None else max(0.01, deadline - self._clock())):
                self._expire()
        for ticket in tickets.values():
            if ticket.error is not None:
                raise ticket.error
        device, precision, _ = next(iter(tickets.values())).ran
        batch = max(ticket.ran[2] for ticket in tickets.values())
        return Answer(np.stack([t.result for t in tickets.values()]), device, precision, batch)  # type: ignore[arg-type]

    def stats(self) -> Stats:
        """What the engine is doing now."""
        budgets = {id(r.budget): r.budget for r in self.replicas}.values()
        with self._changed:
            return Stats(
                waiting=len(self._scheduler),
                batches=dict(self._sizes),
                splits=sum(r.splits for r in self.replicas),
                reserved=sum(b.reserved for b in budgets),
                peak=sum(b.peak for b in budgets),
                total=sum(b.total for b in budgets),
            )

    def close(self) -> None:
        """Answer what runs, refuse what waits, stop the replicas."""
        with self._changed:
            self._closed = True
            for id in list(self._tickets):
                if self._scheduler.cancel(id):
                    self._answer(id, error=EngineClosed("the engine was closed"))
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    # --- a replica's thread ------------------------------------------------------------------------------------------

    def _serve(self, replica: Replica) -> None:
        replica.device.enter()
        depth = 2 if self._overlap and replica.device.asynchronous else 1
        launched: deque[tuple[Batch, Running]] = deque()
        while True:
            taken = self._take(replica, wait=not launched)
            if taken is not None:
                running = self._launch(replica, *taken)
                if running is not None:
                    launched.append((taken[0], running))
                if len(launched) < depth:
                    continue
            if launched:
                self._finish(replica, *launched.popleft())
            elif taken is None:
                return

    def _take(self, replica: Replica, wait: bool) -> tuple[Batch, int] | None:
        """The next batch and the samples memory is reserved for; None when closed, or when not waiting and none is due."""
        while True:
            with self._changed:
                name = self._next(replica)
                while name is None:
                    if self._closed or not wait:
                        return None
                    self._changed.wait()
                    name = self._next(replica)
            try:
                replica.prepare(name)
            except Exception as error:
                self._refuse(replica, name, error)
                continue
            with self._changed:
                reserved = 0

                def room(model: str) -> int:
                    nonlocal reserved
                    share = -(-self._scheduler.waiting(model) // len(self.replicas))
                    reserved = replica.reserve(model, share)
                    return reserved

                batch = self._scheduler.take(room, self._refused[replica])
                if batch is not None:
                    self._sizes[len(batch)] = self._sizes.get(len(batch), 0) + 1
                    return batch, reserved
                if not wait:
                    return None
                if self._scheduler.next_model(self._refused[replica]) == name:
                    self._changed.wait(1.0)  # memory is held elsewhere: by a sibling, or by another program

    def _next(self, replica: Replica) -> str | None:
        self._drop_late()
        return self._scheduler.next_model(self._refused[replica])

    def _launch(self, replica: Replica, batch: Batch, reserved: int) -> Running | None:
        samples = np.stack([self._tickets[request.id].sample for request in batch.requests])
        try:
            return replica.launch(batch.model, samples, reserved)
        except Exception as error:
            self._failed(replica, batch, error)
            return None

    def _finish(self, replica: Replica, batch: Batch, running: Running) -> None:
        try:
            results = replica.finish(running)
        except Exception as error:
            self._failed(replica, batch, error)
            return
        ran = (replica.device.name, replica.device.precision, len(batch))
        with self._changed:
            for request, result in zip(batch.requests, results, strict=True):
                self._answer(request.id, result=result, ran=ran)
            self._changed.notify_all()

    def _failed(self, replica: Replica, batch: Batch, error: Exception) -> None:
        """Out of memory: go back in line and run in smaller batches. Anything else: tell the callers."""
        if not replica.device.is_out_of_memory(error):
            if not isinstance(error, PortrayerError):
                log.exception("a batch of %s failed on %s", batch.model, replica.device.name)
            with self._changed:
                for request in batch.requests:
                    self._answer(request.id, error=error)
                self._changed.notify_all()
            return
        replica.shrink(batch.model, len(batch))
        with self._changed:
            for request in batch.requests:
                ticket = self._tickets[request.id]
                ticket.alone += len(batch) == 1
                if ticket.alone >= LAST_TRIES:
                    what = f"one sample of {batch.model} does not fit on {replica.device.name}"
                    self._answer(request.id, error=OutOfMemory(what))
                elif self._closed:
                    self._answer(request.id, error=EngineClosed("the engine was closed"))
                else:
                    self._scheduler.submit(request)
            self._changed.notify_all()

    def _refuse(self, replica: Replica, model: str, error: Exception) -> None:
        """This replica cannot have the model. Callers hear of it when no replica can."""
        with self._changed:
            self._refused[replica][model] = error
            if all(model in refused for refused in self._refused.values()):
                while batch := self._scheduler.take(lambda _: 1, _Only(model)):
                    self._answer(batch.requests[0].id, error=error)
                for refused in self._refused.values():
                    del refused[model]  # the next caller may try again: memory may be free by then
            self._changed.notify_all()

    # --- under the lock ----------------------------------------------------------------------------------------------

    def _answer(
        self,
        id: int,
        *,
        result: Array | None = None,
        ran: tuple[str, str, int] = ("", "", 0),
        error: BaseException | None = None,
    ) -> None:
        ticket = self._tickets.pop(id)
        ticket.result, ticket.ran, ticket.error = result, ran, error
        ticket.done.set()

    def _expire(self) -> None:
        with self._changed:
            self._drop_late()

    def _drop_late(self) -> None:
        for request in self._scheduler.expire(self._clock()):
            self._answer(request.id, error=DeadlineExceeded("the time allowed is over"))


class _Only:
    """A container of every model but one."""

    def __init__(self, model: str) -> None:
        self.model = model

    def __contains__(self, model: object) -> bool:
        return model != self.model
