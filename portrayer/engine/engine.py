"""The engine: callers block in :meth:`Engine.infer`, replicas pull batches.

Everyone gets exactly one answer.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count

import numpy as np

from portrayer.engine.answer import Answer, Ran, Stats, Ticket, let_go, own, tickets
from portrayer.engine.device import Array, Device
from portrayer.engine.memory import Budget
from portrayer.engine.replica import Replica, Running
from portrayer.engine.scheduler import Batch, Request, Scheduler
from portrayer.errors import DeadlineExceeded, EngineClosed, OutOfMemory, PortrayerError
from portrayer.models.spec import ModelSpec

log = logging.getLogger(__name__)
LAST_TRIES = 2  # how often a batch of one may run out of memory before a replica gives it up
RETRY = 30.0  # seconds before a replica looks again at a model that it could not have


class Engine:
    """Replicas over devices, one thread each, fed by one scheduler.

    ``budget``: the ledger of a device; the same object for devices that share both memory and
    weights. ``overlap``: launch the next batch before the last one is finished, on devices that
    can; the plain loop gives the same answers.
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
        self.replicas = [Replica(device, budget(device), spec, clock) for device in devices]
        self._scheduler, self._overlap, self._clock = Scheduler(), overlap, clock
        self._tickets: dict[int, Ticket] = {}
        self._spec = spec
        self._refused: dict[Replica, dict[str, float]] = {r: {} for r in self.replicas}
        self._sizes: dict[int, int] = {}
        self._ids, self._forwards, self._closed = count(), count(1), False
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._serve, args=(r,), name=f"replica-{i}", daemon=True)
            for i, r in enumerate(self.replicas)
        ]
        for thread in self._threads:
            thread.start()

    def infer(
        self,
        model: str,
        samples: Array | None,
        vectors: Array | None = None,
        *,
        priority: int = 0,
        deadline: float | None = None,
    ) -> Answer:
        """Run (N, S, S, 3) uint8 samples, N >= 1, through a model; blocks until all are answered.

        ``samples``: None for a model that takes vectors alone. ``vectors``: (N, width) float32, one
        a sample, for a model that takes any. ``deadline``: on the engine's clock; a sample that
        runs by then is still answered. Raises the first error of any sample: :class:`OutOfMemory`
        for one that does not fit alone, :class:`DeadlineExceeded`, :class:`EngineClosed`, or a
        :class:`ModelError`; :class:`UnknownModel`, and ``ValueError`` for samples that are not what
        the model takes.
        """
        made = tickets(self._spec(model), samples, vectors)
        mine = {next(self._ids): ticket for ticket in made}
        with self._changed:
            if self._closed:
                raise EngineClosed("the engine is closed")
            now = self._clock()
            for id, ticket in mine.items():
                self._tickets[id] = ticket
                self._scheduler.submit(Request(id, model, now, priority, deadline))
            self._changed.notify_all()
        try:
            arrays = [self._result(ticket, deadline) for ticket in made]
        except BaseException:
            self._abandon(list(mine))
            raise
        ran = [ticket.ran for ticket in made]
        forwards = tuple(sorted({r.forward for r in ran}))
        batch = max(r.batch for r in ran)
        return Answer(np.stack(arrays), ran[0].device, ran[0].precision, batch, forwards)

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
                devices=tuple(r.stats() for r in self.replicas),
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

    def _result(self, ticket: Ticket, deadline: float | None) -> Array:
        while deadline is not None and not ticket.done.wait(
            max(0.0, min(60.0, deadline - self._clock()))
        ):
            if deadline <= self._clock():
                self._expire()
                deadline = None
        ticket.done.wait()
        if ticket.error is not None:
            raise ticket.error
        assert ticket.result is not None
        return ticket.result

    # --- a replica's thread -----------------------------------------------------------------------

    def _serve(self, replica: Replica) -> None:
        depth = 2 if self._overlap and replica.device.asynchronous else 1
        launched: deque[tuple[Batch, Running]] = deque()
        while True:
            taken = self._take(replica, wait=not launched)
            if taken is None and not launched:
                return replica.close()
            running = None if taken is None else self._launch(replica, *taken)
            if taken is not None and running is not None:
                launched.append((taken[0], running))
                if len(launched) < depth:
                    continue
            # After a failure all that runs is finished first: what is tried again has the device.
            while launched and not self._finish(replica, *launched.popleft()):
                pass

    def _take(self, replica: Replica, wait: bool) -> tuple[Batch, int] | None:
        """The next batch and the samples memory is reserved for.

        None when closed, or when not waiting and none is due.
        """
        while True:
            with self._changed:
                while (name := self._next(replica)) is None:
                    if self._closed or not wait:
                        return None
                    self._changed.wait(RETRY if self._refused[replica] else None)
            if not wait and name not in replica.loaded:
                return None  # only an idle device can offer all of its memory to a new model
            try:
                replica.prepare(name)
                with self._changed:
                    taken = self._reserved(replica)
                    if taken is not None or not wait:
                        return taken
                    if self._scheduler.next_model(self._refused[replica]) == name:
                        # Memory is held elsewhere: by a sibling, or by another program.
                        self._changed.wait(1.0)
            except Exception as error:
                self._refuse(replica, name, error)

    def _next(self, replica: Replica) -> str | None:
        self._drop_late()
        refused, now = self._refused[replica], self._clock()
        for model in [model for model, until in refused.items() if until <= now]:
            del refused[model]
        return self._scheduler.next_model(refused)

    def _reserved(self, replica: Replica) -> tuple[Batch, int] | None:
        reserved = 0

        def room(model: str) -> int:
            nonlocal reserved
            reserved = replica.reserve(model, self._scheduler.waiting(model), len(self.replicas))
            return reserved

        batch = self._scheduler.take(room, self._refused[replica])
        if batch is None:
            return None
        self._sizes[len(batch)] = self._sizes.get(len(batch), 0) + 1
        return batch, reserved

    def _launch(self, replica: Replica, batch: Batch, reserved: int) -> Running | None:
        taken = [self._tickets[request.id] for request in batch.requests]
        samples, vectors = [t.sample for t in taken], [t.vector for t in taken]
        try:
            return replica.launch(batch.model, samples, reserved, vectors)
        except Exception as error:
            self._failed(replica, batch, error)
            return None

    def _finish(self, replica: Replica, batch: Batch, running: Running) -> bool:
        try:
            results = replica.finish(running)
        except Exception as error:
            self._failed(replica, batch, error)
            return False
        ran = Ran(replica.device.name, running.precision, len(batch), next(self._forwards))
        with self._changed:
            for request, result in zip(batch.requests, results, strict=True):
                self._answer(request.id, result=result, ran=ran)
            self._changed.notify_all()
        return True

    def _failed(self, replica: Replica, batch: Batch, error: Exception) -> None:
        """Out of memory: back in line, to run in smaller batches. Anything else: once more, on
        another replica.

        A replica that cannot run even one, or that fails, leaves the model to the others for a
        while. The caller hears of it when there are none, or when two have failed alike.
        """
        exhausted, text = replica.device.is_out_of_memory(error), let_go(error)
        if not exhausted:
            log.error("a batch of %s failed on %s\n%s", batch.model, replica.device.name, text)
        if exhausted:
            try:
                replica.shrink(batch.model, len(batch))
            except Exception as worse:
                exhausted, error = False, worse
                log.error("%s cannot free memory\n%s", replica.device.name, let_go(worse))
        if exhausted:
            what = f"one sample of {batch.model} does not fit on {replica.device.name}"
            error = OutOfMemory(what)
        with self._changed:
            twice = set() if exhausted else self._twice(replica, batch)
            for request in batch.requests:
                ticket = self._tickets[request.id]
                ticket.alone += exhausted and len(batch) == 1
                given_up = not exhausted or ticket.alone >= LAST_TRIES
                if given_up and (request.id in twice or self._only(replica, batch.model)):
                    self._answer(request.id, error=error)
                elif self._closed:
                    self._answer(request.id, error=EngineClosed("the engine was closed"))
                else:
                    if given_up and not twice:
                        self._refused[replica][batch.model] = self._clock() + RETRY
                        ticket.alone = 0
                    self._scheduler.submit(request)
            self._changed.notify_all()

    def _refuse(self, replica: Replica, model: str, error: Exception) -> None:
        """This replica cannot have the model. Callers hear of it when no replica can."""
        text = let_go(error)
        if not isinstance(error, PortrayerError):
            log.error("%s cannot have %s\n%s", replica.device.name, model, text)
        with self._changed:
            if self._only(replica, model):
                while batch := self._scheduler.take(lambda _: 1, _Only(model)):
                    self._answer(batch.requests[0].id, error=error)
                for refused in self._refused.values():
                    refused.pop(model, None)  # the next caller may try again: memory may be free
            else:
                self._refused[replica][model] = self._clock() + RETRY
            self._changed.notify_all()

    # --- under the lock ---------------------------------------------------------------------------

    def _only(self, replica: Replica, model: str) -> bool:
        """Whether every other replica has refused the model."""
        return all(model in refused for r, refused in self._refused.items() if r is not replica)

    def _twice(self, replica: Replica, batch: Batch) -> set[int]:
        """What fails here and has failed elsewhere before.

        Then it is those samples, and no replica is to blame: the others go on with the model.
        """
        twice = set()
        for request in batch.requests:
            ticket = self._tickets[request.id]
            first, ticket.failed = ticket.failed, replica
            if first is not None and first is not replica:
                self._refused[first].pop(batch.model, None)
                twice.add(request.id)
        return twice

    def _answer(
        self,
        id: int,
        *,
        result: Array | None = None,
        ran: Ran = Ran(),
        error: BaseException | None = None,
    ) -> None:
        ticket = self._tickets.pop(id)
        ticket.result, ticket.ran, ticket.error = result, ran, error and own(error)
        ticket.done.set()

    def _abandon(self, ids: Sequence[int]) -> None:
        with self._changed:
            for id in filter(self._scheduler.cancel, ids):
                del self._tickets[id]

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
