"""Takes items from the ledger, has them done, and writes down what came of it."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from threading import Condition, Lock
from time import monotonic
from typing import Any, TypeAlias, TypeVar

from portrayer.errors import Canceled, OutputError, PortrayerError
from portrayer.jobs.backend import Backend
from portrayer.jobs.record import Counts, Failure, Item, Job
from portrayer.jobs.store import Store
from portrayer.jobs.transaction import Transaction
from portrayer.jobs.verdict import RUN, SERVICE, Verdict, verdict
from portrayer.storage import said

__all__ = ["Event", "Runner"]

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Event:
    """An item was settled, or put back to be tried again (its state is then queued).

    ``item`` as it now is in the ledger; ``counts`` of all jobs of the run, in a service of the
    item's own; ``seconds`` the attempt took.
    """

    item: Item
    counts: Counts
    seconds: float


@dataclass(slots=True)
class Flight:
    """An item at work. ``begun``: seconds of the monotonic clock; ``canceled``: nobody wants it."""

    job: Job
    item: Item
    begun: float = field(default_factory=monotonic)
    canceled: bool = False


Step: TypeAlias = Callable[[Transaction], T]
"""What a thread wants of the ledger; taken once more where a transaction was undone."""

POLL = 0.5  # seconds; on Windows a wait without a timeout does not notice Ctrl-C
IDLE = 5.0  # seconds until a service looks for work that nobody has told it of
TROUBLE = 1.0  # seconds until a service tries again what the ledger has refused


class Runner:
    """Has items done by a backend, ``backend.width`` at a time: of some jobs, or all there are.

    It is for one owner of the ledger (:meth:`Store.own`), who has called :meth:`Store.recover`.
    """

    def __init__(
        self,
        store: Store,
        backend: Backend,
        *,
        on_event: Callable[[Event], None] | None = None,
        on_stage: Callable[[Item, str], None] | None = None,
    ) -> None:
        """Both are called from the runner's threads.

        ``on_event``: one call at a time, in the ledger's order; it must not call :meth:`cancel`.
        ``on_stage``: as a stage of the item begins, the first is "claimed"; what it raises fails
        the item.
        """
        self._store = store
        self._backend = backend
        self._on_event = on_event
        self._on_stage = on_stage
        self._jobs: Sequence[str] = ()  # those of a run; none in a service
        self._stopping = False  # plain flags: a lock in them could be held when a signal comes
        self._ending = False
        # Threads of one process take turns: SQLite's own wait between tries would cost more.
        self._turn = Lock()
        self._waiting: deque[tuple[Future[Any], Step[Any]]] = deque()
        self._flights: dict[int, Flight] = {}  # by thread: what it is at, or was last
        self._troubled = False  # the ledger cannot be written
        self._bell = Condition()
        self._rings = 0

    def run(self, job: str, *more: str) -> Counts:
        """Work until nothing of these jobs can be claimed, or until stopped; how they stand.

        One item's error fails that item alone. An error that would meet every item alike (the
        outputs cannot be written, a model is broken) puts its items back and ends the run.

        Raises:
            UnknownJob: the ledger has no such job.
            OutputError, ModelError, EngineClosed: what ended the run.
            KeyboardInterrupt: after the items in flight have finished; the rest stay queued.
        """
        jobs = (job, *more)
        self._store.counts(*jobs)
        self._employ(jobs)
        return self._store.counts(*jobs)

    def serve(self) -> None:
        """Work on whatever job there is, and wait for more, until stopped.

        No error of an item ends it. While the ledger cannot be read or written, nothing is begun
        and what was done waits to be written down.

        Raises:
            EngineClosed: the engine was closed; its items were put back.
            OutputError: stopped while the ledger could not be written; what was in flight is
                for :meth:`Store.recover`.
            KeyboardInterrupt: as from :meth:`run`.
        """
        self._employ(())

    def wake(self) -> None:
        """Say that something was put or retried; from any thread."""
        with self._bell:
            self._rings += 1
            self._bell.notify_all()

    def cancel(self, job: str) -> int:
        """:meth:`Store.cancel`, and what is in flight of it here ends before its next stage."""

        def step(ledger: Transaction) -> int:
            canceled = ledger.cancel(job)
            for flight in self._flights.values():
                flight.canceled |= flight.item.job == job
            return canceled

        return self._together(step)

    def stop(self, *, now: bool = False) -> None:
        """Claim nothing more, let the items in flight finish. Final; from any thread or signal.

        ``now``: they end before their next stage, and are queued as if they had not been begun.
        """
        self._ending |= now
        self._stopping = True

    @property
    def _serving(self) -> bool:
        return not self._jobs

    def _employ(self, jobs: Sequence[str]) -> None:
        """Threads at work on ``jobs``, or on any and for ever; until the last of them ends."""
        self._jobs = jobs
        width = max(1, self._backend.width)
        with ThreadPoolExecutor(width, thread_name_prefix="portrayer-job") as pool:
            try:
                with self._bell:  # no item is begun before the pool knows all its threads
                    workers = [pool.submit(self._work, lane) for lane in range(width)]
                while wait(workers, timeout=POLL).not_done:
                    if self._stopping:
                        self.wake()  # which stop() cannot do, since it may be in a signal
            except BaseException:
                self.stop()
                self.wake()  # and leaving the pool waits for what is in flight
                raise
        for worker in workers:
            worker.result()

    def _work(self, lane: int) -> None:
        """One thread's life.

        In a run it may end early: whoever puts an item back claims again after it.
        """
        try:
            with self._bell:
                pass  # the pool knows them all now
            while flight := self._next(lane):
                self._attend(flight)
                self.wake()  # an item may have waited for this one to be out of the way
        except BaseException:
            self.stop()
            raise

    def _next(self, lane: int) -> Flight | None:
        """The next item, now in flight; None when there is none, in a service only when stopped."""

        def take(ledger: Transaction) -> Flight | None:
            claimed = None if self._stopping else ledger.claim(*self._jobs)
            if claimed is None:
                return None
            self._flights[lane] = Flight(*claimed)
            return self._flights[lane]

        while True:
            heard = self._rings
            flight = self._ledger(take)
            if flight is not None or self._stopping or not self._serving:
                return flight
            self._rest(IDLE, heard)

    def _attend(self, flight: Flight) -> None:
        job, item = flight.job, flight.item
        watch = partial(self._watch, flight)
        try:
            watch("claimed")
            result = self._backend.run(job, item, watch)
        except Canceled:
            self._ledger(lambda ledger: ledger.release(item))  # not if the ledger says canceled
        except PortrayerError as error:
            judged = verdict(error, SERVICE if self._serving else RUN)
            if judged is Verdict.STOP:
                self.stop()  # first, or a neighbour would claim what is released
                self._ledger(lambda ledger: ledger.release(item))
                raise
            failure, again = Failure(error.code, str(error)), judged is Verdict.AGAIN
            self._settle(flight, lambda ledger: ledger.fail(item, failure, again=again))
        except Exception as error:
            source = said(item.source)
            log.exception("internal error: item %d of job %s, %s", item.id, job.id, source)
            # Its words may be many lines, of whatever they were about: they are for the log.
            failure = Failure("internal", f"internal error ({type(error).__name__}): see the log")
            self._settle(flight, lambda ledger: ledger.fail(item, failure))
        else:
            self._settle(flight, lambda ledger: ledger.complete(item, result))

    def _watch(self, flight: Flight, stage: str) -> None:
        """A stage of it begins, unless it is not wanted any more."""
        if flight.canceled or self._ending:
            raise Canceled(f"item {flight.item.id} is not wanted any more")
        if self._on_stage is not None:
            self._on_stage(flight.item, stage)

    def _settle(self, flight: Flight, write: Step[bool]) -> None:
        item, seconds = flight.item, monotonic() - flight.begun

        def step(ledger: Transaction) -> Event | None:
            if not write(ledger):
                log.info("item %d was canceled or put anew while it ran", item.id)
            elif self._on_event is not None:
                counts = ledger.counts(*self._jobs or (item.job,))
                return Event(ledger.item(item.id), counts, seconds)
            return None

        self._ledger(step)

    def _ledger(self, step: Step[T]) -> T:
        """Take a step; in a service until the ledger lets it be taken, or stopped."""
        while True:
            try:
                return self._together(step)
            except OutputError:
                if not self._serving or self._stopping:
                    raise
            self._rest(TROUBLE, self._rings)

    def _together(self, step: Step[T]) -> T:
        """Take a step in turn, in one commit with those of other threads that wait meanwhile.

        Whoever has the turn takes the steps of all. Who does not get it need not ask again: the one
        who has it looks once more when it has been laid down.
        """
        answer: Future[T] = Future()
        self._waiting.append((answer, step))
        while self._waiting and self._turn.acquire(blocking=False):
            try:
                self._take([self._waiting.popleft() for _ in range(len(self._waiting))])
            finally:
                self._turn.release()
        return answer.result()

    def _take(self, group: Sequence[tuple[Future[Any], Step[Any]]]) -> None:
        """Take these steps in one transaction; answer, and tell, when they are on the disk."""
        try:
            with self._store.together() as ledger:
                answers = [step(ledger) for _, step in group]
        except OutputError as error:
            if self._serving and not self._stopping and not self._troubled:
                log.error("tried again until it works: %s", error)
            self._troubled = True
            for asked, _ in group:
                asked.set_exception(error)
        except BaseException as error:
            if len(group) == 1:
                group[0][0].set_exception(error)
            else:  # whose fault it is shows when each is alone
                for one in group:
                    self._take([one])
        else:
            self._troubled = False
            for (asked, _), answer in zip(group, answers, strict=True):
                try:
                    self._tell(answer)
                except BaseException as error:
                    asked.set_exception(error)
                else:
                    asked.set_result(answer)

    def _tell(self, answer: object) -> None:
        if self._on_event is None or not isinstance(answer, Event):
            return
        try:
            self._on_event(answer)
        except Exception:
            if not self._serving:
                raise
            log.exception("what became of item %d was not told", answer.item.id)

    def _rest(self, seconds: float, heard: int) -> None:
        """Until the bell rings after it was ``heard``, or stopped, or for so long."""
        with self._bell:
            self._bell.wait_for(lambda: self._stopping or self._rings != heard, timeout=seconds)
