"""Laws of placing: a subject keeps its colours and its shape, wherever it is brought."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portrayer.image import placing
from portrayer.image.placing import Length, Move
from portrayer.image.tiles import Box
from portrayer.types import Image, Matte

MARGINS = st.lists(st.builds(Length, st.integers(0, 60), st.booleans()), min_size=4, max_size=4)


@st.composite
def boxes(draw: st.DrawFn, height: int, width: int) -> Box:
    """Some part of a picture, of one pixel at least."""
    top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    bottom, right = draw(st.integers(top + 1, height)), draw(st.integers(left + 1, width))
    return slice(top, bottom), slice(left, right)


def disc(height: int = 60, width: int = 80, radius: float = 14) -> Matte:
    """A soft-edged disc in the middle."""
    y, x = np.ogrid[:height, :width]
    away = np.hypot(y - (height - 1) / 2, x - (width - 1) / 2)
    return np.clip((radius - away) / 3, 0, 1).astype(np.float32)


def noise(*shape: int, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@given(
    st.tuples(*[st.integers(0, 255)] * 3),
    st.floats(0.03, 8),
    st.floats(-60, 60),
    st.floats(-60, 60),
    st.sampled_from([0, 255]),
)
def test_no_fringe(
    colour: tuple[int, int, int], scale: float, top: float, left: float, around: int
) -> None:
    """A subject of one colour keeps it in every pixel that shows anything of it, whatever colour
    the pixels have that show nothing.
    """
    matte = disc()
    colours = np.where(matte[..., None] > 0, colour, around).astype(np.uint8)
    layer = placing.moved(placing.premultiplied(colours, matte), Move(scale, top, left))
    made, alpha = placing.straight(layer)
    shown = alpha >= 1 / 255
    assert np.abs(made[shown].astype(int) - colour).max(initial=0) <= 1
    assert (made[alpha == 0] == 0).all()


@given(st.integers(-90, 90), st.integers(-70, 70))
def test_what_keeps_its_size_keeps_its_bits(left: int, top: int) -> None:
    """A shift by whole pixels moves values and changes none; beyond the layer is nothing."""
    layer = noise(60, 80, 4).astype(np.uint16) * 257
    made = placing.moved(layer, Move(1.0, top, left))
    expected = np.zeros_like(layer)
    to, here = (
        np.s_[max(0, y) : max(0, 60 + min(y, 0)), max(0, x) : max(0, 80 + min(x, 0))]
        for y, x in ((top, left), (-top, -left))
    )
    expected[to] = layer[here]
    assert (made == expected).all()


def test_there_and_back() -> None:
    """Premultiplied and made straight again, colours are as they were within rounding, and the
    matte to a ten-thousandth.
    """
    matte = np.random.default_rng(1).random((300, 1000)).astype(np.float32)
    colours = noise(300, 1000, 3)
    made, alpha = placing.straight(placing.premultiplied(colours, matte))
    assert np.abs(alpha - matte).max() < 1e-4
    assert np.abs(made.astype(int) - colours)[matte > 0.004].max() <= 1


@pytest.mark.parametrize("scale", [0.1, 0.37, 0.5, 0.99, 1.01, 1.6, 2.5])
def test_size_and_place_are_what_was_said(scale: float) -> None:
    """As much is seen as the scale says, around the middle that was meant."""
    matte = disc(300, 400, 60)
    top, left = 150 - scale * 150 + 7, 200 - scale * 200 - 9
    made = placing.moved(matte, Move(scale, top, left))
    assert made.shape == matte.shape
    assert made.sum() == pytest.approx(scale**2 * matte.sum(), rel=0.01)
    y, x = (
        np.average(np.arange(n) + 0.5, weights=made.sum(1 - k)) for k, n in ((0, 300), (1, 400))
    )
    assert (y, x) == (pytest.approx(157, abs=0.6), pytest.approx(191, abs=0.6))


@given(st.floats(1.01, 9), st.floats(-150, 50), st.floats(-150, 50))
def test_growing_goes_by_the_middles_of_pixels(scale: float, top: float, left: float) -> None:
    """A ramp stays one, at the height that its place says, up to the layer's very edge; beyond it
    is nothing.
    """
    ramp = np.tile((np.arange(50, dtype=np.float32) + 0.5) / 50, (40, 1))
    made = placing.moved(ramp, Move(scale, top, left))
    rows, columns = (
        (np.arange(length) + 0.5 - start) / scale / length
        for length, start in ((40, top), (50, left))
    )
    down, across = (0.5 - np.abs(part - 0.5) for part in (rows, columns))  # how far inside
    inside = np.outer(down > 0, across > 0)
    exact = np.where(inside, np.clip(columns, 0.01, 0.99), 0)
    sure = np.outer(np.abs(down) > 1e-6, np.abs(across) > 1e-6)
    # OpenCV goes by 32nds of a pixel.
    assert np.abs(made - exact)[sure].max(initial=0) < 1 / 50 / 16


def test_a_layer_that_covers_the_canvas_has_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Grown, opaque stays opaque up to the border; and tiles do not show."""
    layer = placing.premultiplied(noise(50, 70, 3), np.ones((50, 70), np.float32))
    grown = placing.moved(layer, Move(3.3, -40, -61.7))
    assert (grown[..., 3] == placing.FULL).all()
    monkeypatch.setattr(placing, "SIDE", 16)
    small = placing.moved(layer, Move(3.3, -40, -61.7))
    assert np.abs(small.astype(int) - grown).max() <= 257
    assert (placing.moved(layer, Move(0.4, 3, 9))[3:23, 9:37, 3] == placing.FULL).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (90, 1), (3, 4000)])
@pytest.mark.parametrize("scale", [0.001, 0.5, 1.0, 40.0])
def test_any_shape(size: tuple[int, int], scale: float) -> None:
    """One pixel and ribbons, far too small and far too large: a canvas of the layer's size."""
    layer = np.full((*size, 4), placing.FULL, np.uint16)
    for shift in (0.0, -17.5, 5000.0):
        assert placing.moved(layer, Move(scale, shift, shift)).shape == layer.shape


@given(st.data(), st.integers(1, 60), st.integers(1, 60))
def test_a_subject_fits_its_canvas(drawn: st.DataObject, height: int, width: int) -> None:
    """At its own size or a share of the canvas, wherever it is put, all of it is on the canvas; at
    a share one of its sides is just that.
    """
    canvas = drawn.draw(boxes(height, width))
    sides = [span.stop - span.start for span in canvas]
    inner = drawn.draw(boxes(*sides))
    subject = tuple(
        slice(i.start + c.start, i.stop + c.start) for i, c in zip(inner, canvas, strict=True)
    )
    share = drawn.draw(st.none() | st.floats(0.1, 1))
    at = drawn.draw(st.none() | st.tuples(st.floats(0, 1), st.floats(0, 1)))
    made = placing.move((subject[0], subject[1]), canvas, share, at)
    lengths = [span.stop - span.start for span in inner]
    spans = [
        (start + made.scale * span.start, start + made.scale * span.stop)
        for start, span in zip((made.top, made.left), inner, strict=True)
    ]
    for (low, high), side in zip(spans, sides, strict=True):
        assert low > -1e-6
        assert high < side + 1e-6
    if share is None:
        assert made.scale == 1
    else:
        shares = [made.scale * n / side for n, side in zip(lengths, sides, strict=True)]
        assert max(shares) == pytest.approx(share)
    if at is not None:
        for (low, high), side, part in zip(spans, sides, at[::-1], strict=True):
            assert low == pytest.approx(part * (side - (high - low)), abs=1e-6)
    elif share is None:
        assert (made.top, made.left) == (0, 0)


def test_where_it_is_means_its_middle() -> None:
    """Scaled without a place, it grows around its middle, and is pushed inwards at the border."""
    canvas = (slice(0, 100), slice(0, 200))
    made = placing.move((slice(40, 60), slice(90, 110)), canvas, 0.4, None)
    assert made == Move(2.0, -50.0, -100.0)
    pushed = placing.move((slice(80, 100), slice(0, 20)), canvas, 0.4, None)
    assert (pushed.top + 2 * 80, pushed.left) == (60, 0)


PERCENT, PIXEL = True, False


def corners(*values: float, relative: bool) -> list[Length]:
    return [Length(value, relative) for value in values]


@pytest.mark.parametrize(
    ("said", "relative", "rows", "columns"),
    [
        ((0, 0, 100, 100), PERCENT, (0, 30), (0, 50)),
        ((10, 20, 60, 70), PERCENT, (6, 21), (5, 30)),
        ((60, 70, 10, 20), PERCENT, (6, 21), (5, 30)),
        ((60, 20, 10, 70), PERCENT, (6, 21), (5, 30)),
        ((0, 0, 99999, 99999), PIXEL, (0, 30), (0, 50)),
        ((10, 20, 60, 40), PIXEL, (10, 20), (5, 30)),
        ((0, 0, 1, 1), PERCENT, (0, 1), (0, 1)),
    ],
)
def test_a_region(
    said: tuple[float, ...], relative: bool, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    """Between any two opposite corners; pixels are those of the photo before it was made half as
    large; what is touched is in it.
    """
    box = placing.region(corners(*said, relative=relative), 30, 50, (60, 100))
    assert box == (slice(*rows), slice(*columns))


@pytest.mark.parametrize("said", [(5, 5, 5, 9), (1, 4, 9, 4), (100, 0, 300, 9), (0, 60, 9, 90)])
def test_no_region(said: tuple[float, ...]) -> None:
    """Without width or height, or beyond the photo, there is none."""
    assert placing.region(corners(*said, relative=PIXEL), 60, 100, (60, 100)) is None


@given(st.lists(st.floats(0, 100), min_size=4, max_size=4), st.integers(1, 99), st.integers(1, 99))
def test_a_region_is_a_part_of_the_photo(said: list[float], height: int, width: int) -> None:
    """Of one pixel at least, and never beyond it."""
    box = placing.region(corners(*said, relative=PERCENT), height, width, (height, width))
    if box is not None:
        for span, length in zip(box, (height, width), strict=True):
            assert 0 <= span.start < span.stop <= length


@given(st.data(), MARGINS)
def test_room_around(drawn: st.DataObject, margins: list[Length]) -> None:
    """Top, right, bottom, left, in pixels or hundredths of the longer side, and no further than
    the picture goes.
    """
    box = drawn.draw(boxes(50, 70))
    rows, columns = placing.around(box, margins, 50, 70)
    longer = max(span.stop - span.start for span in box)
    top, right, bottom, left = (
        round(m.value / 100 * longer) if m.relative else m.value for m in margins
    )
    assert rows == slice(max(0, box[0].start - top), min(50, box[0].stop + bottom))
    assert columns == slice(max(0, box[1].start - left), min(70, box[1].stop + right))


@given(st.data())
def test_spread_out_a_part_lies_where_it_was(drawn: st.DataObject) -> None:
    """And nothing lies beside it; of the whole it is the very same array."""
    box = drawn.draw(boxes(9, 12))
    whole = np.maximum(noise(9, 12, 3), 1)
    made = placing.spread(whole[box], box, 9, 12)
    assert (made[box] == whole[box]).all()
    assert np.count_nonzero(made) == whole[box].size
    assert placing.spread(whole, box, 9, 12) is whole
