"""WebP: RIFF chunks in, Pillow's libwebp both ways."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import partial
from io import BytesIO

import numpy as np
from PIL import Image as Pillow
from PIL.WebPImagePlugin import WebPImageFile

from portrayer.errors import DecodeError, InvalidOption
from portrayer.image import credits as credit
from portrayer.image.credits import Credits, Record
from portrayer.image.source import Mode, Raster, Source, admit, from_pillow
from portrayer.types import Image

MAX_SIDE = 16_383
MAX_CHUNKS = 1024

_ANIMATED, _ALPHA = 0x02, 0x10


def inspect(blob: bytes, max_pixels: int) -> Source:
    """The :class:`Source` of a WebP file: canvas, flags, EXIF and ICC profile."""
    kind = blob[12:16]
    width, height, flags = _canvas(kind, blob)
    # beyond its own limit Pillow warns, and later refuses, whatever ours is
    limit = min(max_pixels, Pillow.MAX_IMAGE_PIXELS or max_pixels)
    pixels = admit("webp", width, height, limit)
    if flags & _ANIMATED:
        raise DecodeError("the WebP is animated")
    record, icc, xmp = Record(), b"", b""
    at = 12
    for _ in range(MAX_CHUNKS):
        if at + 8 > len(blob):
            break
        start, size = at + 8, int.from_bytes(blob[at + 4 : at + 8], "little")
        if blob[at : at + 4] == b"EXIF":
            record = credit.parse(blob[start : start + size])
        if blob[at : at + 4] == b"ICCP":
            icc = blob[start : start + size]
        if blob[at : at + 4] == b"XMP ":
            xmp = blob[start : start + min(size, credit.MAX_PACKET)]
        at = start + size + size % 2
    mode: Mode = "RGBA" if flags & _ALPHA or kind == b"VP8L" else "RGB"
    # libwebp's two canvases and its own working copy, Pillow's bytes and image, then the result
    scratch = pixels * 24 + len(blob)
    record = credit.marked(record, xmp)
    return Source("webp", width, height, mode, scratch, partial(_read, blob), record, icc)


def encode(
    image: Image, quality: int, lossless: bool, credits: Credits, note: Mapping[str, str]
) -> bytes:
    """WebP bytes of (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA uint8; effort is set for speed.

    Raises :class:`InvalidOption` for a side above 16 383 pixels.
    """
    if max(image.shape[:2]) > MAX_SIDE:
        raise InvalidOption(f"WebP allows at most {MAX_SIDE} pixels a side: use png, or shrink")
    picture = Pillow.fromarray(np.ascontiguousarray(image))
    # lossless "quality" is effort, and its least is both fast and smaller than any PNG
    effort = {"quality": 0, "exact": True} if lossless else {"quality": quality}
    file = BytesIO()
    told = {"exif": credit.exif(credits, note), "xmp": credit.xmp(credits)}
    picture.save(file, "WEBP", lossless=lossless, method=0, **told, **effort)
    return file.getvalue()


def _canvas(kind: bytes, blob: bytes) -> tuple[int, int, int]:
    """(width, height, flags) of the first chunk; the simple forms have no flags."""
    if len(blob) < 30:
        raise DecodeError("the WebP is truncated: it ends inside its header")
    if kind == b"VP8X":
        width, height = (int.from_bytes(blob[at : at + 3], "little") + 1 for at in (24, 27))
        return width, height, blob[20]
    if kind == b"VP8 " and blob[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", blob, 26)
        return width & 0x3FFF, height & 0x3FFF, 0
    if kind == b"VP8L" and blob[20] == 0x2F:
        bits = int.from_bytes(blob[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, 0
    raise DecodeError("the WebP has a broken header")


def _read(blob: bytes) -> Raster:
    if 8 + int.from_bytes(blob[4:8], "little") > len(blob):
        raise DecodeError("the WebP is truncated")
    with WebPImageFile(BytesIO(blob)) as picture:
        picture.load()
        return from_pillow(picture)
