"""PNG: chunks in, decoding of every depth; a writer of its own out."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from functools import partial
from io import BytesIO
from typing import Any, NamedTuple, cast

import cv2
import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray
from PIL.PngImagePlugin import PngImageFile

from portrayer.errors import DecodeError, InvalidOption
from portrayer.image import credits as credit
from portrayer.image.credits import Credits, Record
from portrayer.image.source import (
    MAX_PROFILE,
    Mode,
    Raster,
    Source,
    admit,
    from_pillow,
    strips,
    to_8_bit,
)
from portrayer.types import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 200_000
MAX_SIDE = 2**31 - 1

_XMP = b"XML:com.adobe.xmp\0\0\0\0\0"  # keyword, not compressed, no language

_BROKEN = cast("type[Exception]", isal_zlib.error)  # published with a wrong type
_PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
# colour type -> channels, mode without and with tRNS, allowed depths
_COLOURS: dict[int, tuple[int, Mode, Mode, tuple[int, ...]]] = {
    0: (1, "L", "RGBA", (1, 2, 4, 8, 16)),
    2: (3, "RGB", "RGBA", (8, 16)),
    3: (1, "RGB", "RGBA", (1, 2, 4, 8)),
    4: (2, "LA", "LA", (8, 16)),
    6: (4, "RGBA", "RGBA", (8, 16)),
}
_FROM_BGR = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}
# Adam7: first column, first row, column step, row step
_PASSES = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)


class Chunk(NamedTuple):
    kind: bytes
    start: int  # of the content
    end: int


class Shape(NamedTuple):
    """IHDR: the picture's layout."""

    width: int
    height: int
    depth: int
    colour: int
    compression: int
    filter: int
    interlaced: int


def inspect(blob: bytes, max_pixels: int) -> Source:
    """The :class:`Source` of a PNG file: IHDR, then the chunks about colour and orientation."""
    if blob[12:16] != b"IHDR" or len(blob) < 33:
        odd = blob[12:16] == b"CgBI"
        raise DecodeError(
            "the PNG is in Apple's CgBI form" if odd else "the PNG has no header (IHDR)"
        )
    shape = Shape._make(struct.unpack_from(">IIBBBBB", blob, 16))
    pixels = admit("png", shape.width, shape.height, max_pixels)
    channels, plain, holed, depths = _COLOURS.get(shape.colour, (0, "L", "L", ()))
    if shape.depth not in depths or shape.compression or shape.filter or shape.interlaced > 1:
        raise DecodeError("the PNG has a broken header (IHDR)")
    record, icc, xmp, mode = Record(), b"", b"", plain
    chunks = list(_chunks(blob))
    for kind, start, end in chunks:
        if kind == b"acTL" and int.from_bytes(blob[start : start + 4], "big") > 1:
            raise DecodeError("the PNG is animated")
        if kind == b"tRNS":
            mode = holed
        if kind == b"eXIf":
            record = credit.parse(blob[start:end])
        if kind == b"iTXt" and blob.startswith(_XMP, start):
            xmp = blob[start + len(_XMP) : min(end, start + credit.MAX_PACKET)]
        if kind == b"iCCP":
            icc = _profile(blob[start:end])
    if any(chunk.kind == b"sRGB" for chunk in chunks):
        icc = b""
    deep = shape.depth == 16
    # 8 bit: Pillow's four bytes and the result; 16 bit: check, decode, result
    scratch = pixels * (4 * channels * 2 + 4 if deep else 8) + len(blob)
    read = partial(_read_deep if deep else _read, blob, chunks, shape)
    record = credit.marked(record, xmp)
    return Source("png", shape.width, shape.height, mode, scratch, read, record, icc)


def encode(
    image: Image, quality: int, lossless: bool, credits: Credits, note: Mapping[str, str]
) -> bytes:
    """PNG bytes of (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA uint8; always lossless.

    Fast before small: strip by strip, the left neighbour is subtracted in numpy and ISA-L
    compresses at its first level with the GIL released.
    """
    height, width = image.shape[:2]
    channels = 1 if image.ndim == 2 else image.shape[2]
    colour = {1: 0, 3: 2, 4: 6}[channels]
    parts = [
        SIGNATURE,
        _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)),
        _chunk(b"sRGB", b"\0"),
    ]
    exif = credit.exif(credits, {})
    if exif:
        parts.append(_chunk(b"eXIf", exif))
    texts = {
        "Author": credits.artist,
        "Copyright": credits.copyright,
        "Creation Time": credits.date,
    }
    if credits.mark is not None:
        texts |= {"Software": credits.mark.tool, "Synthetic": "yes"}
        parts.append(_chunk(b"iTXt", _XMP + credit.xmp(credits)))
    parts += [_text(key, value) for key, value in {**texts, **note}.items() if value]
    deflate = isal_zlib.compressobj(1, isal_zlib.DEFLATED, 15)
    for rows in strips(height, width):
        part = np.ascontiguousarray(image[rows]).reshape(rows.stop - rows.start, -1)
        lines = np.empty((len(part), 1 + part.shape[1]), np.uint8)
        lines[:, 0] = 1  # filter type: Sub
        lines[:, 1 : 1 + channels] = part[:, :channels]
        np.subtract(part[:, channels:], part[:, :-channels], out=lines[:, 1 + channels :])
        parts.append(_chunk(b"IDAT", deflate.compress(lines.data.cast("B"))))
    parts += [_chunk(b"IDAT", deflate.flush()), _chunk(b"IEND", b"")]
    return b"".join(parts)


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = isal_zlib.crc32(content, isal_zlib.crc32(kind))
    return b"".join((struct.pack(">I", len(content)), kind, content, struct.pack(">I", check)))


def _text(key: str, value: str) -> bytes:
    if not (0 < len(key) < 80 and key == key.strip() and key.isascii() and key.isprintable()):
        raise InvalidOption(f"a note's name is 1 to 79 plain characters, not {key!r}")
    value = value.replace("\0", " ")
    if value.isascii():
        return _chunk(b"tEXt", f"{key}\0{value}".encode())
    return _chunk(b"iTXt", key.encode() + b"\0\0\0\0\0" + value.encode())


def _chunks(blob: bytes) -> Iterator[Chunk]:
    at = len(SIGNATURE)
    for _ in range(MAX_CHUNKS):
        if at + 12 > len(blob):
            return
        start = at + 8
        end = start + int.from_bytes(blob[at : at + 4], "big")
        if end + 4 > len(blob):
            return
        yield Chunk(blob[at + 4 : start], start, end)
        if blob[at + 4 : start] == b"IEND":
            return
        at = end + 4
    raise DecodeError(f"the PNG has more than {MAX_CHUNKS} chunks")


def _profile(content: bytes) -> bytes:
    """The profile of an iCCP chunk, b"" when it is broken or swells beyond the limit."""
    _, _, packed = content.partition(b"\0")
    try:
        inflate = zlib.decompressobj()
        icc = inflate.decompress(packed[1:], MAX_PROFILE)
    except zlib.error:
        return b""
    return icc if inflate.eof else b""


def _essence(blob: bytes, chunks: list[Chunk], shape: Shape, leave: frozenset[bytes]) -> bytes:
    """The file reduced to the chunks that make its pixels, each one checked.

    Decoders then never meet texts, profiles or time stamps, whatever these hold.
    """
    if not chunks or chunks[-1].kind != b"IEND":
        raise DecodeError("the PNG is truncated")
    kinds = {chunk.kind for chunk in chunks}
    if b"IDAT" not in kinds or (shape.colour == 3 and b"PLTE" not in kinds):
        raise DecodeError("the PNG has no " + ("pixels" if b"IDAT" not in kinds else "palette"))
    view = memoryview(blob)
    parts: list[bytes | memoryview] = [SIGNATURE]
    for kind, start, end in chunks:
        critical = kind in _PIXELS
        if not critical and not kind[0] & 0x20:
            raise DecodeError(f"the PNG has an unknown critical chunk {kind!r}")
        if not critical or kind in leave:
            continue
        if isal_zlib.crc32(view[start - 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            raise DecodeError(f"the PNG is damaged: wrong checksum of its {kind.decode()} chunk")
        parts.append(view[start - 8 : end + 4])
    return b"".join(parts)


def _read(blob: bytes, chunks: list[Chunk], shape: Shape) -> Raster:
    key = _key(blob, chunks, shape)
    leave = frozenset() if key is None else frozenset({b"tRNS"})
    with PngImageFile(BytesIO(_essence(blob, chunks, shape, leave))) as picture:
        picture.load()
        raster = from_pillow(picture)
    if key is None:
        return raster
    # Pillow has spread the 2 or 4 bits of grey over 8, but would not have spread the key
    spread = 255 // ((1 << shape.depth) - 1) if shape.depth < 8 else 1
    return Raster("RGBA", _keyed(raster.pixels, key * spread))


def _read_deep(blob: bytes, chunks: list[Chunk], shape: Shape) -> Raster:
    # Pillow cuts 16 bits to 8 without rounding, so OpenCV reads these. Its libpng writes complaints
    # to stderr, so it is shown nothing to complain about.
    essence = _essence(blob, chunks, shape, frozenset({b"tRNS"}))
    _check_deflated(blob, chunks, shape)
    deep = cv2.imdecode(np.frombuffer(essence, np.uint8), cv2.IMREAD_UNCHANGED)
    if deep is None or deep.dtype != np.uint16:
        raise DecodeError("the PNG is damaged")
    samples = cast("NDArray[np.uint16]", deep)
    if samples.ndim == 3:  # OpenCV's BGR(A)
        cv2.cvtColor(samples, _FROM_BGR[samples.shape[2]], dst=samples)
    key = _key(blob, chunks, shape)
    if key is not None:
        return Raster("RGBA", _keyed(samples, key))
    _, mode, _, _ = _COLOURS[shape.colour]
    if mode == "LA":  # OpenCV spreads grey and alpha to four channels
        samples = samples[..., 2:]
    return Raster(mode, to_8_bit(samples))


def _key(blob: bytes, chunks: list[Chunk], shape: Shape) -> NDArray[np.uint16] | None:
    """The one transparent colour of a picture in grey or RGB, (1,) or (3,), at its own depth."""
    content = next((blob[start:end] for kind, start, end in chunks if kind == b"tRNS"), None)
    if content is None or shape.colour not in (0, 2):
        return None
    if len(content) != 2 * _COLOURS[shape.colour][0]:
        raise DecodeError("the PNG has a broken transparency chunk (tRNS)")
    return np.frombuffer(content, ">u2").astype(np.uint16)


def _keyed(samples: NDArray[Any], key: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """(H, W[, 3]) grey or RGB, uint8 or uint16, as RGBA uint8: alpha is 0 at the key's colour."""
    result = np.empty((*samples.shape[:2], 4), np.uint8)
    for rows in strips(*samples.shape[:2]):
        part = samples[rows].reshape(-1, samples.shape[1], len(key))
        result[rows, :, :3] = to_8_bit(part) if part.dtype == np.uint16 else part
        result[rows, :, 3] = np.where((part == key).all(axis=2), 0, 255)
    return result


def _check_deflated(blob: bytes, chunks: list[Chunk], shape: Shape) -> None:
    """Raise :class:`DecodeError` unless the pixel stream is of the right length and form."""
    sizes = [(shape.width, shape.height)]
    if shape.interlaced:
        sizes = [
            (-(-(shape.width - left) // right), -(-(shape.height - top) // down))
            for left, top, right, down in _PASSES
        ]
    sizes = [(width, height) for width, height in sizes if width > 0 and height > 0]
    bits = _COLOURS[shape.colour][0] * shape.depth
    lines = [(height, 1 + (width * bits + 7) // 8) for width, height in sizes]
    expected = sum(height * length for height, length in lines)
    packed = b"".join(blob[start:end] for kind, start, end in chunks if kind == b"IDAT")
    try:
        inflate = isal_zlib.decompressobj()
        flat = inflate.decompress(packed, expected + 1)
    except _BROKEN as error:
        raise DecodeError("the PNG is damaged: broken pixel stream") from error
    at = 0
    if len(flat) != expected or not inflate.eof or inflate.unused_data:
        raise DecodeError("the PNG is damaged: its pixel stream has the wrong length")
    for height, length in lines:
        filters = np.frombuffer(flat, np.uint8, height * length, at)[::length]
        if filters.max() > 4:
            raise DecodeError("the PNG is damaged: unknown row filter")
        at += height * length
