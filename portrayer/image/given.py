"""What a caller gives as a photo: a path, bytes, an array, a Pillow image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from portrayer.errors import DecodeError, ImageTooLarge, InputError
from portrayer.image import codec
from portrayer.image.codec import Decoded
from portrayer.types import Image

Source: TypeAlias = Any
"""A photo: a path, the bytes of a file, an (H, W[, 3 or 4]) uint8 RGB array, or a Pillow image; for
a pipeline also a URL."""


@dataclass(frozen=True, slots=True)
class Input:
    """A photo that was given, before it is decoded: ``bytes`` bound what :attr:`decode` holds."""

    pixels: int
    bytes: int
    decode: Callable[[], Decoded]


def open_source(source: Source, max_pixels: int = codec.MAX_PIXELS, side: int = 0) -> Input:
    """What a caller gave, ready to be decoded; of a file only the header has been looked at.

    ``side``: a long side of so many pixels is enough, see :func:`codec.decode`. Raises
    :class:`DecodeError` for anything that is no photo, :class:`ImageTooLarge` for one of more than
    ``max_pixels``, :class:`InputError` for a file that cannot be read.
    """
    if isinstance(source, (str, Path)):
        source = read_source(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        blob = bytes(source)
        header = codec.probe(blob, max_pixels=max_pixels, side=side)
        decode = partial(codec.decode, blob, max_pixels=max_pixels, side=side)
        return Input(header.pixels, header.decoded_bytes, decode)
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.size == 0 or source.ndim not in (2, 3):
            what = f"an array of {source.dtype} {source.shape}"
            raise DecodeError(f"{what} is no photo, uint8 (H, W, 3) is one")
        return _at_hand(source, source.shape[:2], codec.from_array, max_pixels)
    if hasattr(source, "convert") and hasattr(source, "getexif"):  # a Pillow image
        return _at_hand(source, source.size, codec.from_pillow, max_pixels)
    what = type(source).__name__
    raise DecodeError(f"{what} is no photo: give a path, bytes, an array or a Pillow image")


def read_source(path: str | Path) -> bytes:
    """The bytes of a photo's file; :class:`InputError` where it cannot be read."""
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{str(path)!r} cannot be read: {reason}") from error


def _at_hand(
    source: Any, sides: tuple[int, int], convert: Callable[[Any], Image], max_pixels: int
) -> Input:
    pixels = sides[0] * sides[1]
    if pixels > max_pixels:
        raise ImageTooLarge(f"the picture has {pixels} pixels, more than {max_pixels}")
    # A Pillow image may still have to be read from its file, and become upright and opaque.
    return Input(pixels, 12 * pixels, lambda: Decoded(convert(source)))
