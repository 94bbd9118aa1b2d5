"""One process at a time brings or removes a model: a file lock, freed by the kernel on any end."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from portrayer.errors import OutputError
from portrayer.image.locks import TAKEN, lock


@contextmanager
def held(note: Path, name: str) -> Iterator[None]:
    """Hold the file ``note``, whatever is in it, for the length of a block; one that is empty at
    the end goes. ``name``: the model's. :class:`OutputError` where another process, or another
    block of this one, holds it, or it cannot be made.
    """
    descriptor = _claimed(note, name)
    try:
        yield
    finally:
        empty = not os.fstat(descriptor).st_size
        if sys.platform == "win32":  # there, what is open cannot go
            os.close(descriptor)
        with suppress(OSError):
            if empty:
                note.unlink()
        if sys.platform != "win32":
            os.close(descriptor)


def _claimed(note: Path, name: str) -> int:
    while True:
        try:
            note.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(note, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            reason = error.strerror or error
            raise OutputError(f"{str(note)!r} cannot be written: {reason}") from error
        try:
            # A disk may know no locks: there, sizes and hashes find most of what two wrote at once.
            with suppress(OSError):
                _try(descriptor, name)
            if os.fstat(descriptor).st_nlink:
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # whoever held it has just removed it: of a new one


def _try(descriptor: int, name: str) -> None:
    try:
        lock(descriptor)
    except TAKEN as error:
        raise OutputError(
            f"another portrayer is bringing or removing {name}: wait until it is done"
        ) from error
