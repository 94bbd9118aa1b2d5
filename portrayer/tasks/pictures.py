"""Pictures that an option names by their path."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from portrayer.errors import InvalidOption, PortrayerError
from portrayer.image import codec
from portrayer.image.codec import Header
from portrayer.tasks.options import pictures, values
from portrayer.types import Image

Read = TypeVar("Read")

KEPT = 48 * 2**20  # bytes, decoded, up to which a picture is kept: two at most, in no one's budget


def named(options: object) -> dict[str, str]:
    """The paths of the pictures that an option dataclass names, by option."""
    return pictures(type(options), values(options))


def picture(option: str, path: str) -> Image:
    """The picture (H, W, 3) at the ``path`` that an option names; unless it is large, it is read
    once for a whole folder. :class:`InvalidOption` where the file holds none.
    """
    return _read(_decoded, option, path)


def memory(options: object) -> int:
    """Host bytes that the pictures which an option dataclass names take at their peak, beside what
    its task says of a photo. What cannot be read takes none: it is told when it is used.
    """
    needed = 0
    for option, path in named(options).items():
        try:
            needed += _read(_needed, option, path)
        except InvalidOption:
            continue
    return needed


def _read(how: Callable[[Path, int], Read], option: str, path: str) -> Read:
    file = Path(path)
    # Told by its name alone: of a server's folders nobody need know.
    said = f"{option} is {file.name or path!r}"
    try:
        return how(file, file.stat().st_mtime_ns)
    except PortrayerError as error:
        raise InvalidOption(f"{said}: {error.reason}") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise InvalidOption(f"{said}, which cannot be read: {reason}") from error


def _decoded(file: Path, changed: int) -> Image:
    """Small ones are kept for the next photo; what is large is let go with its use."""
    small = 3 * _header(file, changed).pixels <= KEPT
    return _kept(file, changed) if small else _opened(file)


@lru_cache(maxsize=2)
def _kept(file: Path, changed: int) -> Image:
    """Read again when the file has ``changed`` (its time, in ns)."""
    return _opened(file)


def _opened(file: Path) -> Image:
    return codec.decode(file.read_bytes()).image


def _needed(file: Path, changed: int) -> int:
    """What decoding takes, and then a copy of a part that is brought to a photo's shape."""
    header = _header(file, changed)
    return max(header.decoded_bytes, 6 * header.pixels)


@lru_cache(maxsize=64)
def _header(file: Path, changed: int) -> Header:
    return codec.probe(file.read_bytes())
