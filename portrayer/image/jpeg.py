"""JPEG: markers, strict decoding, encoding."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Literal, cast

import numpy as np
import simplejpeg

from portrayer.errors import DecodeError, InvalidOption
from portrayer.image import credits as credit
from portrayer.image import profile
from portrayer.image.credits import Credits, Record
from portrayer.image.source import CHANNELS, Mode, Raster, Source, admit
from portrayer.types import Image

MAX_SCANS = (
    500  # as libjpeg-turbo's own tools: a progressive file of more is an attack on the clock
)
MAX_SIDE = 65_535

_START, _SCAN, _END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})
_EXIF, _ICC = b"Exif\0\0", b"ICC_PROFILE\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"

_SMALLER = (8, 4, 2)  # by what the decoder may divide both sides
_MODES: dict[int, Mode] = {1: "L", 3: "RGB", 4: "CMYK"}
_COLOURS = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
# flaws that every viewer forgives and that leave the pixels whole
_HARMLESS = (
    "extraneous bytes before marker",
    "unknown JFIF revision",
    "Unknown Adobe color transform",
)


def inspect(blob: bytes, max_pixels: int) -> Source:
    """The :class:`Source` of a JPEG file: its frame header, EXIF and ICC profile."""
    record, icc, xmp, frame, body = Record(), {}, b"", None, 0
    for marker, start, end in _segments(blob):
        if marker in _FRAMES:
            frame = marker, blob[start:end]
            precision, height, width, channels = _frame(frame[1])
            pixels = admit("jpeg", width, height, max_pixels)
        elif marker == 0xE1 and blob.startswith(_EXIF, start) and record == Record():
            record = credit.parse(blob[start:end])
        elif marker == 0xE1 and blob.startswith(_XMP, start):
            xmp = xmp or blob[start + len(_XMP) : end]
        elif marker == 0xE2 and blob.startswith(_ICC, start) and end - start > 14:
            icc[blob[start + 12]] = blob[start + 14 : end]
        body = end
    if frame is None:
        raise DecodeError("the JPEG is truncated: it ends before its frame header")
    if precision != 8:
        raise DecodeError(f"the JPEG has {precision} bits per sample; 8 can be read")
    mode = _MODES.get(channels)
    if mode is None:
        raise DecodeError(f"the JPEG has {channels} colour channels; 1, 3 or 4 can be read")
    whole = b"".join(icc[key] for key in sorted(icc))
    if mode == "L" and profile.is_srgb(whole):
        mode = "RGB"  # the decoder writes the three channels itself
    # progressive files are kept as coefficients until the last scan
    kept = 2 * _samples(frame[1], pixels) if frame[0] in _PROGRESSIVE else 0
    record = credit.marked(record, xmp)

    def smaller(side: int) -> Source:
        by = next((by for by in _SMALLER if max(width, height) >= by * side), 1)
        w, h = -(-width // by), -(-height // by)
        read = partial(_read, blob, body, mode, h, w)
        scratch = w * h * CHANNELS[mode] + kept
        return Source("jpeg", w, h, mode, scratch, read, record, whole, smaller)

    return smaller(max(width, height))


def decode(blob: bytes, colour: str, height: int = 0, width: int = 0) -> Image:
    """The pixels (H, W, C) of a JPEG stream as "GRAY", "RGB" or "CMYK" (as stored).

    ``height``, ``width``: what is asked for at least; the decoder leaves out what is finer. Zeros
    ask for all there is.

    Raises :class:`DecodeError` for every flaw of the entropy-coded part but the harmless ones.
    """
    try:
        read = partial(simplejpeg.decode_jpeg, blob, colour, min_height=height, min_width=width)
        try:
            return cast(Image, read())
        except ValueError as error:
            if not any(flaw in str(error) for flaw in _HARMLESS):
                raise
            return cast(Image, read(strict=False))
    except ValueError as error:
        if "Premature end" in str(error):
            raise DecodeError("the JPEG is truncated") from error
        raise DecodeError(f"the JPEG is damaged ({' '.join(str(error).split())})") from error


def encode(
    image: Image, quality: int, lossless: bool, credits: Credits, note: Mapping[str, str]
) -> bytes:
    """JPEG bytes of (H, W) grey or (H, W, 3) RGB uint8; chroma is halved below quality 90.

    Raises :class:`InvalidOption` for RGBA and for a side above 65 535 pixels.
    """
    if image.ndim == 3 and image.shape[2] == 4:
        raise InvalidOption("JPEG has no transparency: composite over a colour first, or use png")
    if max(image.shape[:2]) > MAX_SIDE:
        raise InvalidOption(f"JPEG allows at most {MAX_SIDE} pixels a side: use png")
    grey = image.ndim == 2
    full: Literal["444", "420"] = "444" if quality >= 90 else "420"
    blob = cast(
        bytes,
        simplejpeg.encode_jpeg(
            np.ascontiguousarray(image[..., None] if grey else image),
            quality=quality,
            colorspace="GRAY" if grey else "RGB",
            colorsubsampling="Gray" if grey else full,
        ),
    )
    told = {_EXIF: credit.exif(credits, note), _XMP: credit.xmp(credits)}
    segments = [_segment(name, content) for name, content in told.items() if content]
    # behind JFIF's own segment, which wants to be first
    at = 4 + struct.unpack_from(">H", blob, 4)[0] if blob[3] == 0xE0 else 2
    return b"".join((blob[:at], *segments, blob[at:])) if segments else blob


def _segment(name: bytes, content: bytes) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", 2 + len(name) + len(content)) + name + content


def _segments(blob: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each segment's content up to and with the first scan header."""
    at = len(_START)
    while at + 4 <= len(blob):
        if blob[at] != 0xFF:
            at = blob.find(
                b"\xff", at
            )  # stray bytes between segments: skip them as every decoder does
            if at < 0:
                return
            continue
        marker = blob[at + 1]
        if marker == 0xFF or marker == 0x00 or marker in _BARE:
            at += 1 if marker == 0xFF else 2
            continue
        if marker == _END[1]:
            return
        end = at + 2 + struct.unpack_from(">H", blob, at + 2)[0]
        if end > len(blob) or end < at + 4:
            return
        yield marker, at + 4, end
        if marker == _SCAN[1]:
            return
        at = end


def _frame(content: bytes) -> tuple[int, int, int, int]:
    try:
        precision, height, width, channels = struct.unpack_from(">BHHB", content)
    except struct.error as error:
        raise DecodeError("the JPEG has a broken frame header") from error
    return precision, height, width, channels


def _samples(content: bytes, pixels: int) -> int:
    """Upper bound of the samples in all planes, from the sampling factors."""
    factors = [(byte >> 4, byte & 15) for byte in content[7::3]]
    largest = max((h for h, _ in factors), default=1) * max((v for _, v in factors), default=1)
    share = sum(h * v for h, v in factors) / max(1, largest)
    return int(pixels * share * 1.02) + (1 << 20)  # planes are padded to whole blocks


def _read(blob: bytes, body: int, mode: Mode, height: int, width: int) -> Raster:
    end = blob.find(_END, body)
    if end < 0:
        raise DecodeError("the JPEG is truncated")
    if blob.count(_SCAN, body, end) > MAX_SCANS:
        raise DecodeError(f"the JPEG has more than {MAX_SCANS} scans")
    pixels = decode(blob, _COLOURS[mode], height, width)
    if mode == "L":
        pixels = pixels[..., 0]
    if mode == "CMYK":
        np.subtract(255, pixels, out=pixels)  # since Adobe began it, JPEG stores ink inverted
    return Raster(mode, np.ascontiguousarray(pixels))
