"""Processes apart: for files that may kill the process at work on them, and for one a core.

Threads of one process take turns at the interpreter; processes do not.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Lock, Thread
from traceback import format_exc
from typing import Self, TypeAlias

from portrayer.engine.answer import Stats
from portrayer.engine.host import peak
from portrayer.engine.memory import Budget
from portrayer.errors import CapacityError, PortrayerError
from portrayer.jobs.backend import Crashed, Files, Watch, unwatched
from portrayer.jobs.record import JSON
from portrayer.storage import Place

log = logging.getLogger(__name__)

# Threads and devices do not survive a fork. A process that has loaded modules and done nothing can
# be forked, on Linux: torch takes a second to load, and 150 MiB that such forks have in common.
if sys.platform == "linux":
    START = multiprocessing.get_context("forkserver")
else:
    START = multiprocessing.get_context("spawn")
LOADED = ["portrayer.studio"]
ENDS = {signal.SIGINT, signal.SIGTERM}


Opened: TypeAlias = Callable[[Budget], Files]
"""Makes a pipeline in the process that calls it, its photos within that budget: a module's function
or a ``partial`` of one."""


@dataclass(frozen=True, slots=True)
class Told:
    """What came of a file: what to keep of it, or the error and the errno of its cause.

    ``stats``: of the process' engine, where it has one; ``peak``: bytes it has had resident.
    """

    result: Mapping[str, JSON] | None
    error: Exception | None
    number: int | None
    stats: Stats | None
    peak: int


class Lent(Budget):
    """A ledger of bytes that asks the one it is a part of, at the other end of a pipe.

    What was lent goes back with the file's answer. ``share``: bytes; who has held more than that
    keeps none of its pages for the next file, for they may be another process' then.
    """

    def __init__(self, total: int, share: int, pipe: Connection) -> None:
        super().__init__(total, "host memory")
        self._share, self._pipe = share, pipe

    @contextmanager
    def reserve(
        self, amount: int, seconds: float | None = None, *, priority: int = 0
    ) -> Iterator[None]:
        """See :meth:`Budget.reserve`."""
        with super().reserve(amount, seconds, priority=priority):
            self._pipe.send(amount)
            refusal: PortrayerError | None = self._pipe.recv()
            if refusal is not None:
                raise refusal
            try:
                yield
            finally:
                if amount > self._share:
                    from portrayer.engine.device import trim_memory  # torch: the parent may lack it

                    trim_memory()


class Child:
    """Files worked on in a process of its own, one at a time; a context manager.

    It is started when first needed and again after a death, and does not outlive this process. So
    a death that is seen from here is its file's doing, where no other child was at work: a kill of
    the program takes all.
    """

    workers = 1

    def __init__(self, opened: Opened, host: Budget, sharers: int = 1) -> None:
        """``host``: of what its photos' memory is reserved, with ``sharers`` like it."""
        self._opened, self._host, self._sharers = opened, host, sharers
        self._turn = Lock()
        self._living: tuple[BaseProcess, Connection] | None = None
        self._ready = False
        self.told: Told | None = None  # the last answer

    def begin(self) -> None:
        """Start it, and do not wait; :class:`CapacityError` where there can be no process."""
        with self._turn:
            self._start()

    def ready(self) -> None:
        """Wait until it is; :class:`CapacityError`, by the cause if it said one, if it never is."""
        with self._turn:
            self._alive()

    def process_file(
        self,
        task: str,
        options: Mapping[str, JSON],
        source: Place,
        target: Place,
        watch: Watch = unwatched,
    ) -> Mapping[str, JSON]:
        """See :meth:`Files.process_file`; ``watch`` hears of its turn alone, not of what is there.

        Raises:
            Crashed: the process died at work on ``source``.
            CapacityError: there can be no such process now, or it was ended from outside.
        """
        with self._turn:
            watch("task")  # many may wait here, and not all be wanted still
            process, pipe = self._alive()
            try:
                with ExitStack() as lent:
                    pipe.send((task, dict(options), source, target))
                    while not isinstance(said := pipe.recv(), Told):
                        pipe.send(self._lend(lent, said))
            except (EOFError, OSError):
                self._end()
                code = process.exitcode or 0
                if code == -signal.SIGTERM:  # no picture sends it; the end of a service does
                    raise CapacityError("the process was ended from outside") from None
                how = f"exit code {code}" if code >= 0 else signal.strsignal(-code)
                raise Crashed(f"the process at work on it died ({how})") from None
            self.told = said
        return outcome(said.result, said.error, said.number)

    def close(self) -> None:
        """End the process. Twice is harmless."""
        with self._turn:
            self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _lend(self, lent: ExitStack, amount: int) -> PortrayerError | None:
        """Reserve bytes until the file is done; what is against it."""
        try:
            lent.enter_context(self._host.reserve(amount))
        except PortrayerError as error:
            return error
        return None

    def _start(self) -> tuple[BaseProcess, Connection]:
        """The process and the pipe to it; started if it is not there."""
        if self._living is not None and self._living[0].is_alive():
            return self._living
        self._end()
        pipe, far = START.Pipe()
        shares = self._host.total, self._host.total // self._sharers
        process = START.Process(target=_serve, args=(self._opened, *shares, far), daemon=True)
        try:
            if sys.platform == "linux":
                _load()
            process.start()
        except (OSError, EOFError) as error:  # the second: what forks it has died of the attempt
            pipe.close()
            why = getattr(error, "strerror", "it could not be forked")
            raise CapacityError(f"no process could be started ({why})") from error
        finally:
            far.close()
        self._living = process, pipe
        return self._living

    def _alive(self) -> tuple[BaseProcess, Connection]:
        """As :meth:`_start`, once it is ready."""
        process, pipe = self._start()
        if not self._ready:
            try:
                refusal: PortrayerError | None = pipe.recv()
            except (EOFError, OSError):
                refusal = None
            else:
                self._ready = refusal is None
            if not self._ready:
                self._end()
                line = "a process was started and did not get ready"
                raise CapacityError(line) from refusal
        return process, pipe

    def _end(self) -> None:
        if self._living is not None:
            process, pipe = self._living
            self._living, self._ready = None, False
            pipe.close()
            process.kill()
            process.join()


def _load() -> None:
    """Start what others are forked from, if it is not there; do not wait until it has loaded.

    It hears nothing of an end that all of a terminal's or of a service's processes are told: it
    would complain of Ctrl-C while it imports, and could not say how the others died. It ends with
    this process.
    """
    forkserver.set_forkserver_preload(LOADED)
    resource_tracker.ensure_running()  # its own start would lift the mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(opened: Opened, total: int, share: int, pipe: Connection) -> None:
    """The life of a :class:`Child`'s process: it says that it is ready, or why it cannot be, then
    answers file by file. In between it asks for bytes.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it too, and waits for the file
    if sys.platform == "linux":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)
    Thread(target=_follow, daemon=True).start()
    with suppress(OSError):  # short of memory, Linux is to take this process and not its parent
        Path("/proc/self/oom_score_adj").write_text("1000")
    with suppress(EOFError, OSError):  # the parent has gone
        try:
            files = opened(Lent(total, share, pipe))
        except PortrayerError as refusal:
            return pipe.send(refusal)
        except Exception:
            return log.warning("a process could not be made ready", exc_info=True)
        pipe.send(None)
        engine = getattr(files, "engine", None)
        while True:
            result, error, number = answer(files, *pipe.recv())
            stats = None if engine is None else engine.stats()
            pipe.send(Told(result, error, number, stats, peak()))


def answer(
    files: Files, task: str, options: Mapping[str, JSON], source: Place, target: Place
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


def outcome(
    result: Mapping[str, JSON] | None, error: Exception | None, number: int | None
) -> Mapping[str, JSON]:
    """Of an :func:`answer`: the result, or its error is raised, from its cause."""
    if error is not None:
        raise error from (OSError(number, os.strerror(number)) if number else None)
    assert result is not None, "an answer is one or the other"
    return result


def _follow() -> None:
    """Die with the parent: whoever comes after it begins the file anew."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
