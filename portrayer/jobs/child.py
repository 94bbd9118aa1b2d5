"""A process apart, for the files that may kill the process that works on them."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from threading import Lock, Thread
from traceback import format_exc
from typing import Self, cast

from portrayer.errors import CapacityError, PortrayerError
from portrayer.jobs.backend import Crashed, Files, Watch, unwatched
from portrayer.jobs.record import JSON
from portrayer.storage import Place

log = logging.getLogger(__name__)

SPAWN = multiprocessing.get_context("spawn")  # threads and devices do not survive a fork


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
                pipe.send((task, dict(options), source, target))
                result, error, number = pipe.recv()
            except (EOFError, OSError):
                self._end()
                code = process.exitcode or 0
                if code == -signal.SIGTERM:  # no picture sends it; the end of a service does
                    raise CapacityError("the process was ended from outside") from None
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
            pipe.send(answer(files, *pipe.recv()))


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


def _follow() -> None:
    """Die with the parent: whoever comes after it begins the file anew."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
