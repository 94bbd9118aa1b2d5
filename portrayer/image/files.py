"""Files written whole or not at all."""

from __future__ import annotations

import errno
import os
import platform
import re
import secrets
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from portrayer.errors import OutputError

_HOST = f"{zlib.crc32(platform.node().encode()):08x}"  # a folder may be shared between machines
_TEMPORARY = re.compile(r"\.portrayer-([0-9a-f]{8})-(\d+)-[0-9a-f]{16}\.part")
MATTE = ".matte.png"  # the end of a name
_STALE = 24 * 3600.0  # seconds after which a temporary is nobody's, whoever began it

_REASONS: Mapping[int, str] = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is too large for this disk",
    errno.EACCES: "no permission",
    errno.EPERM: "no permission",
    errno.EROFS: "the disk is read-only",
    errno.EISDIR: "it is a directory",
    errno.ENOTDIR: "a part of its path is not a directory",
    errno.EEXIST: "a part of its path is not a directory",
    errno.ENAMETOOLONG: "its name is too long",
    errno.ELOOP: "its path goes in circles",
    errno.EIO: "the disk has failed",
}


def matte_of(path: Path) -> Path:
    """Where the matte lies that is written beside the picture at ``path``."""
    return path.with_name(f"{path.stem}{MATTE}")


def write(path: Path, blob: bytes | memoryview) -> None:
    """Write ``blob`` to ``path``, replacing what is there; its folder is created.

    The bytes go to a hidden name beside it, reach the disk, and are then moved into place: at any
    instant ``path`` holds the old content or the new one. Raises :class:`OutputError`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".portrayer-{_HOST}-{os.getpid()}-{secrets.token_hex(8)}.part"
        try:
            # "x": never through someone else's file or link; the permissions are the user's own
            with temporary.open("xb") as file:
                file.write(blob)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        number = error.errno if isinstance(error, OSError) else None
        reason = _REASONS.get(number or 0) or getattr(error, "strerror", None) or str(error)
        raise OutputError(f"{str(path)!r} cannot be written: {reason}") from error
    settle(path.parent)


def sweep(folder: Path) -> None:
    """Remove the temporaries that writers which no longer live left in ``folder``.

    A folder that does not exist or may not be read has none.
    """
    with suppress(OSError):
        for entry in list(folder.iterdir()):
            name = _TEMPORARY.fullmatch(entry.name)
            if name is None:
                continue
            with suppress(OSError):
                dead = name[1] == _HOST and not _lives(int(name[2]))
                if dead or time.time() - entry.lstat().st_mtime > _STALE:
                    entry.unlink()


def _lives(pid: int) -> bool:
    if os.name == "nt":  # there, signal 0 is no question; but an open file cannot be removed
        return pid == os.getpid()
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def settle(folder: Path) -> None:
    """Make what was moved in ``folder`` outlast a power cut, where the system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
