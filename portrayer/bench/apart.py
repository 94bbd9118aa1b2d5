"""A call in a fresh process: nothing that ran before it shows in its figures."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from contextlib import closing
from multiprocessing.connection import Connection
from typing import Any, TypeVar, cast

from portrayer.errors import CapacityError, PortrayerError

T = TypeVar("T")
SPAWN = multiprocessing.get_context("spawn")  # a fork would bring this process's memory along


def apart(call: Callable[..., T], *arguments: Any) -> T:
    """``call(*arguments)``, a module's function and what can be pickled; the process ends with it.

    Raises the :class:`PortrayerError` that it raises, :class:`CapacityError` where it dies.
    """
    near, far = SPAWN.Pipe(duplex=False)
    process = SPAWN.Process(target=_answer, args=(far, call, arguments), daemon=True)
    with closing(near):
        with closing(far):
            process.start()
        try:
            result, error = near.recv()
        except EOFError:
            process.join()
            how = f"exit code {process.exitcode}"
            raise CapacityError(f"a process died while it was measured ({how})") from None
        finally:
            process.kill()
            process.join()
    if error is not None:
        raise error
    return cast(T, result)


def _answer(pipe: Connection, call: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it too, and ends this one
    try:
        pipe.send((call(*arguments), None))
    except PortrayerError as error:
        pipe.send((None, error))
