"""A file whose header has been read and whose pixels have not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from portrayer.errors import DecodeError, ImageTooLarge
from portrayer.image.credits import Record
from portrayer.types import Image

Mode = Literal["L", "LA", "RGB", "RGBA", "CMYK"]
CHANNELS: dict[Mode, int] = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}

STRIP = 1 << 18  # pixels worked on at a time: temporaries stay in the cache

_PLAIN: dict[str, Mode] = {"1": "L", "L": "L", "CMYK": "CMYK"}

MAX_PROFILE = 4 << 20  # bytes of an ICC profile; the largest press profiles have about 3 MB

# sample value 0..65535 to 0..255, rounded: 65535 / 255 = 257
_TO_8_BIT = ((np.arange(65536, dtype=np.uint32) + 128) // 257).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Raster:
    """Pixels as the file has them, uint8: (H, W) for "L", else (H, W, C)."""

    mode: Mode
    pixels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Source:
    """A picture before decoding: ``width`` and ``height`` are as stored, before orientation.

    ``read`` decodes the pixels and raises :class:`DecodeError`; ``scratch`` bounds the bytes it
    holds at its peak, its result included. ``icc``: the embedded profile or b"". ``smaller``: the
    same picture read at the smallest size whose long side is not below so many pixels; None where
    that would cost as much.
    """

    format: str
    width: int
    height: int
    mode: Mode
    scratch: int
    read: Callable[[], Raster]
    record: Record = Record()
    icc: bytes = b""
    smaller: Callable[[int], Source] | None = None


def admit(format: str, width: int, height: int, max_pixels: int) -> int:
    """The number of pixels, if it may be decoded.

    Raises :class:`DecodeError` for none at all, :class:`ImageTooLarge` above ``max_pixels``.
    """
    if width < 1 or height < 1:
        raise DecodeError(f"the {format.upper()} is empty ({width} x {height} pixels)")
    if width * height > max_pixels:
        raise ImageTooLarge(
            f"the picture has {width} x {height} = {width * height} pixels, more than {max_pixels}"
        )
    return width * height


def strips(height: int, width: int) -> Iterator[slice]:
    """Slices of rows that cover a picture from top to bottom, about ``STRIP`` pixels each."""
    rows = max(1, STRIP // max(1, width))
    return (slice(top, min(top + rows, height)) for top in range(0, height, rows))


def to_8_bit(samples: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """(H, W[, C]) samples of 0..65535 as 0..255, rounded to the nearest."""
    result = np.empty(samples.shape, np.uint8)
    for rows in strips(*samples.shape[:2]):  # an index takes eight bytes a sample
        result[rows] = _TO_8_BIT[samples[rows]]
    return result


def from_pillow(picture: Pillow.Image) -> Raster:
    """The pixels of a loaded Pillow image, strip by strip: no second whole copy exists."""
    mode = pillow_mode(picture)
    shape = (picture.height, picture.width, CHANNELS[mode])
    pixels = np.empty(shape[:2] if mode == "L" else shape, np.uint8)
    for rows in strips(picture.height, picture.width):
        part = picture.crop((0, rows.start, picture.width, rows.stop))
        if part.mode != mode:
            part = part.convert(mode)
        pixels[rows] = np.asarray(part)
    return Raster(mode, pixels)


def pillow_mode(picture: Pillow.Image) -> Mode:
    """The :data:`Mode` that holds everything a Pillow image shows."""
    if picture.has_transparency_data:
        return "LA" if picture.mode == "LA" else "RGBA"
    return _PLAIN.get(picture.mode, "RGB")


def opaque(image: Image) -> Image:
    """(H, W, 4) RGBA straight alpha over white, (H, W, 3) uint8; (H, W, 3) is returned as it is."""
    if image.shape[2] == 3:
        return image
    flat = np.empty((*image.shape[:2], 3), np.uint8)
    for rows in strips(*image.shape[:2]):
        alpha = image[rows, :, 3:].astype(np.uint16)
        # (x + 128 + (x + 128 >> 8)) >> 8 is x / 255, rounded, for every 16-bit product of two bytes
        mixed = image[rows, :, :3] * alpha + (255 - alpha) * 255 + 128
        flat[rows] = (mixed + (mixed >> 8)) >> 8
    return flat
