"""A lock on an open file, of one process at a time; the kernel frees it, even on kill -9."""

from __future__ import annotations

import os
import sys

if sys.platform == "win32":
    import msvcrt

    TAKEN: type[OSError] = PermissionError
    BEYOND = 1 << 30  # a byte that is locked cannot be written either: one that nobody writes

    def lock(descriptor: int) -> None:
        """Lock the open file for this process or raise :data:`TAKEN` at once."""
        os.lseek(descriptor, BEYOND, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    TAKEN: type[OSError] = BlockingIOError

    def lock(descriptor: int) -> None:
        """Lock the open file for this process or raise :data:`TAKEN` at once."""
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
