"""Where a subject stands: the part of a photo it is looked for in, room around it, its size and
place on the canvas.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from portrayer.image.geometry import resize
from portrayer.image.source import strips
from portrayer.image.tiles import SIDE, Box, tiles
from portrayer.types import Image, Matte

FULL = 65535  # alpha 1 in a layer
LEVEL = FULL / 255  # of a layer, for one of a picture


@dataclass(frozen=True, slots=True)
class Length:
    """So many pixels, or (``relative``) so many hundredths of a whole."""

    value: float
    relative: bool

    def of(self, whole: float, pixel: float = 1.0) -> float:
        """In pixels; ``pixel``: how many of them one that was meant is."""
        return self.value / 100 * whole if self.relative else self.value * pixel


@dataclass(frozen=True, slots=True)
class Move:
    """Where a layer's pixels go on a canvas of its size: ``scale`` times (y, x), and then to
    (``top``, ``left``), coordinates counted from the corner of the first pixel.
    """

    scale: float
    top: float
    left: float


def region(
    corners: Sequence[Length], height: int, width: int, given: tuple[int, ...]
) -> Box | None:
    """The box in a photo (height, width) between two corners x1, y1, x2, y2; None if it is empty.

    ``given``: height and width of the photo whose pixels are meant.
    """
    spans = []
    for at, whole, own in ((1, height, given[0]), (0, width, given[1])):
        ends = (min(corners[k].of(whole, whole / own), whole) for k in (at, at + 2))
        low, high = sorted(ends)
        # What an end only touches is not in it, but for what the division has lost.
        span = slice(int(low + 1e-6), int(np.ceil(high - 1e-6)))
        if span.start >= span.stop:
            return None
        spans.append(span)
    return spans[0], spans[1]


def around(box: Box, margins: Sequence[Length], height: int, width: int) -> Box:
    """A box with room at its top, right, bottom and left, as far as the picture has it.

    What is relative is so to the box's longer side.
    """
    rows, columns = box
    longer = max(rows.stop - rows.start, columns.stop - columns.start)
    top, right, bottom, left = (round(margin.of(longer)) for margin in margins)
    return (
        slice(max(0, rows.start - top), min(height, rows.stop + bottom)),
        slice(max(0, columns.start - left), min(width, columns.stop + right)),
    )


def spread(part: NDArray[Any], box: Box, height: int, width: int) -> NDArray[Any]:
    """``part`` (h, w[, C]) in its ``box`` of a picture (height, width) that is 0 elsewhere."""
    if part.shape[:2] == (height, width):
        return part
    whole = np.zeros((height, width, *part.shape[2:]), part.dtype)
    whole[box] = part
    return whole


def framed(rows: Iterable[tuple[slice, Image]], part: Box, box: Box) -> Iterator[tuple[Box, Image]]:
    """Rows of a ``part`` of a picture, (h, w, 3) each, as pieces of what a ``box`` of the same
    picture shows: where in it, and what of them is seen there.
    """
    for span, colours in rows:
        starts = part[0].start + span.start, part[1].start
        ends = [
            (max(at, window.start), min(at + length, window.stop))
            for at, length, window in zip(starts, colours.shape[:2], box, strict=True)
        ]
        if all(low < high for low, high in ends):
            (y, here_y), (x, here_x) = (
                (slice(low - window.start, high - window.start), slice(low - at, high - at))
                for (low, high), window, at in zip(ends, box, starts, strict=True)
            )
            yield (y, x), colours[here_y, here_x]


def cut(image: Image) -> Iterator[tuple[Box, Image]]:
    """A picture (H, W, 3) in pieces: where in it, and their colours."""
    height, width = image.shape[:2]
    return (((rows, slice(0, width)), image[rows]) for rows in strips(height, width))


def move(subject: Box, canvas: Box, share: float | None, at: tuple[float, float] | None) -> Move:
    """What brings a subject to its size and place on a canvas, both of them boxes of one picture.

    ``share``: of the canvas that it just fits into, 0..1; None for its own size. ``at``: the parts
    (x, y) of the room it leaves that lie left of it and above it, 0..1; None for where it is, as
    nearly as all of it fits.
    """
    sides, room = ([span.stop - span.start for span in box] for box in (subject, canvas))
    scale = 1.0 if share is None else share * min(r / s for r, s in zip(room, sides, strict=True))
    shifts = []
    for k, part in enumerate(at[::-1] if at else (None, None)):
        start, side = subject[k].start - canvas[k].start, scale * sides[k]
        free = room[k] - side
        stays = min(max(start + (sides[k] - side) / 2, 0.0), free)
        shifts.append((stays if part is None else part * free) - scale * start)
    return Move(scale, *shifts)


def premultiplied(colours: Image, matte: Matte) -> NDArray[np.uint16]:
    """A layer (H, W, 4) uint16: RGB times alpha, and alpha, 1 of both as :data:`FULL`.

    Only so may pixels be averaged: what is not seen must not count.
    """
    height, width = matte.shape
    layer = np.empty((height, width, 4), np.uint16)
    for rows in strips(height, width):
        alpha = matte[rows, :, None]
        layer[rows, :, :3] = np.rint(colours[rows] * (alpha * np.float32(LEVEL)))
        layer[rows, :, 3:] = np.rint(alpha * np.float32(FULL))
    return layer


def layered(pieces: Iterable[tuple[Box, Image]], matte: Matte) -> NDArray[np.uint16]:
    """The :func:`premultiplied` layer (H, W, 4) of pieces of a picture; ``matte``: (H, W), 0 where
    none is.
    """
    layer = np.zeros((*matte.shape, 4), np.uint16)
    for place, colours in pieces:
        layer[place] = premultiplied(colours, matte[place])
    return layer


def straight(layer: NDArray[np.uint16]) -> tuple[Image, Matte]:
    """Colours (H, W, 3) and matte (H, W) of a :func:`premultiplied` layer; black where alpha is
    0.
    """
    height, width = layer.shape[:2]
    colours = np.empty((height, width, 3), np.uint8)
    matte = np.empty((height, width), np.float32)
    for rows in strips(height, width):
        *rgb, alpha = cv2.split(layer[rows])
        cv2.multiply(alpha, 1 / FULL, matte[rows], dtype=cv2.CV_32F)
        alpha = np.maximum(alpha, 1)
        colours[rows] = cv2.merge([cv2.divide(c, alpha, scale=255, dtype=cv2.CV_8U) for c in rgb])
    return colours, matte


def moved(layer: NDArray[Any], move: Move) -> NDArray[Any]:
    """A layer (H, W[, C]), premultiplied or one value a pixel, moved on a canvas of its own size
    that is 0 elsewhere.

    Area means when shrinking, bilinear when growing; at its own size to the nearest pixel, bit by
    bit as it was.
    """
    height, width = layer.shape[:2]
    scale, top, left = move.scale, move.top, move.left
    if scale < 1:
        layer = resize(layer, max(1, round(scale * height)), max(1, round(scale * width)))
    if scale <= 1:
        scale, top, left = 1.0, round(top), round(left)
    canvas = np.zeros((height, width, *layer.shape[2:]), layer.dtype)
    h, w = layer.shape[:2]
    # The layer ends at the corners of its outer pixels, not half way to them.
    first, start = max(0, round(top)), max(0, round(left))
    last, end = min(height, round(top + scale * h)), min(width, round(left + scale * w))
    for tile in tiles(max(0, last - first), max(0, end - start), SIDE, 0):
        rows, columns = (
            slice(span.start + by, span.stop + by)
            for span, by in zip(tile.inner, (first, start), strict=True)
        )
        y, x = _seen(rows, top, scale, h), _seen(columns, left, scale, w)
        shift = [
            scale * (seen.start + 0.5) + at - span.start - 0.5
            for seen, at, span in ((x, left, columns), (y, top, rows))
        ]
        matrix = np.array([(scale, 0, shift[0]), (0, scale, shift[1])])
        size = (columns.stop - columns.start, rows.stop - rows.start)
        canvas[rows, columns] = cv2.warpAffine(
            layer[y, x], matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
    return canvas


def _seen(span: slice, at: float, scale: float, length: int) -> slice:
    """What of a layer's side is needed for a stretch of the canvas."""
    low, high = (round((end - at) / scale) for end in (span.start, span.stop))
    return slice(min(max(0, low - 2), length - 1), min(length, max(high, 0) + 2))
