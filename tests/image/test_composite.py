"""Laws of composites: clean colours, straight alpha, and backgrounds without the person in them."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from portrayer.image.composite import (
    blurred,
    confined,
    cover,
    cutout,
    foreground,
    laid,
    over,
    over_colour,
    quantise,
)
from portrayer.image.geometry import limit
from portrayer.types import Image, Matte
from tests.image.pictures import scene
from tests.image.scenes import Blend, blend

COLOURS = st.tuples(*[st.integers(0, 255)] * 3)


@pytest.fixture(scope="module", params=[240, 700])
def known(request: pytest.FixtureRequest) -> Blend:
    return blend(request.param)


@pytest.fixture(scope="module")
def cleaned(known: Blend) -> Image:
    return whole(foreground(known.photo, limit(known.photo, 384), known.matte))


def whole(parts: Iterable[tuple[slice, Image]]) -> Image:
    """Rows of a photo put together; each follows the one before."""
    rows, colours = zip(*parts, strict=True)
    assert [r.start for r in rows] == [0, *(r.stop for r in rows[:-1])]
    assert [len(c) for c in colours] == [r.stop - r.start for r in rows]
    return np.vstack(colours)


def mixed(front: NDArray[Any], matte: Matte, back: NDArray[Any]) -> NDArray[np.float64]:
    """What a camera would see of ``front`` before ``back``."""
    share = matte[..., None].astype(float)
    return np.asarray(share * front + (1 - share) * back)


def mean_error(one: NDArray[np.generic], other: NDArray[np.generic], where: Matte) -> float:
    return float(np.abs(one.astype(float) - other)[where > 0].mean())


def patterned(height: int, width: int) -> Matte:
    """A matte with every value from 0 to 1, hard and soft edges."""
    noise = np.random.default_rng(5).random((height, width)) * 1.6 - 0.3
    return np.clip(noise, 0, 1).astype(np.float32)


def test_colours_are_the_foregrounds_own(known: Blend, cleaned: Image) -> None:
    """In the soft band the colours are at least twice as close to the true foreground's as the
    photo is, and they lean little to the dark or to the background's tone."""
    soft = ((known.matte > 0.1) & (known.matte < 0.95)).astype(np.float32)
    before = mean_error(known.photo, known.front, soft)
    assert mean_error(cleaned, known.front, soft) < before / 2
    lean = (cleaned.astype(float) - known.front)[soft > 0].mean(0)
    pull = (known.back.astype(float) - known.front)[soft > 0].mean(0)
    assert np.abs(lean).max() < 24
    assert abs(lean @ pull) < 0.18 * (pull @ pull)


def test_over_its_own_background_the_photo_comes_back(known: Blend, cleaned: Image) -> None:
    """Cut out and put back where it stood, the person looks as in the photo."""
    again = over(cleaned, known.matte, known.back)
    away = np.abs(again.astype(int) - known.photo)
    assert away.mean() < 1
    assert np.quantile(away, 0.99) <= 12


@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), (20, 160, 40), (230, 30, 30)])
def test_over_another_background_it_is_the_person(
    known: Blend, cleaned: Image, colour: tuple[int, int, int]
) -> None:
    """Over any background, the result is closer to the true person there than what the photo's own
    colours give, straight or multiplied by alpha once more."""
    ground = np.full_like(known.photo, colour)
    soft = ((known.matte > 0.02) & (known.matte < 0.98)).astype(np.float32)
    wanted = mixed(known.front, known.matte, ground)
    dimmed = np.rint(known.photo * known.matte[..., None]).astype(np.uint8)
    ours, naive, dark = (
        mean_error(over(f, known.matte, ground), wanted, soft)
        for f in (cleaned, known.photo, dimmed)
    )
    assert ours < naive / 2
    assert ours < dark / 2


def test_what_is_decided_keeps_its_colours(known: Blend, cleaned: Image) -> None:
    """Where the matte is 1 the photo's colours are the person's, to a level or so."""
    assert np.abs(cleaned.astype(int) - known.photo)[known.matte == 1].max() <= 2


@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from([0.0, 0.5, 1.0, None]))
def test_any_size_and_matte_has_colours(height: int, width: int, level: float | None) -> None:
    """Tiny photos and flat mattes are no exceptions; the photo is only read."""
    photo = scene(height, width)
    before = photo.copy()
    matte = patterned(height, width)
    if level is not None:
        matte[:] = level
    colours = whole(foreground(photo, limit(photo, 24), matte))
    assert colours.shape == photo.shape
    assert colours.dtype == np.uint8
    assert (photo == before).all()
    if level in (0, 1):
        assert (colours == photo).all()


@given(st.integers(1, 40), st.integers(1, 40))
def test_nothing_hides_under_alpha_zero(height: int, width: int) -> None:
    """A cut-out is straight RGBA: the matte rounded, the colours unchanged where anything is seen,
    and zero where nothing is."""
    photo, matte = scene(height, width), patterned(height, width)
    cut = cutout(photo, matte)
    assert cut.shape == (height, width, 4)
    assert cut.dtype == np.uint8
    alpha = cut[..., 3]
    assert np.abs(alpha - matte * 255.0).max() <= 0.51
    assert (cut[..., :3][alpha == 0] == 0).all()
    assert (cut[..., :3][alpha > 0] == photo[alpha > 0]).all()


def test_quantising_rounds() -> None:
    """0..1 to 0..255, the nearest level, ends exact."""
    levels = np.linspace(0, 1, 256, dtype=np.float32)[None]
    assert (quantise(levels) == np.arange(256)).all()
    near = np.array([[0, 1, 0.499 / 255, 0.501 / 255]], np.float32)
    assert (quantise(near) == [0, 255, 0, 1]).all()


@given(st.integers(1, 40), st.integers(1, 40))
def test_over_is_the_usual_mix(height: int, width: int) -> None:
    """matte * front + (1 - matte) * back, rounded; exactly one of the two where it is decided."""
    front, matte = scene(height, width), patterned(height, width)
    back = 255 - front[::-1]
    result = over(front, matte, back)
    assert np.abs(result - mixed(front, matte, back)).max() <= 0.52
    assert (result[matte == 1] == front[matte == 1]).all()
    assert (result[matte == 0] == back[matte == 0]).all()


@given(COLOURS)
def test_over_an_opaque_colour(colour: tuple[int, int, int]) -> None:
    """RGB without alpha, the same as over a picture of that colour."""
    front, matte = scene(9, 14), patterned(9, 14)
    result = over_colour(front, matte, (*colour, 255))
    assert (result == over(front, matte, np.full_like(front, colour))).all()


@given(COLOURS, st.integers(0, 254), COLOURS)
@example((255, 255, 255), 0, (10, 20, 30))
@example((255, 255, 255), 1, (0, 0, 0))
def test_over_a_translucent_colour(
    colour: tuple[int, int, int], opacity: int, wall: tuple[int, int, int]
) -> None:
    """RGBA that, laid over any wall, shows the person before the colour before the wall."""
    front, matte = scene(9, 14), patterned(9, 14)
    sheet = over_colour(front, matte, (*colour, opacity))
    assert sheet.shape == (9, 14, 4)
    assert (sheet[..., :3][sheet[..., 3] == 0] == 0).all()
    ground = np.full_like(front, wall)
    veil = np.full_like(matte, opacity / 255)
    wanted = mixed(front, matte, mixed(np.full_like(front, colour), veil, ground))
    seen = mixed(sheet[..., :3], sheet[..., 3] * np.float32(1 / 255), ground)
    assert np.abs(seen - wanted).max() <= 1.6


def test_over_a_colour_that_is_not_there() -> None:
    """A wholly transparent colour is no background at all."""
    front, matte = scene(20, 30), patterned(20, 30)
    sheet, cut = over_colour(front, matte, (9, 9, 9, 0)), cutout(front, matte)
    assert np.abs(sheet.astype(int) - cut).max() <= 1


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(0, 255))
def test_pieces_make_what_the_whole_would(height: int, width: int, at: int, opacity: int) -> None:
    """Laid piece by piece, a picture is the one laid at once; where no piece lies and the matte is
    0, too."""
    photo, matte = scene(height, width), patterned(height, width)
    matte[at:] = 0
    pieces = [
        ((slice(y, min(y + 7, at, height)), slice(0, width)), photo[y : min(y + 7, at)])
        for y in range(0, min(at, height), 7)
    ]
    for lay in (cutout, partial(over_colour, colour=(9, 80, 200, opacity))):
        assert (laid(pieces, matte, lay) == lay(photo, matte)).all()


@pytest.mark.parametrize("side", [60, 900])
def test_a_blurred_background_is_without_the_person(side: int) -> None:
    """Nothing of the person's colour is smeared around them, nor left where they stood."""
    y, x = np.mgrid[:side, :side] / side
    matte = (np.hypot(y - 0.6, x - 0.5) < 0.25).astype(np.float32)
    wall = np.dstack([np.zeros_like(x), 80 + 80 * y, 90 + 90 * x]).astype(np.uint8)
    photo = np.where(matte[..., None] > 0, np.array([255, 0, 0], np.uint8), wall).astype(np.uint8)
    behind = blurred(photo, matte)
    assert behind.shape == photo.shape
    assert behind[..., 0].max() < 20
    outside = np.hypot(y - 0.6, x - 0.5) > 0.4
    assert np.abs(behind.astype(int) - wall)[outside].mean() < 6


def test_a_blurred_background_is_out_of_focus() -> None:
    """Detail goes, and more of it with more strength; flat parts stay."""
    photo, matte = scene(200, 300), np.zeros((200, 300), np.float32)
    detail = [float(blurred(photo, matte, s).std()) for s in (0.005, 0.02, 0.1)]
    assert photo.std() > detail[0] > detail[1] > detail[2]
    flat = np.full((64, 80, 3), 77, np.uint8)
    assert np.abs(blurred(flat, matte[:64, :80]).astype(int) - 77).max() <= 1


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (7, 9)])
@pytest.mark.parametrize("level", [0, 1])
def test_blurring_anything_works(size: tuple[int, int], level: int) -> None:
    """Tiny photos, nothing but background, nothing but person."""
    behind = blurred(scene(*size), np.full(size, level, np.float32))
    assert behind.shape == (*size, 3)


@given(*[st.integers(1, 90)] * 4, st.integers(0, 255))
def test_a_cover_fills_exactly(h: int, w: int, height: int, width: int, level: int) -> None:
    """Every pixel of the frame is covered by the picture, whatever the two shapes; the frame may be
    written on, and the picture is only read."""
    back = np.full((h, w, 3), level, np.uint8)
    back.flags.writeable = False
    filled = cover(back, height, width)
    assert filled.shape == (height, width, 3)
    assert filled.flags.c_contiguous
    assert filled.flags.writeable
    assert (filled == level).all()


@pytest.mark.parametrize("frame", [(40, 40), (80, 40), (40, 160)])
def test_a_cover_is_centred(frame: tuple[int, int]) -> None:
    """The middle of the picture is the middle of the frame, and nothing is distorted."""
    y, x = np.mgrid[:60, :120] - np.array([29.5, 59.5])[:, None, None]
    back = np.dstack([127 + y, 127 + x, 127 + 0 * x]).astype(np.uint8)
    filled = cover(back, *frame).astype(float)
    scale = max(frame[0] / 60, frame[1] / 120)
    middle = filled[frame[0] // 2 - 1 : frame[0] // 2 + 1, frame[1] // 2 - 1 : frame[1] // 2 + 1]
    assert np.abs(middle[..., :2].mean((0, 1)) - 126.5).max() < 1.5
    step = np.diff(filled[5:-5, 5:-5, 0].mean(1)).mean()
    assert step == pytest.approx(1 / scale, rel=0.1)


def test_a_cover_takes_no_more_than_it_shows() -> None:
    """A wide picture behind a tall photo is not blown up where it is not seen."""
    back = np.zeros((10, 1000, 3), np.uint8)
    tracemalloc.start()
    try:
        cover(back, 1000, 10)
        assert tracemalloc.get_traced_memory()[1] < 2**21
    finally:
        tracemalloc.stop()


def test_what_lies_beside_the_picture_confines_nothing() -> None:
    """A box outside the frame, or between two pixels, leaves every pixel the ground's."""
    ground, image = np.zeros((20, 30, 3), np.uint8), np.full((20, 30, 3), 200, np.uint8)
    ground.flags.writeable = False
    boxes = [(-9.0, 2, 5, 5), (40, 2, 5, 5), (3, -9, 5, 5), (3, 40, 5, 5), (5.2, 5, 0.5, 5)]
    assert (confined(image.copy(), ground, boxes) == ground).all()
    assert (confined(image.copy(), ground, [*boxes, (10, 5, 10, 10)])[10, 15] == 200).all()


def test_what_is_confined_takes_no_other_photo() -> None:
    """The result lies where the image lay: of a large photo only a strip is held beside it."""
    ground, image = np.zeros((1500, 2000, 3), np.uint8), np.full((1500, 2000, 3), 200, np.uint8)
    tracemalloc.start()
    try:
        made = confined(image, ground, [(100, 100, 1800, 1300), (0, 0, 900, 900)])
        assert tracemalloc.get_traced_memory()[1] < ground.nbytes
    finally:
        tracemalloc.stop()
    assert made is image
    assert (made[600, 1000] == 200).all()
    assert not made[1450:].any()
