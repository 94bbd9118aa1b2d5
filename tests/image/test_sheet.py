"""Laws of the before/after sheet."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portrayer.image.sheet import GAP, HEIGHT, before_after, checkerboard
from portrayer.types import Image
from tests.image.pictures import scene


def cut(height: int, width: int, level: int) -> Image:
    """A disc of one grey level, cut out: zeros where it is not."""
    y, x = np.ogrid[:height, :width]
    inside = np.hypot(y - height / 2, x - width / 2) < min(height, width) / 3
    return np.where(inside[..., None], [level, level, level, 255], 0).astype(np.uint8)


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 20))
def test_a_checkerboard_alternates(height: int, width: int, square: int) -> None:
    """Two light greys of any size, each square unlike the ones beside it."""
    board = checkerboard(height, width, square)
    assert board.shape == (height, width, 3)
    assert set(np.unique(board)) <= {204, 255}
    assert (board[square:] != board[:-square]).all()
    assert (board[:, square:] != board[:, :-square]).all()


def test_a_row_for_each_pair() -> None:
    """Photos of unlike shapes share a sheet: one row each, four pictures in it, as wide as the
    widest."""
    shapes = [(300, 200), (100, 400)]
    sheet = before_after([(scene(*s), cut(*s, 90)) for s in shapes])
    assert sheet.shape == (2 * (HEIGHT + GAP), 4 * (4 * HEIGHT + GAP), 3)
    assert sheet.dtype == np.uint8


def test_a_row_shows_photo_checks_white_black() -> None:
    """From the left: the photo, then the cut-out over squares, white and black."""
    side = HEIGHT
    photo = scene(side, side)
    row = before_after([(photo, cut(side, side, 90))])
    tiles = [row[:side, i * (side + GAP) : i * (side + GAP) + side] for i in range(4)]
    assert (tiles[0] == photo).all()
    for tile, corner in zip(tiles[1:], (204, 255, 0), strict=True):
        assert (tile[0, 0] == corner).all()
        assert (tile[side // 2, side // 2] == 90).all()


@pytest.mark.parametrize("side", [1000, 150])
def test_resizing_makes_no_fringe(side: int) -> None:
    """A white disc over white is white: the sheet shows the cut-out's edges as they are."""
    row = before_after([(scene(side, side), cut(side, side, 255))])
    white = row[:HEIGHT, 2 * (HEIGHT + GAP) : 2 * (HEIGHT + GAP) + HEIGHT]
    assert white.min() >= 254
