"""One process works on a ledger at a time: a file lock, freed by the kernel even on kill -9."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from portrayer.errors import OutputError
from portrayer.image.locks import TAKEN, lock


@contextmanager
def own(path: Path) -> Iterator[None]:
    """Hold the lock file ``path`` for as long as the context is open.

    The file itself stays behind: deleting it would let two processes lock two files of one name.

    Raises:
        OutputError: another process, or another context of this one, holds it; it cannot be made.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise OutputError(f"cannot make {path} ({error.strerror}): check the folder") from error
    try:
        try:
            lock(descriptor)
        except TAKEN as error:
            raise OutputError(
                f"another portrayer is working in this folder ({path.parent}): "
                "wait for it or choose another folder"
            ) from error
        except OSError as error:
            raise OutputError(
                f"cannot lock {path} ({error.strerror}): choose a folder on a local disk"
            ) from error
        yield
    finally:
        os.close(descriptor)
