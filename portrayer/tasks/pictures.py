"""Pictures that an option names by their path."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from portrayer.errors import InvalidOption, PortrayerError
from portrayer.image import codec
from portrayer.types import Image


def picture(option: str, path: str) -> Image:
    """The picture (H, W, 3) at the ``path`` that an option names, read once for a whole folder;
    :class:`InvalidOption` where the file holds none.
    """
    file = Path(path)
    try:
        return _decoded(file, file.stat().st_mtime_ns)
    except PortrayerError as error:
        raise InvalidOption(f"{option} is {path!r}: {error.reason}") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise InvalidOption(f"{option} is {path!r}, which cannot be read: {reason}") from error


@lru_cache(maxsize=2)
def _decoded(file: Path, changed: int) -> Image:
    """Read again when the file has ``changed`` (its time, in ns)."""
    return codec.decode(file.read_bytes()).image
