"""Takes items from the ledger, has them done, and writes down what came of it."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from enum import Enum, auto
from threading import Lock
from time import monotonic

from portrayer.errors import (
    CapacityError,
    EngineClosed,
    ModelError,
    OutputError,
    PortrayerError,
)
from portrayer.jobs.backend import Backend
from portrayer.jobs.record import Counts, Failure, Item, Job
from portrayer.jobs.store import Store

__all__ = ["Event", "Runner"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Event:
    """An item was settled, or put back to be tried again (its state is then queued).

    ``item`` as it now is in the ledger; ``counts`` of its job; ``seconds`` the attempt took.
    """

    item: Item
    counts: Counts
    seconds: float


class Verdict(Enum):
    """What an error says about the item and the run."""

    FAIL = auto()  # this item alone
    AGAIN = auto()  # this moment
    STOP = auto()  # every item would fail alike


# The first family that fits decides.
VERDICTS: tuple[tuple[type[PortrayerError], Verdict], ...] = (
    (OutputError, Verdict.STOP),
    (ModelError, Verdict.STOP),
    (EngineClosed, Verdict.STOP),
    (CapacityError, Verdict.AGAIN),
    (PortrayerError, Verdict.FAIL),
)

# An output that cannot be written because of its own name says nothing about the others.
OWN_FAULT = {errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP}

POLL = 0.5  # seconds; on Windows a wait without a timeout does not notice Ctrl-C


class Runner:
    """Runs the items of a job through a backend, ``backend.width`` at a time.

    It is for one owner of the ledger (:meth:`Store.own`), who has called :meth:`Store.recover`.
    """

    def __init__(
        self,
        store: Store,
        backend: Backend,
        *,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        """``on_event`` is called from the runner's threads, one call at a time."""
        self._store = store
        self._backend = backend
        self._on_event = on_event
        self._stopping = False  # a plain flag: a lock in it could be held when a signal comes
        # Threads of one process take turns: SQLite's own wait between tries would cost more.
        self._turn = Lock()

    def run(self, job: str) -> Counts:
        """Work until nothing of ``job`` can be claimed, or until stopped; return how it stands.

        One item's error fails that item alone. An error that would meet every item alike (the
        outputs cannot be written, a model is broken) puts its items back and ends the run.

        Raises:
            UnknownJob: the ledger has no such job.
            OutputError, ModelError, EngineClosed: what ended the run.
            KeyboardInterrupt: after the items in flight have finished; the rest stay queued.
        """
        self._store.job(job)
        width = max(1, self._backend.width)
        with ThreadPoolExecutor(width, thread_name_prefix="portrayer-job") as pool:
            try:
                with self._turn:  # no item is begun before the pool knows all its threads
                    workers = [pool.submit(self._work, job) for _ in range(width)]
                while wait(workers, timeout=POLL).not_done:
                    pass
            except BaseException:
                self.stop()  # and leaving the pool waits for what is in flight
                raise
        for worker in workers:
            worker.result()
        return self._store.counts(job)

    def stop(self) -> None:
        """Claim nothing more, let the items in flight finish. Final; from any thread or signal."""
        self._stopping = True

    def _work(self, job: str) -> None:
        """One thread's life. It may end early: whoever puts an item back claims again after it."""
        try:
            while True:
                with self._turn:
                    claimed = None if self._stopping else self._store.claim(job)
                if claimed is None:
                    return
                self._attend(*claimed)
        except BaseException:
            self.stop()
            raise

    def _attend(self, job: Job, item: Item) -> None:
        begun = monotonic()
        try:
            result = self._backend.run(job, item)
        except PortrayerError as error:
            verdict = _verdict(error)
            if verdict is Verdict.STOP:
                self.stop()  # first, or a neighbour would claim what is released
                with self._turn:
                    self._store.release(item)
                raise
            failure, again = Failure(error.code, str(error)), verdict is Verdict.AGAIN
            self._settle(item, begun, lambda: self._store.fail(item, failure, again=again))
        except Exception as error:
            log.exception("internal error: item %d of job %s, %s", item.id, job.id, item.source)
            failure = Failure("internal", f"internal error: {type(error).__name__}: {error}")
            self._settle(item, begun, lambda: self._store.fail(item, failure))
        else:
            self._settle(item, begun, lambda: self._store.complete(item, result))

    def _settle(self, item: Item, begun: float, write: Callable[[], bool]) -> None:
        seconds = monotonic() - begun
        with self._turn:
            if not write():
                log.warning("item %d was queued anew while it ran: %s", item.id, item.source)
            elif self._on_event is not None:
                [now] = self._store.items(item.job, after=item.id - 1, limit=1)
                self._on_event(Event(now, self._store.counts(item.job), seconds))


def _verdict(error: PortrayerError) -> Verdict:
    if isinstance(error.__cause__, OSError) and error.__cause__.errno in OWN_FAULT:
        return Verdict.FAIL
    return next(verdict for family, verdict in VERDICTS if isinstance(error, family))
