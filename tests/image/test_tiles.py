"""Laws of tiles: they cover a picture once, and nobody can see where they met."""

from __future__ import annotations

import tracemalloc

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from portrayer.image.tiles import SIDE, tiled, tiles
from portrayer.types import Image

LENGTHS = st.integers(1, 90)


def pixels(height: int, width: int, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def near(image: Image, radius: int) -> Image:
    """The lightest value within ``radius`` pixels."""
    return cv2.dilate(image, np.ones((2 * radius + 1,) * 2, np.uint8))


@given(LENGTHS, LENGTHS, st.integers(1, 40), st.integers(0, 20))
@example(1, 1, 1, 0)
@example(64, 65, 32, 8)
def test_tiles_cover_a_picture_once(height: int, width: int, side: int, overlap: int) -> None:
    """Each pixel is written once and read with all that lies ``overlap`` pixels around it; no tile
    is larger than its side and the overlap around it."""
    count = np.zeros((height, width), int)
    for tile in tiles(height, width, side, overlap):
        count[tile.inner] += 1
        for length, padded, inner in zip((height, width), tile.padded, tile.inner, strict=True):
            assert inner.start % side == 0
            assert 0 < inner.stop - inner.start <= side
            assert padded.start == max(0, inner.start - overlap)
            assert padded.stop == min(length, inner.stop + overlap)
        grid = np.arange(height * width).reshape(height, width)
        assert (grid[tile.padded][tile.kept] == grid[tile.inner]).all()
    assert (count == 1).all()


@given(LENGTHS, LENGTHS, st.integers(1, 40), st.integers(0, 6), st.integers(0, 5))
@example(90, 1, 7, 6, 0)
def test_a_near_sighted_function_never_notices(
    height: int, width: int, side: int, radius: int, extra: int
) -> None:
    """Whatever looks no further than the overlap gives the same tile by tile as at once, to the
    last bit, also when it answers with another shape and type."""
    picture = pixels(height, width)

    def whole(part: Image) -> Image:
        return near(part, radius)

    def grey(part: Image) -> np.ndarray:
        return near(part, radius).astype(np.float32).sum(2)

    for function in (whole, grey):
        once = function(picture)
        pieces = tiled(picture, function, side=side, overlap=radius + extra)
        assert pieces.dtype == once.dtype
        assert pieces.shape == once.shape
        assert (pieces == once).all()


def test_what_goes_by_twos_does_so_in_every_tile() -> None:
    """A pyramid step and back meets without a seam where side and overlap are even, whatever the
    picture's size."""

    def there_and_back(part: Image) -> Image:
        return cv2.pyrUp(cv2.pyrDown(part), dstsize=part.shape[1::-1])

    for size in ((61, 90), (64, 33)):
        picture = pixels(*size)
        pieces = tiled(picture, there_and_back, side=16, overlap=8)
        assert (pieces == there_and_back(picture)).all()


def test_the_picture_is_only_read() -> None:
    """What was given stays as it was, and the result is another array."""
    picture = pixels(50, 70)
    before = picture.copy()
    result = tiled(picture, lambda part: part, side=32, overlap=4)
    assert (result == before).all()
    result[:] = 0
    assert (picture == before).all()


@pytest.mark.parametrize("size", [(2 * SIDE, 2 * SIDE), (2 * SIDE, 4 * SIDE)])
def test_memory_is_that_of_one_tile(size: tuple[int, int]) -> None:
    """Besides the result, a function that takes forty bytes a pixel needs them for a tile alone,
    however large the picture is."""
    picture = np.zeros((*size, 3), np.uint8)

    def hungry(part: Image) -> Image:
        return (np.ones((*part.shape[:2], 5)).sum(2, keepdims=True) * part).astype(np.uint8)

    tracemalloc.start()
    result = tiled(picture, hungry, overlap=16)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < result.nbytes + 100 * (SIDE + 32) ** 2
