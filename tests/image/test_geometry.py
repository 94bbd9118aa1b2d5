"""Laws of the letterbox: where a picture goes, and that it comes back unmoved."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from portrayer.image.geometry import PAD, Fit, crop, fit, limit, resize, unfit
from portrayer.types import Image
from tests.image.pictures import scene

SIDES = st.sampled_from([32, 64, 97, 384])


@st.composite
def sizes(draw: st.DrawFn) -> tuple[int, int]:
    """(height, width): from one pixel up, with sides up to 50 times as long as each other."""
    short, ratio = draw(st.integers(1, 60)), draw(st.floats(1, 50))
    pair = (short, round(short * ratio))
    return pair if draw(st.booleans()) else pair[::-1]


def centres(count: int) -> np.ndarray:
    """Coordinates of the middles of ``count`` pixels in a row."""
    return np.arange(count, dtype=np.float32) + np.float32(0.5)


@given(sizes(), SIDES)
@example((1, 1), 384)
@example((1, 3000), 384)
@example((3000, 40), 384)
@example((384, 384), 384)
def test_the_square_holds_the_picture_and_grey(size: tuple[int, int], side: int) -> None:
    """The square is exactly side x side; the content fills its long side, is centred, and only
    grey lies around it."""
    picture = np.full((*size, 3), 7, np.uint8)
    square, where = fit(picture, side)
    top, left, bottom, right = where.box
    assert square.shape == (side, side, 3)
    assert square.dtype == np.uint8
    assert (where.height, where.width) == size
    assert max(bottom - top, right - left) == side
    assert abs(top - (side - bottom)) <= 1
    assert abs(left - (side - right)) <= 1
    scale = side / max(size)
    assert abs((bottom - top) - max(1.0, size[0] * scale)) <= 0.5
    assert abs((right - left) - max(1.0, size[1] * scale)) <= 0.5
    outside = np.ones((side, side), bool)
    outside[top:bottom, left:right] = False
    assert (square[outside] == PAD).all()
    assert (crop(square, where) == 7).all()


@given(sizes(), SIDES)
def test_a_smooth_map_survives_the_way_there_and_back(size: tuple[int, int], side: int) -> None:
    """unfit(fit(x)) has the size of x, and its values where x is smooth."""
    y, x = (np.cos(np.pi * centres(n) / n) for n in size)
    picture = np.rint(127 + 60 * (y[:, None] + x[None])).astype(np.uint8)[..., None].repeat(3, 2)
    square, where = fit(picture, side)
    back = unfit(square, where)
    assert back.shape == picture.shape
    # A cosine over n samples is told by straight lines to within 1 - cos(pi / n).
    content = crop(square, where).shape
    steps = min(
        (min(pair) for pair in zip(size, content, strict=False) if max(pair) > 1), default=9
    )
    assume(steps >= 6)
    loss = 120 * (1 - np.cos(np.pi / steps))
    assert np.abs(back.astype(int) - picture).max() <= 3 + loss


@given(sizes(), SIDES)
@example((40, 3000), 384)
@example((1999, 40), 384)
def test_a_ramp_is_not_shifted(size: tuple[int, int], side: int) -> None:
    """What lies at a place in the photo lies at the same place in the square, and back: within
    half a pixel of the smaller of the two."""
    height, width = size
    _, where = fit(np.zeros((*size, 3), np.uint8), side)
    h, w = crop(np.zeros((side, side)), where).shape
    for old, new, axis in ((height, h, 0), (width, w, 1)):
        ramp = np.broadcast_to(np.expand_dims(centres(old), 1 - axis), size).astype(np.float32)
        there = resize(ramp, h, w).mean(1 - axis)
        assert np.abs(there / old - centres(new) / new).max() <= 0.501 / min(old, new)
        square = np.zeros((side, side), np.float32)
        row = np.expand_dims(centres(new), 1 - axis)
        crop(square, where)[:] = np.broadcast_to(row, (h, w))
        back = unfit(square, where).mean(1 - axis)
        assert np.abs(back / new - centres(old) / old).max() <= 0.501 / min(old, new)


@given(sizes(), sizes(), st.integers(0, 255))
def test_a_flat_picture_stays_flat(old: tuple[int, int], new: tuple[int, int], level: int) -> None:
    """From any size to any other, one colour remains that colour."""
    flat = resize(np.full((*old, 3), level, np.uint8), *new)
    assert flat.shape == (*new, 3)
    assert (flat == level).all()


@pytest.mark.parametrize("factor", [2, 3, 4, 6, 8])
def test_shrinking_takes_means(factor: int) -> None:
    """Every pixel of a shrunk picture is the mean of those it stands for: no detail is skipped, so
    none can turn into moiré."""
    picture = np.random.default_rng(0).random((24 * factor, 10 * factor), np.float32)
    means = picture.reshape(24, factor, 10, factor).mean((1, 3))
    np.testing.assert_allclose(resize(picture, 24, 10), means, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [(), (3,), (4,)])
def test_resizing_keeps_kind_and_channels(dtype: type, channels: tuple[int, ...]) -> None:
    """Only the size changes."""
    for height, width in ((5, 7), (40, 9), (9, 40), (60, 70), (1, 1)):
        resized = resize(np.ones((23, 31, *channels), dtype), height, width)
        assert resized.shape == (height, width, *channels)
        assert resized.dtype == dtype


def test_resizing_to_the_same_size_costs_nothing() -> None:
    """The very same array comes back."""
    picture = scene(9, 13)
    assert resize(picture, 9, 13) is picture


def test_fitting_leaves_the_photo_alone() -> None:
    """The photo is read, never written."""
    picture = scene(64, 64)
    before = picture.copy()
    square, _ = fit(picture, 64)
    square[:] = 0
    assert (picture == before).all()


@given(sizes(), st.integers(1, 200))
def test_limit_bounds_the_long_side(size: tuple[int, int], side: int) -> None:
    """The long side ends at the limit, the shape stays, and what is small enough is not touched."""
    picture: Image = np.zeros((*size, 3), np.uint8)
    limited = limit(picture, side)
    if max(size) <= side:
        assert limited is picture
        return
    scale = side / max(size)
    assert max(limited.shape[:2]) == side
    for new, old in zip(limited.shape, size, strict=False):
        assert abs(new - max(1.0, old * scale)) <= 0.5


def test_no_limit_is_no_limit() -> None:
    """0 leaves any photo as it is."""
    picture = scene(3, 500)
    assert limit(picture, 0) is picture


def test_crop_is_a_view() -> None:
    """The content is looked at where it is, not copied."""
    square = np.zeros((8, 8), np.float32)
    part = crop(square, Fit(40, 80, (2, 0, 6, 8)))
    assert part.shape == (4, 8)
    assert np.shares_memory(part, square)
