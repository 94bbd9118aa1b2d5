"""Laws of mattes: edges where the photo has them, nothing else changed, every step in its range."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from portrayer.image.geometry import resize
from portrayer.image.matte import (
    bounds,
    closed_form,
    contract,
    drop_islands,
    erode,
    feather,
    fill_doubts,
    lift,
    refine,
    settle,
    subject,
)
from portrayer.types import Matte
from tests.image.pictures import scene
from tests.image.scenes import Colour, Scene, blend, disc, half_plane, photograph

SMALL = 64  # what a network sees of the photos below, at an eighth of their size
SKIN, WALL, SHIRT, NIGHT = (205, 150, 125), (90, 120, 150), (245, 240, 235), (25, 25, 40)
PAIRS = [(SKIN, WALL), (SHIRT, WALL), (NIGHT, WALL), (SKIN, NIGHT)]
KINDS = st.sampled_from(["noise", "zeros", "ones", "grey", "line", "disc"])


def matte_of(kind: str, height: int, width: int) -> Matte:
    """A matte (height, width) of some kind."""
    y, x = np.ogrid[:height, :width]
    made = {
        "noise": np.random.default_rng(3).random((height, width)),
        "zeros": np.zeros((height, width)),
        "ones": np.ones((height, width)),
        "grey": np.full((height, width), 0.5),
        "line": np.broadcast_to(x == width // 2, (height, width)),
        "disc": np.clip(min(height, width) / 3 - np.hypot(y - height / 2, x - width / 2), 0, 1),
    }[kind]
    return np.ascontiguousarray(made, np.float32)


def rough(distance: np.ndarray, softness: float = 0.5) -> Matte:
    """What a network at an eighth of the size would say: the truth, small and out of focus."""
    truth = np.clip(distance + 0.5, 0, 1).astype(np.float32)
    small: Matte = cv2.GaussianBlur(resize(truth, SMALL, SMALL), (0, 0), softness)
    return small


@pytest.fixture(scope="module")
def portrait() -> Scene:
    return photograph(disc(8 * SMALL, 150.3), SKIN, WALL, 2)


@pytest.mark.parametrize(("front", "back"), PAIRS)
@pytest.mark.parametrize("angle", [0, 0.3, math.pi / 4, 2, 5])
def test_edges_lie_where_the_photo_has_them(front: Colour, back: Colour, angle: float) -> None:
    """From a soft matte at an eighth of the size, the half-way contour ends within 1.5 pixels of
    the true edge, straight or round, and little that is soft is left beside it."""
    for distance in (half_plane(8 * SMALL, angle, 2.7), disc(8 * SMALL, 140 + 10 * angle)):
        shot = photograph(distance, front, back, 2)
        small = resize(shot.photo, SMALL, SMALL)
        fine = refine(shot.photo, small, rough(distance))
        inner = (slice(24, -24),) * 2  # the photo's own border has only half a neighbourhood
        away = np.abs(distance[inner])
        sure = away > 1.5
        assert ((fine[inner] > 0.5) == (distance[inner] > 0))[sure].all()
        assert np.abs(fine - shot.truth)[inner][away > 3].max() < 0.25


def test_refining_beats_resizing(portrait: Scene) -> None:
    """A refined matte is at least twice as close to the truth as the one it was made from."""
    low = rough(portrait.distance)
    fine = refine(portrait.photo, resize(portrait.photo, SMALL, SMALL), low)
    plain = resize(low, *portrait.truth.shape)
    assert np.abs(fine - portrait.truth).mean() < np.abs(plain - portrait.truth).mean() / 2


def test_what_is_decided_stays(portrait: Scene) -> None:
    """Far from the soft band a matte is what a resize makes of it, whatever the photo shows."""
    small = resize(portrait.photo, SMALL, SMALL)
    low = np.clip((rough(portrait.distance) - 0.2) / 0.6, 0, 1).astype(np.float32)
    busy = scene(*portrait.truth.shape)  # edges everywhere
    fine = refine(busy, small, low)
    plain = resize(low, *fine.shape)
    soft = ((low > 0) & (low < 1)).astype(np.uint8)
    reach = cv2.dilate(soft, np.ones((15, 15), np.uint8))
    far = resize(reach, *fine.shape) == 0
    assert far.mean() > 0.3
    assert np.abs(fine - plain)[far].max() < 1e-3


@given(KINDS, st.integers(1, 70), st.integers(1, 70), st.integers(1, 24), st.integers(1, 24))
@example("noise", 1, 1, 24, 24)
@example("noise", 70, 1, 24, 1)
@example("line", 1, 70, 1, 24)
@example("disc", 300, 301, 24, 23)
def test_any_matte_stays_in_range(kind: str, height: int, width: int, h: int, w: int) -> None:
    """Whatever comes in and however small the photo, 0..1 and finite come out, at the photo's size;
    what is wholly background or foreground stays so."""
    photo, low = scene(height, width), matte_of(kind, h, w)
    fine = refine(photo, resize(photo, h, w), low)
    assert fine.shape == (height, width)
    assert fine.dtype == np.float32
    assert np.isfinite(fine).all()
    assert fine.min() >= 0
    assert fine.max() <= 1 + 1e-6  # means of ones are one, to the last bit but one
    if kind in ("zeros", "ones"):
        np.testing.assert_allclose(fine, low[0, 0], atol=1e-6)


def test_a_flat_photo_says_nothing(portrait: Scene) -> None:
    """Without any edge in the photo, a matte is only smoothed: its contour stays where it was."""
    grey = np.full_like(portrait.photo, 90)
    low = rough(portrait.distance)
    fine = refine(grey, resize(grey, SMALL, SMALL), low)
    plain = resize(low, *fine.shape)
    sure = np.abs(portrait.distance) > 4  # half a pixel of the small matte
    assert ((fine > 0.5) == (plain > 0.5))[sure].all()


@pytest.mark.parametrize("size", [(SMALL, SMALL), (200, 130)])
def test_the_matte_given_is_only_read(size: tuple[int, int]) -> None:
    """Refining leaves its inputs alone, also where the sizes are equal."""
    low = matte_of("disc", SMALL, SMALL)
    low = cv2.GaussianBlur(low, (0, 0), 3)
    photo = scene(*size)
    small = resize(photo, SMALL, SMALL).copy()
    before = low.copy(), small.copy(), photo.copy()
    refine(photo, small, low)
    for now, then in zip((low, small, photo), before, strict=True):
        assert (now == then).all()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 900), st.integers(1, 900))
@example(24, 24, 900, 700)
@example(40, 40, 900, 900)
@example(40, 1, 900, 1)
def test_pieces_equal_a_whole_resize(h: int, w: int, height: int, width: int) -> None:
    """Lifted piece by piece, a map is what a bilinear resize of the whole makes of it, not a pixel
    further along; the pieces cover everything once."""
    y, x = (np.arange(n, dtype=np.float32) * (full / n) for n, full in ((h, height), (w, width)))
    maps = (np.repeat(y[:, None], w, 1), np.repeat(x[None], h, 0))
    wholes = [cv2.resize(m, (width, height), interpolation=cv2.INTER_LINEAR) for m in maps]
    count = np.zeros((height, width), int)
    for box, pieces in lift(maps, np.ones((h, w), np.uint8), height, width):
        count[box] += 1
        for whole, piece in zip(wholes, pieces, strict=True):
            assert np.abs(whole[box] - piece).max(initial=0) <= 1
    assert (count == 1).all()


@given(st.integers(2, 30), st.integers(1, 900), st.integers(1, 900), st.integers(0, 10**6))
def test_only_the_band_is_lifted(small: int, height: int, width: int, where: int) -> None:
    """Every pixel that lies in a set cell of the band is lifted; where none is set, nothing is."""
    band = np.zeros((small, small), np.uint8)
    maps = (band.astype(np.float32),)
    assert not list(lift(maps, band, height, width))
    band.flat[where % band.size] = 1
    missed = np.ones((height, width), np.uint8)
    for nudge in (-1e-6, 1e-6):  # a pixel in the middle between two cells may go with either
        rows, columns = (
            np.clip((np.arange(n) + 0.5) * small / n + nudge, 0, small - 1).astype(int)
            for n in (height, width)
        )
        missed &= band[rows][:, columns]
    for box, _ in lift(maps, band, height, width):
        missed[box] = 0
    assert not missed.any()


def test_small_parts_are_dropped() -> None:
    """Specks far smaller than the person vanish, soft rims and all; the person is untouched."""
    person = np.clip(disc(200, 60) / 4 + 0.5, 0, 1)
    specks = np.zeros_like(person)
    specks[5:10, 5:10], specks[190:193, 100:103], specks[10, 190] = 1, 0.6, 0.4
    cleaned = drop_islands(np.maximum(person, specks))
    assert (cleaned == person).all()


def test_everybody_is_kept() -> None:
    """Two people of unlike sizes stay, to the last bit."""
    pair = np.zeros((100, 200), np.float32)
    pair[10:90, 10:90], pair[60:90, 150:170] = 1, 0.8
    assert (drop_islands(pair) == pair).all()


@given(KINDS, st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_dropping_only_takes_away(kind: str, height: int, width: int, seed: int) -> None:
    """Each value is kept or becomes 0, and the largest part is kept whole."""
    matte = matte_of(kind, height, width)
    matte = matte * np.random.default_rng(seed).choice([0, 1], matte.shape, p=[0.6, 0.4])
    matte = matte.astype(np.float32)
    cleaned = drop_islands(matte)
    assert ((cleaned == matte) | (cleaned == 0)).all()
    _, labels, stats, _ = cv2.connectedComponentsWithStats((matte > 0.2).astype(np.uint8))
    if len(stats) > 1:
        main = labels == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()
        assert (cleaned[main] == matte[main]).all()


SHAPERS: dict[str, tuple[Callable[[Matte, float], Matte], float]] = {
    "contract": (contract, 0.5),
    "erode": (erode, 5.0),
    "feather": (feather, 20.0),
}


@pytest.mark.parametrize("name", SHAPERS)
@given(share=st.floats(0, 1), kind=KINDS, height=st.integers(1, 40), width=st.integers(1, 40))
def test_shaping_keeps_range_and_order(
    name: str, share: float, kind: str, height: int, width: int
) -> None:
    """Mattes stay in 0..1 and of their size; where one covers another before, it does so after;
    none is written to."""
    shape, most = SHAPERS[name]
    matte = matte_of(kind, height, width)
    more = np.minimum(1, matte + np.float32(0.1))
    before = matte.copy()
    shaped, shaped_more = shape(matte, share * most), shape(more, share * most)
    assert (matte == before).all()
    assert shaped.shape == matte.shape
    assert shaped.dtype == np.float32
    assert shaped.min() >= 0
    assert shaped.max() <= 1 + 1e-6
    assert (shaped <= shaped_more + 1e-5).all()


@pytest.mark.parametrize("name", SHAPERS)
def test_shaping_by_nothing_changes_nothing(name: str) -> None:
    """At 0 every shaper is the identity."""
    matte = matte_of("noise", 30, 40)
    assert (SHAPERS[name][0](matte, 0) == matte).all()


def test_contracting_decides() -> None:
    """Softer values than the threshold become 0 or 1, the middle stays, at .5 nothing is soft."""
    ramp = np.linspace(0, 1, 101, dtype=np.float32)[None]
    tenth = contract(ramp, 0.1)
    assert (tenth[ramp <= 0.1] == 0).all()
    assert (tenth[ramp >= 0.9 + 1e-6] == 1).all()
    assert tenth[0, 50] == pytest.approx(0.5, abs=1e-5)
    assert set(np.unique(contract(ramp, 0.5))) == {0, 1}
    soft = [((m > 0) & (m < 1)).sum() for m in (contract(ramp, t) for t in (0, 0.1, 0.3, 0.49))]
    assert soft == sorted(soft, reverse=True)


def test_eroding_moves_the_edge_inwards() -> None:
    """The further, the less is left; a straight edge moves by as many pixels as were asked for."""
    step = np.zeros((40, 40), np.float32)
    step[:, 20:] = 1
    areas = []
    last = step
    for pixels in np.arange(0, 5.25, 0.25):
        eroded = erode(step, pixels)
        assert (eroded <= last + 1e-6).all()
        last = eroded
        areas.append(eroded[20].sum())
    np.testing.assert_allclose(areas, 20 - np.arange(0, 5.25, 0.25), atol=1e-4)
    assert (erode(np.ones((9, 9), np.float32), 5) == 1).all()  # the frame is no edge


def test_feathering_widens_the_edge_in_place() -> None:
    """The soft band grows with the pixels asked for; its middle does not move, flats stay flat."""
    step = np.zeros((20, 200), np.float32)
    step[:, 100:] = 1
    bands = []
    for pixels in (1, 4, 10, 20):
        soft = feather(step, pixels)
        assert soft[10, 99] < 0.5 < soft[10, 100]
        bands.append(int(((soft[10] > 0.02) & (soft[10] < 0.98)).sum()))
        assert bands[-1] <= 2.5 * pixels + 2
    assert bands == sorted(set(bands))
    np.testing.assert_allclose(feather(np.ones((5, 5), np.float32), 20), 1, atol=1e-6)


@given(st.data(), st.floats(0, 1))
def test_bounds_hold_what_is_seen(drawn: st.DataObject, margin: float) -> None:
    """The box holds every visible pixel; without margin it is tight, with one it only grows."""
    height, width = drawn.draw(st.integers(1, 50)), drawn.draw(st.integers(1, 50))
    matte = np.zeros((height, width), np.float32)
    top, left = drawn.draw(st.integers(0, height - 1)), drawn.draw(st.integers(0, width - 1))
    bottom, right = (
        drawn.draw(st.integers(top, height - 1)),
        drawn.draw(st.integers(left, width - 1)),
    )
    matte[[top, bottom], [left, right]] = 1
    tight, wide = bounds(matte), bounds(matte, margin)
    assert tight is not None
    assert wide is not None
    assert tight == (slice(top, bottom + 1), slice(left, right + 1))
    grown = np.zeros_like(matte)
    grown[wide] = 1
    assert grown[tight].all()
    extra = margin * max(bottom - top, right - left) + 2
    assert grown.any(1).sum() <= bottom + 1 - top + 2 * extra
    assert wide[0].start >= 0
    assert wide[1].start >= 0


def test_nothing_has_no_bounds() -> None:
    """An empty matte, and one too faint to see, have no box."""
    assert bounds(np.zeros((5, 9), np.float32), 0.5) is None
    assert bounds(np.full((5, 9), 0.05, np.float32)) is None


@pytest.mark.slow
def test_closed_form_finds_thin_structures() -> None:
    """Of a known blend with thin rays, the solved matte is much closer to the truth than the rough
    one, and what was decided far from the edge stays."""
    known = blend(160)
    low = cv2.GaussianBlur(known.matte, (0, 0), 4)
    solved = closed_form(known.photo, low)
    assert solved.shape == low.shape
    assert solved.min() >= 0
    assert solved.max() <= 1
    before, after = (np.abs(m - known.matte).mean() for m in (low, solved))
    assert after < before / 2
    assert np.abs(solved - known.matte)[:8].max() < 0.05


@pytest.mark.parametrize("kind", ["zeros", "ones"])
def test_closed_form_needs_an_edge(kind: str) -> None:
    """Where there is nothing to solve, the matte comes back as it was."""
    matte = matte_of(kind, 20, 30)
    assert (closed_form(scene(20, 30), matte) == matte).all()


@given(KINDS, st.integers(1, 40), st.integers(1, 40))
def test_settling_stays_in_range_and_keeps_order(kind: str, height: int, width: int) -> None:
    """Within 0..1; what was clearly there stays there, what was clearly not stays away."""
    before = matte_of(kind, height, width)
    after = settle(before)
    assert after.dtype == np.float32
    assert after.min() >= -1e-6
    assert after.max() <= 1 + 1e-6
    assert after[before >= 0.5].min(initial=1) >= 0.5
    assert after[before <= 0.3].max(initial=0) <= 0.3


def test_settling_decides_haze_and_leaves_hair() -> None:
    """A wide grey area goes where it leans; a soft edge between 0 and 1 stays as it is."""
    assert settle(np.full((60, 60), 0.8, np.float32)).min() > 0.99
    assert settle(np.full((60, 60), 0.2, np.float32)).max() < 0.01
    ramp = np.clip((np.arange(60, dtype=np.float32) - 28) / 4, 0, 1)
    edge = np.tile(ramp, (60, 1))
    assert np.abs(settle(edge) - edge).max() < 0.02


@pytest.mark.parametrize("size", [(100, 100), (1000, 500)])
def test_the_subject_is_boxed_with_room_or_fills_the_frame(size: tuple[int, int]) -> None:
    """The box holds all of a small subject and some room; a large one or none has no box."""
    matte = np.zeros((100, 100), np.float32)
    assert subject(matte, *size) is None
    matte[40:60, 30:50] = 1
    box = subject(matte, *size)
    assert box is not None
    for side, (low, high), full in zip(box, ((40, 60), (30, 50)), size, strict=True):
        assert side.start < low * full / 100
        assert side.stop > high * full / 100
        assert side.stop - side.start < 0.4 * full
    matte[5:95] = 1
    assert subject(matte, *size) is None


def test_unsure_holes_are_filled_and_sure_gaps_are_not() -> None:
    """A grey hole inside the person, or open below, is closed; a clear gap and the outside stay."""
    matte = np.zeros((100, 100), np.float32)
    matte[20:, 20:80] = 1
    matte[40:50, 30:40] = 0.25  # a doubt inside
    matte[40:50, 60:70] = 0.02  # a gap between arm and body
    matte[85:, 40:60] = 0.3  # a doubt at the frame's lower edge
    before = matte.copy()
    after = fill_doubts(matte)
    assert (matte == before).all()
    assert after[40:50, 30:40].min() > 0.9
    assert after[87:, 42:58].min() > 0.9
    assert after[42:48, 62:68].max() < 0.05
    assert after[:15].max() == 0
    assert (fill_doubts(np.zeros((5, 5), np.float32)) == 0).all()
