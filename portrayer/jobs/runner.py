"""Takes items from the ledger, has them done, and writes down what came of it."""

from __future__ import annotations

import errno
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from threading import Lock, Thread
from time import monotonic
from traceback import format_exc
from typing import Self, cast

from portrayer.errors import (
    CapacityError,
    EngineClosed,
    ModelError,
    OutputError,
    PortrayerError,
)
from portrayer.jobs.backend import Backend, Crashed, Files
from portrayer.jobs.record import JSON, Counts, Failure, Item, Job
from portrayer.jobs.store import Store

__all__ = ["Child", "Event", "Runner"]

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
    (Crashed, Verdict.AGAIN),
    (PortrayerError, Verdict.FAIL),
)

# An output that cannot be written because of its own name says nothing about the others.
OWN_FAULT = {errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP}

SPAWN = multiprocessing.get_context("spawn")  # threads and devices do not survive a fork

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


class Child:
    """Files worked on in a process of its own, one at a time; a context manager.

    It is started when first needed and again after a death, and does not outlive this process. So
    a death that is seen from here is its file's doing: a kill of the program takes both.
    """

    workers = 1

    def __init__(self, opened: Callable[[], Files]) -> None:
        """``opened`` makes the pipeline, there: a module's function or a ``partial`` of one."""
        self._opened = opened
        self._turn = Lock()
        self._living: tuple[SpawnProcess, Connection] | None = None

    def process_file(
        self, task: str, options: Mapping[str, JSON], source: Path, target: Path
    ) -> Mapping[str, JSON]:
        """See :meth:`Files.process_file`.

        Raises:
            Crashed: the process died at work on ``source``.
            CapacityError: there can be no such process now.
        """
        with self._turn:
            process, pipe = self._alive()
            try:
                pipe.send((task, dict(options), source, target))
                result, error, number = pipe.recv()
            except (EOFError, OSError):
                self._end()
                code = process.exitcode or 0
                how = f"exit code {code}" if code >= 0 else signal.strsignal(-code)
                raise Crashed(f"the process at work on it died ({how})") from None
        if error is not None:
            raise error from number and OSError(number, os.strerror(number))
        return cast(Mapping[str, JSON], result)

    def close(self) -> None:
        """End the process. Twice is harmless."""
        with self._turn:
            self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _alive(self) -> tuple[SpawnProcess, Connection]:
        """The process and the pipe to it; started if it is not there."""
        if self._living is not None and self._living[0].is_alive():
            return self._living
        self._end()
        pipe, far = SPAWN.Pipe()
        process = SPAWN.Process(target=_serve, args=(self._opened, far), daemon=True)
        try:
            process.start()
        except OSError as error:
            pipe.close()
            raise CapacityError(f"no process could be started ({error.strerror})") from error
        finally:
            far.close()
        self._living = process, pipe
        try:
            pipe.recv()
        except (EOFError, OSError):
            self._end()
            raise CapacityError("a process was started and did not get ready") from None
        return self._living

    def _end(self) -> None:
        if self._living is not None:
            process, pipe = self._living
            self._living = None
            pipe.close()
            process.kill()
            process.join()


def _serve(opened: Callable[[], Files], pipe: Connection) -> None:
    """The life of a :class:`Child`'s process: it says that it is ready, then answers file by file.

    An answer is (result, error, errno of the error's cause).
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it too, and waits for the file
    Thread(target=_follow, daemon=True).start()
    with suppress(OSError):  # short of memory, Linux is to take this process and not its parent
        Path("/proc/self/oom_score_adj").write_text("1000")
    try:
        files = opened()
    except Exception:
        log.warning("the process for suspects could not be made ready", exc_info=True)
        return
    with suppress(EOFError, OSError):  # the parent has gone
        pipe.send("ready")
        while True:
            pipe.send(_answer(files, *pipe.recv()))


def _answer(
    files: Files, task: str, options: Mapping[str, JSON], source: Path, target: Path
) -> tuple[Mapping[str, JSON] | None, Exception | None, int | None]:
    try:
        return files.process_file(task, options, source, target), None, None
    except PortrayerError as error:
        cause = error.__cause__  # would be left behind
        return None, error, cause.errno if isinstance(cause, OSError) else None
    except Exception as error:
        bug = RuntimeError(f"{type(error).__name__}: {error}")  # its own class may not travel
        bug.add_note(format_exc())
        return None, bug, None


def _follow() -> None:
    """Die with the parent: whoever comes after it begins the file anew."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
