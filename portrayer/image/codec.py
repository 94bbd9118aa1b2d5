"""Files to pictures and back: the only place where encoded bytes meet arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageOps

from portrayer.errors import DecodeError, InvalidOption, PortrayerError
from portrayer.image import bmp, jpeg, png, profile, sniff, source, tiff, webp
from portrayer.image.credits import Credits, Mark
from portrayer.image.source import CHANNELS, Mode, Raster, Source, opaque
from portrayer.types import Image

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "Credits",
    "Decoded",
    "Format",
    "Header",
    "Mark",
    "decode",
    "encode",
    "probe",
]

MAX_PIXELS = 64_000_000


@dataclass(frozen=True, slots=True)
class Header:
    """What the first bytes say, before any pixel is decoded.

    ``format``: "jpeg", "png", "webp", "bmp" or "tiff"; ``width`` and ``height`` in pixels as seen,
    after orientation; ``decoded_bytes``: upper bound of the bytes that :func:`decode` holds at its
    peak beside the file.
    """

    format: str
    width: int
    height: int
    decoded_bytes: int

    @property
    def pixels(self) -> int:
        return self.width * self.height


@dataclass(frozen=True, slots=True)
class Decoded:
    """A picture at hand. ``image``: (H, W, 3) uint8 RGB, sRGB, upright, opaque, C-contiguous.

    ``header``: None for a picture that never was a file.
    """

    image: Image
    header: Header | None = None
    credits: Credits = Credits()


@dataclass(frozen=True, slots=True)
class Format:
    """A format that can be written. ``alpha``: whether it holds transparency."""

    name: str
    suffix: str
    mime: str
    alpha: bool


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "png": Format("png", ".png", "image/png", alpha=True),
        "webp": Format("webp", ".webp", "image/webp", alpha=True),
        "jpeg": Format("jpeg", ".jpg", "image/jpeg", alpha=False),
    }
)

_INSPECT: Mapping[str, Callable[[bytes, int], Source]] = {
    "jpeg": jpeg.inspect,
    "png": png.inspect,
    "webp": webp.inspect,
    "bmp": bmp.inspect,
    "tiff": tiff.inspect,
}
_ENCODE: Mapping[str, Callable[[Image, int, bool, Credits, Mapping[str, str]], bytes]] = {
    "png": png.encode,
    "webp": webp.encode,
    "jpeg": jpeg.encode,
}
# EXIF orientation -> what brings the stored rows upright; from 5 on, width and height change places
UPRIGHT: Mapping[int, Callable[[Image], object]] = {
    1: lambda image: image,
    2: lambda image: cv2.flip(image, 1),
    3: lambda image: cv2.rotate(image, cv2.ROTATE_180),
    4: lambda image: cv2.flip(image, 0),
    5: lambda image: cv2.transpose(image),
    6: lambda image: cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE),
    7: lambda image: cv2.flip(cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE), 0),
    8: lambda image: cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE),
}
_ENDINGS = {format.suffix: name for name, format in FORMATS.items()} | {".jpeg": "jpeg"}
_ARRAYS: Mapping[tuple[int, ...], Mode] = {(): "L", (3,): "RGB", (4,): "RGBA"}
_DEEP = frozenset({"I", "F", "I;16", "I;16L", "I;16B", "I;16N"})
_OVERHEAD = 4 << 20  # bytes of strips, tables and library state


def inspect(blob: bytes, max_pixels: int, side: int = 0) -> Source:
    """What a file's header says of it, and how it is read; within :func:`one_reason`.

    ``side``: pixels that its long side has at least, 0 for all there are. Raises
    :class:`DecodeError`, :class:`ImageTooLarge`, and whatever a library raises.
    """
    found = _INSPECT[sniff.sniff(blob)](blob, max_pixels)
    return found.smaller(side) if side and found.smaller else found


def probe(data: bytes | memoryview, *, max_pixels: int = MAX_PIXELS, side: int = 0) -> Header:
    """Read a file's header; the content decides what it is, never a name.

    ``side``: as for :func:`decode`. Raises :class:`DecodeError` when this is no picture that can be
    read and :class:`ImageTooLarge` above ``max_pixels``.
    """
    with one_reason():
        return _header(inspect(bytes(data), max_pixels, side))


def decode(data: bytes | memoryview, *, max_pixels: int = MAX_PIXELS, side: int = 0) -> Decoded:
    """Decode JPEG, PNG, WebP, BMP or TIFF: upright, in sRGB, 8 bits, transparency over white.

    ``side``: a long side of so many pixels is enough: where it is cheaper, the picture is read at
    half, a quarter or an eighth of its size, never below that; 0 reads it whole. Raises
    :class:`DecodeError` when this is no whole, still picture that can be read and
    :class:`ImageTooLarge` above ``max_pixels``, found in the header.
    """
    with one_reason():
        found = inspect(bytes(data), max_pixels, side)
        header = _header(found)
        image = opaque(profile.to_rgb(found.read(), found.icc))
        image = cast(Image, UPRIGHT[found.record.orientation](image))
        if image.shape != (header.height, header.width, 3):
            raise DecodeError("the picture is not of the size that its header says")
        return Decoded(np.ascontiguousarray(image), header, found.record.credits)


def encode(
    image: Image,
    format: str = "png",
    *,
    quality: int = 92,
    lossless: bool = False,
    credits: Credits = Credits(),
    note: Mapping[str, str] | None = None,
) -> bytes:
    """Encode (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA uint8 sRGB as one of :data:`FORMATS`.

    ``quality``: 1..100, for JPEG and lossy WebP. ``lossless``: for WebP; PNG always is, JPEG never.
    ``note``: a few words by name that travel in the file (PNG iTXt, else JSON in EXIF UserComment).
    Raises :class:`InvalidOption` for an unknown format and for what a format cannot hold,
    ``ValueError`` for an array that is no picture.
    """
    if format not in FORMATS:
        raise InvalidOption(f"format {format!r} is not one of {', '.join(FORMATS)}")
    if quality not in range(1, 101):
        raise InvalidOption(f"quality is 1 to 100, not {quality}")
    if (
        image.dtype != np.uint8
        or image.ndim not in (2, 3)
        or image.shape[2:] not in ((), (3,), (4,))
    ):
        raise ValueError(f"not a picture: {image.dtype} {image.shape}")
    if not image.size:
        raise ValueError(f"an empty picture: {image.shape}")
    return _ENCODE[format](image, quality, lossless, credits, note or {})


def format_of(path: Path, default: str = "png") -> str:
    """The name in :data:`FORMATS` that a file name's ending asks for; ``default`` when it has none.

    Raises :class:`InvalidOption` for an ending of no format that can be written.
    """
    ending = path.suffix.lower()
    if not ending:
        return default
    found = _ENDINGS.get(ending)
    if found is None:
        raise InvalidOption(f"{ending!r} cannot be written: use one of {', '.join(_ENDINGS)}")
    return found


def from_array(array: NDArray[np.uint8]) -> Image:
    """(H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA uint8 as (H, W, 3) RGB, transparency over white.

    Contiguous RGB is returned as it is. Raises :class:`DecodeError` for an array of another shape.
    """
    mode = _ARRAYS.get(array.shape[2:])
    if mode is None or array.dtype != np.uint8 or not array.size or array.ndim > 3:
        raise DecodeError(f"an array of {array.dtype} {array.shape} is no picture")
    return opaque(profile.to_rgb(Raster(mode, np.ascontiguousarray(array)), b""))


def from_pillow(picture: Pillow.Image) -> Image:
    """A Pillow image as :func:`decode` would give it: (H, W, 3) uint8 RGB, sRGB, upright, opaque.

    Raises :class:`DecodeError` for a picture that cannot be loaded or is not of 8 bits a channel.
    """
    with one_reason():
        if picture.mode in _DEEP:
            raise DecodeError(
                f"a Pillow image of mode {picture.mode} is no photo: convert it to RGB"
            )
        upright = ImageOps.exif_transpose(picture)
        icc = picture.info.get("icc_profile") or b""
        return np.ascontiguousarray(opaque(profile.to_rgb(source.from_pillow(upright), icc)))


def _header(found: Source) -> Header:
    pixels = found.width * found.height
    raster = pixels * CHANNELS[found.mode]
    turned = found.record.orientation != 1
    plain = found.mode == "RGB" and not found.icc
    peak = max(
        found.scratch,
        raster if plain else raster + pixels * (4 if found.mode in ("LA", "RGBA") else 3),
        pixels * 7 if found.mode in ("LA", "RGBA") else 0,  # RGBA and its flat copy
        pixels * 6 if turned else 0,
        pixels * 9 if found.record.orientation == 7 else 0,
    )
    sides = (found.width, found.height)
    width, height = sides[::-1] if found.record.orientation > 4 else sides
    return Header(found.format, width, height, peak + _OVERHEAD)


@contextmanager
def one_reason() -> Iterator[None]:
    """Whatever a library raises over foreign bytes leaves as one line of :class:`DecodeError`."""
    try:
        yield
    except (PortrayerError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DecodeError(f"the picture is damaged ({reason[:200]})") from error
