"""TIFF, read block by block.

Not through libtiff: it writes its complaints to stderr, and what uses it cuts 16 bits unrounded or
takes damaged strips for good ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from portrayer.errors import DecodeError
from portrayer.image import credits as credit
from portrayer.image import directory, jpeg
from portrayer.image.directory import Directory
from portrayer.image.source import (
    CHANNELS,
    MAX_PROFILE,
    Mode,
    Raster,
    Source,
    admit,
    strips,
    to_8_bit,
)
from portrayer.image.unpack import UNPACK

MAX_PAGES = 64  # directories followed before the file is taken for a book
MAX_BLOCKS = 1 << 18
MIN_TILE = 16  # the specification's own least; smaller ones would only cost time
MAX_BLOCK = 1 << 22  # pixels of a tile beyond the picture's own size

_WHITE_IS_ZERO, _GREY, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_INKS: dict[int, tuple[Mode, int]] = {  # photometric -> mode, colour samples per pixel
    _WHITE_IS_ZERO: ("L", 1),
    _GREY: ("L", 1),
    _RGB: ("RGB", 3),
    _PALETTE: ("RGB", 1),
    _CMYK: ("CMYK", 4),
    _YCBCR: ("RGB", 3),
}
_JPEG = 7
_COMPRESSIONS = {
    2: "fax",
    3: "fax",
    4: "fax",
    6: "old-style JPEG",
    34925: "LZMA",
    50000: "Zstandard",
}
_STREAMS = {1: "GRAY", 3: "RGB", 4: "CMYK"}
_DEPTHS = (1, 2, 4, 8, 16)
_ASSOCIATED, _STRAIGHT = 1, 2
_HOLED: dict[Mode, Mode] = {"L": "LA", "RGB": "RGBA"}
_RAW = 50706  # DNGVersion


@dataclass(frozen=True, slots=True)
class Plan:
    """How the samples lie in the file."""

    mode: Mode
    width: int
    height: int
    photometric: int
    depth: int
    samples: int  # per pixel, extra ones included
    inks: int  # of them, those that are colour
    alpha: int  # 0, or ExtraSamples' word for the sample behind the inks
    compression: int
    predicted: bool
    planes: int
    block: tuple[int, int]  # height, width
    order: str

    @property
    def packed(self) -> int:
        """Samples of a pixel inside one block."""
        return 1 if self.planes > 1 else self.samples


class Block(NamedTuple):
    plane: int
    top: int
    left: int
    start: int
    length: int


def inspect(blob: bytes, max_pixels: int) -> Source:
    """The :class:`Source` of a TIFF or BigTIFF file of one page."""
    layout, offset = directory.layout(blob)
    if blob[8:10] == b"CR":
        raise DecodeError("this is a camera's raw photo (CR2)")
    first = directory.read(blob, layout, offset, strict=True)
    width, height = first.number(256, 0), first.number(257, 0)
    pixels = admit("tiff", width, height, max_pixels)
    if _RAW in first.entries or first.number(254, 0) & 1:
        raise DecodeError("this is a camera's raw photo (DNG, NEF or alike)")
    if _pages(first) > 1:
        raise DecodeError("the TIFF has several pages")
    plan = _plan(first, width, height)
    icc = first.raw(34675)
    tall, wide = plan.block
    # a block is at most: packed, in passing, unpacked, with the predictor undone
    copies = 4 if plan.compression in UNPACK and plan.compression != 1 else 2
    block = tall * wide * plan.packed * max(1, plan.depth // 8)
    scratch = pixels * (plan.inks + 4) + copies * block
    return Source(
        "tiff",
        width,
        height,
        plan.mode,
        scratch,
        partial(_read, first, plan),
        credit.record(first),
        icc if len(icc) <= MAX_PROFILE else b"",
    )


def _pages(first: Directory) -> int:
    """Directories that are pages, not thumbnails or masks of one."""
    seen: set[int] = set()
    count, follows = 1, first.next
    while follows:
        if follows in seen or len(seen) >= MAX_PAGES:
            raise DecodeError("the TIFF has an endless chain of pages")
        seen.add(follows)
        page = directory.read(first.blob, first.layout, follows, strict=True)
        count += not page.number(254, 0) & 0b101
        follows = page.next
    return count


def _plan(first: Directory, width: int, height: int) -> Plan:
    photometric, compression = first.number(262, _GREY), first.number(259, 1)
    samples = first.number(277, 1)
    depths = set(first.numbers(258).tolist()) or {1}
    kinds = set(first.numbers(339).tolist()) or {1}
    extra = first.number(338, 0)
    if photometric not in _INKS:
        raise DecodeError(f"the TIFF has an unusual colour space (photometric {photometric})")
    mode, inks = _INKS[photometric]
    if compression != _JPEG and compression not in UNPACK:
        name = _COMPRESSIONS.get(compression, str(compression))
        raise DecodeError(f"the TIFF is compressed in an unusual way ({name})")
    if photometric == _YCBCR and compression != _JPEG:
        raise DecodeError("the TIFF has an unusual colour space (YCbCr without JPEG)")
    if len(depths) > 1 or kinds != {1}:
        raise DecodeError("the TIFF has samples that are not whole numbers of one size")
    (depth,) = depths
    if depth not in _DEPTHS or (depth < 8 and inks > 1) or (depth > 8 and photometric == _PALETTE):
        raise DecodeError(f"the TIFF has {depth} bits per sample in {samples} samples")
    if not inks <= samples <= 16 or (compression == _JPEG and depth != 8):
        raise DecodeError(f"the TIFF has {samples} samples per pixel")
    holed = _HOLED.get(mode) if samples > inks and depth >= 8 and photometric != _PALETTE else None
    alpha = extra if holed and extra in (_ASSOCIATED, _STRAIGHT) else 0
    tiled = 324 in first.entries
    strip = min(first.number(278, height), height), width
    tall, wide = (first.number(323, 0), first.number(322, 0)) if tiled else strip
    least = MIN_TILE if tiled else 1
    if min(tall, wide) < least or tall * wide > max(width * height, MAX_BLOCK):
        raise DecodeError(f"the TIFF has blocks of {wide} x {tall} pixels")
    return Plan(
        holed if holed and alpha else mode,
        width,
        height,
        photometric,
        depth,
        samples,
        inks,
        alpha,
        compression,
        first.number(317, 1) == 2 and compression != _JPEG,
        samples if first.number(284, 1) == 2 and samples > 1 else 1,
        (tall, wide),
        first.layout.order,
    )


def _blocks(first: Directory, plan: Plan) -> Iterator[Block]:
    """Every strip or tile, plane by plane, each inside the file."""
    tiled = 324 in first.entries
    starts, lengths = (first.numbers(tag) for tag in ((324, 325) if tiled else (273, 279)))
    tall, wide = plan.block
    places = [
        (plane, top, left)
        for plane in range(plan.planes)
        for top in range(0, plan.height, tall)
        for left in range(0, plan.width, wide)
    ]
    if not len(starts) == len(lengths) == len(places):
        raise DecodeError(
            f"the TIFF lists {len(starts)} strips or tiles where it needs {len(places)}"
        )
    if int((starts + lengths).max()) > len(first.blob):
        raise DecodeError("the TIFF is truncated")
    if int(min(starts.min(), lengths.min())) < 0:
        raise DecodeError("the TIFF has a strip of negative size")
    if int(lengths.sum()) > 4 * len(first.blob):  # the same bytes over and over: a trap
        raise DecodeError("the TIFF has strips that lie upon one another")
    for place, start, length in zip(places, starts.tolist(), lengths.tolist(), strict=True):
        yield Block(*place, start, length)


def _read(first: Directory, plan: Plan) -> Raster:
    tall, wide = plan.block
    count = -(-plan.height // tall) * -(-plan.width // wide) * plan.planes
    if count > MAX_BLOCKS:
        raise DecodeError(f"the TIFF has {count} strips or tiles, more than {MAX_BLOCKS}")
    channels = CHANNELS[plan.mode]
    raster = np.empty((plan.height, plan.width, channels), np.uint8)
    palette = _palette(first, plan) if plan.photometric == _PALETTE else None
    for block in _blocks(first, plan):
        rows = min(tall, plan.height - block.top)
        columns = min(wide, plan.width - block.left)
        samples = _samples(first, plan, block, rows)[:rows, :columns]
        area = raster[block.top : block.top + rows, block.left : block.left + columns]
        if palette is not None:
            for part in strips(rows, columns):  # an index takes eight bytes a pixel
                area[part] = palette[samples[part, :, 0]]
        elif plan.planes == 1:
            area[...] = samples[..., :channels]
        elif block.plane < channels:
            area[..., block.plane] = samples[..., 0]
    if plan.photometric == _WHITE_IS_ZERO:
        np.subtract(255, raster[..., :1], out=raster[..., :1])
    if plan.alpha == _ASSOCIATED:
        _divide(raster)
    return Raster(plan.mode, raster[..., 0] if plan.mode == "L" else raster)


def _samples(first: Directory, plan: Plan, block: Block, rows: int) -> NDArray[np.uint8]:
    """(rows, block width, samples) uint8; palette indices stay as they are."""
    packed = first.blob[block.start : block.start + block.length]
    if plan.compression == _JPEG:
        return _stream(first, plan, packed, rows)
    wide, count = plan.block[1], plan.packed
    line = (wide * count * plan.depth + 7) // 8
    # only the last strip is cut short; a tile is always whole
    height = plan.block[0] if 324 in first.entries else rows
    flat = np.frombuffer(UNPACK[plan.compression](packed, line * height), np.uint8)
    if plan.depth < 8:
        return _widen(flat.reshape(height, line), plan)[:, :wide].reshape(height, wide, 1)
    values: NDArray[Any] = flat.view(plan.order + "u2") if plan.depth == 16 else flat
    values = values.reshape(height, wide, count)
    if plan.predicted:
        values = np.cumsum(values, axis=1, dtype=values.dtype.newbyteorder("="))
    return cast("NDArray[np.uint8]", to_8_bit(values) if plan.depth == 16 else values)


def _widen(lines: NDArray[np.uint8], plan: Plan) -> NDArray[np.uint8]:
    """Samples of 1, 2 or 4 bits as bytes: 0..255 for grey, plain indices for a palette."""
    if plan.samples > 1:
        raise DecodeError(f"the TIFF has {plan.samples} samples of {plan.depth} bits")
    shifts = np.arange(8 - plan.depth, -1, -plan.depth, dtype=np.uint8)
    top = (1 << plan.depth) - 1
    values = (lines[..., None] >> shifts & np.uint8(top)).reshape(len(lines), -1)
    if plan.photometric != _PALETTE:
        values = values * np.uint8(255 // top)
    return cast("NDArray[np.uint8]", values)


def _stream(first: Directory, plan: Plan, packed: bytes, rows: int) -> NDArray[np.uint8]:
    """A block that is a JPEG stream of its own, its tables kept once for all."""
    # libjpeg guesses the colour space from component names; Adobe's mark says it
    transform = 1 if plan.photometric == _YCBCR else 0
    mark = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + bytes((transform,))
    tables = first.raw(347)
    whole = b"".join((b"\xff\xd8", mark, tables[2:-2], packed[2:]))
    source = jpeg.inspect(whole, max(plan.width * plan.height, MAX_BLOCK))
    colour = _STREAMS.get(plan.packed)
    if colour is None or (source.height, source.width) < (rows, plan.block[1]):
        raise DecodeError("the TIFF holds a JPEG stream that does not fit it")
    return jpeg.decode(whole, colour)


def _palette(first: Directory, plan: Plan) -> NDArray[np.uint8]:
    values = first.numbers(320)
    if len(values) != 3 << plan.depth:
        raise DecodeError("the TIFF has a broken palette")
    # 16 bits by the book; some writers put bytes
    table = (
        values.astype(np.uint8)
        if values.max() < 256
        else to_8_bit(values[None].astype(np.uint16))[0]
    )
    return cast("NDArray[np.uint8]", np.ascontiguousarray(table.reshape(3, -1).T))


def _divide(raster: NDArray[np.uint8]) -> None:
    """Undo the multiplication by alpha, in place, row by row."""
    for row in raster:
        alpha = np.maximum(row[:, -1:].astype(np.uint32), 1)
        row[:, :-1] = np.minimum((row[:, :-1] * np.uint32(255) + alpha // 2) // alpha, 255)
