"""A picture worked on piece by piece, in the memory of one piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Box = tuple[slice, slice]

SIDE = 1024  # pixels of a tile: what it needs is small beside a photo, and its rim beside it


@dataclass(frozen=True, slots=True)
class Tile:
    """A piece of a picture: ``padded`` is read, ``inner`` is written; rows, then columns.

    The inner boxes of all tiles cover the picture once.
    """

    padded: Box
    inner: Box

    @property
    def kept(self) -> Box:
        """The inner box, counted from the padded one's corner."""
        rows, columns = (
            slice(inner.start - padded.start, inner.stop - padded.start)
            for padded, inner in zip(self.padded, self.inner, strict=True)
        )
        return rows, columns


def tiles(height: int, width: int, side: int, overlap: int) -> Iterator[Tile]:
    """The tiles of a picture (height, width), row by row: at most ``side`` pixels a side, and
    ``overlap`` more, where the picture has them, to read around.
    """
    for padded_rows, rows in _spans(height, side, overlap):
        for padded_columns, columns in _spans(width, side, overlap):
            yield Tile((padded_rows, padded_columns), (rows, columns))


def tiled(
    image: NDArray[Any],
    function: Callable[[NDArray[Any]], NDArray[Any]],
    *,
    side: int = SIDE,
    overlap: int,
) -> NDArray[Any]:
    """``function(image)``, tile by tile: the same to the last bit for a function that looks no
    further than ``overlap`` pixels around each.

    ``image``: (H, W[, C]); ``function`` takes a part of it and returns an array of the part's
    height and width. What depends on the whole picture is measured before. Besides the picture and
    the result, memory holds what one tile needs.
    """
    height, width = image.shape[:2]
    result: NDArray[Any] | None = None
    for tile in tiles(height, width, side, overlap):
        part = function(image[tile.padded])
        if result is None:
            result = np.empty((height, width, *part.shape[2:]), part.dtype)
        result[tile.inner] = part[tile.kept]
    return function(image) if result is None else result


def _spans(length: int, side: int, overlap: int) -> Iterator[tuple[slice, slice]]:
    """One axis, with and without what lies around each stretch.

    Stretches start at multiples of ``side``: what goes by twos, or by JPEG's blocks of eight, does
    so in every tile alike.
    """
    for start in range(0, length, side):
        stop = min(start + side, length)
        yield slice(max(0, start - overlap), min(length, stop + overlap)), slice(start, stop)
