"""Laws of harmony: whose tone, light, sharpness and grain a face ends up with, and what stays."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portrayer.image import tone
from portrayer.image.harmony import MODES, grain, look, match, smooth
from portrayer.image.oklab import oklab
from portrayer.types import Image
from tests.image.heads import BROWN, DARK, EYES, LIGHT, OLIVE, SKINS, Head, disc, head
from tests.image.pictures import scene
from tests.portraits import astronaut

PAIRS = [(LIGHT, DARK), (DARK, LIGHT), (OLIVE, BROWN), (BROWN, OLIVE), (OLIVE, LIGHT)]
SEEDS = st.integers(0, 999)


def middle(image: Image, where: np.ndarray) -> np.ndarray:
    """The median colour in OKLab."""
    return np.median(oklab(image)[where], 0)


def grey(one: Head) -> Image:
    return cv2.cvtColor(cv2.cvtColor(one.photo, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def noisy(image: Image, sigma: float, seed: int = 0) -> Image:
    noise = np.random.default_rng(seed).normal(0, sigma, (*image.shape[:2], 1))
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def found(image: Image) -> float:
    """The noise of what has no edges of its own."""
    return tone.noise(image)


@pytest.mark.parametrize(("mine", "other"), PAIRS)
def test_skin_becomes_the_others(mine: tuple[int, int, int], other: tuple[int, int, int]) -> None:
    """From light to dark and back, the skin's median comes to that of the picture behind, half way
    at half the amount, and never beyond."""
    front, back = head(mine), head(other)
    start, goal = (middle(one.photo, one.skin) for one in (front, back))
    for amount in (0.5, 1.0):
        result = middle(match(front.photo, back.photo, front.oval, amount), front.skin)
        assert np.linalg.norm(result - (start + amount * (goal - start))) < 0.015


@pytest.mark.parametrize(("mine", "other"), PAIRS)
def test_eyes_and_brows_keep_their_place(
    mine: tuple[int, int, int], other: tuple[int, int, int]
) -> None:
    """Beside another skin brows stay darker in proportion, lips stay redder, and the white of the
    eyes stays the lightest, hardly coloured."""
    front, back = head(mine, side=512), head(other, side=512)
    result = match(front.photo, back.photo, front.oval)
    skin, before = middle(result, front.skin), middle(front.photo, front.skin)

    def part(*names: str) -> np.ndarray:
        return cv2.erode(front.part(*names).astype(np.uint8), disc(2)) > 0

    brows = part("right-brow", "left-brow")
    ratio = middle(front.photo, brows)[0] / before[0]
    assert middle(result, brows)[0] / skin[0] < ratio + 0.12
    lips = part("lips")
    assert middle(result, lips)[1] > skin[1] + 0.01
    light, *colour = np.percentile(oklab(result)[part(*EYES)], 85, axis=0)
    assert light > skin[0]
    assert np.hypot(*colour) < 0.045
    if skin[0] < before[0]:
        assert light > skin[0] + 0.5 * (before[0] - skin[0])


def test_what_shines_does_not_burn_out() -> None:
    """On dark skin before a light one, a highlight stays the lightest and short of white."""
    dark, light = head(DARK), head(LIGHT)
    spot = np.zeros_like(dark.oval)
    cv2.circle(spot, dark.at(0, -0.1)[::-1], 5, 1.0, -1)
    shiny = dark.painted(spot, (150, 115, 100))
    result = oklab(match(shiny.photo, light.photo, dark.oval))[..., 0]
    bright = np.median(result[cv2.erode(spot, disc(2)) > 0])
    assert np.median(result[dark.skin]) + 0.03 < bright < 0.97


@given(SEEDS, st.sampled_from(SKINS), st.floats(0, 0.7))
@settings(max_examples=10)
def test_a_picture_that_matches_stays(seed: int, skin: tuple[int, int, int], shade: float) -> None:
    """Matched to itself, a face is itself to a level or two, whatever its light; not at all is
    itself bit for bit; and there is no chance in it."""
    one = head(skin, side=128 + seed % 100, shade=shade)
    assert np.abs(match(one.photo, one.photo, one.oval).astype(int) - one.photo).max() <= 1
    other = head(SKINS[seed % 4], side=one.side).photo
    assert match(one.photo, other, one.oval, 0) is one.photo
    assert (match(one.photo, other, one.oval) == match(one.photo, other, one.oval)).all()
    nothing = np.zeros_like(one.oval)
    assert (match(one.photo, other, nothing) == one.photo).all()
    floats = match(one.photo.astype(np.float32), other.astype(np.float32), one.oval)
    assert floats.dtype == np.float32
    assert np.abs(floats - match(one.photo, other, one.oval)).max() <= 0.51


@pytest.mark.parametrize("skin", SKINS)
def test_grey_makes_grey(skin: tuple[int, int, int]) -> None:
    """In front of a photo without colours a face has none, nor have its eyes and lips; and one
    without colours is given the skin's of the other."""
    one, other = head(OLIVE), head(skin)
    faded = match(one.photo, grey(other), one.oval).astype(int)
    assert np.ptp(faded[one.oval > 0.5], axis=1).max() <= 4
    coloured = middle(match(grey(one), other.photo, one.oval), one.skin)
    assert np.linalg.norm(coloured - middle(other.photo, other.skin)) < 0.02


@pytest.mark.parametrize("shade", [0.3, 0.6])
@pytest.mark.parametrize("mirrored", [False, True])
def test_light_falls_from_where_it_does(shade: float, mirrored: bool) -> None:
    """A face lit evenly, before one lit from a side, is darker on the same side, by more than half
    as much and not more; and the other way round, its own shade goes."""
    flip = slice(None, None, -1 if mirrored else 1)
    even, lit = head(OLIVE), head(BROWN, shade=shade)
    columns = np.arange(even.side)[None] < even.side / 2
    left, right = even.skin & columns, even.skin & ~columns

    def slope(image: Image) -> float:
        light = oklab(np.ascontiguousarray(image[:, flip]))[..., 0]
        return float(np.log(np.median(light[right]) / np.median(light[left])))

    even_photo, lit_photo = even.photo[:, flip], lit.photo[:, flip]
    oval = np.ascontiguousarray(even.oval[:, flip])
    wanted = slope(lit_photo)
    assert wanted < -0.04
    assert 0.5 * wanted > slope(match(even_photo, lit_photo, oval)) > 1.15 * wanted
    assert slope(match(lit_photo, even_photo, oval)) > 0.5 * wanted


@pytest.mark.parametrize("sigma", [1.0, 2.0, 3.5])
def test_a_soft_photo_gets_a_soft_face(sigma: float) -> None:
    """In front of its blurred self, a sharp portrait becomes as blurred, to a third of the sigma;
    the blurred one is not sharpened in front of the sharp one."""
    sharp = cv2.resize(astronaut(), (512, 512), interpolation=cv2.INTER_CUBIC)
    mask = np.zeros((512, 512), np.float32)
    mask[40:180, 160:300] = 1
    soft = cv2.GaussianBlur(sharp, (0, 0), sigma)
    result = grain(sharp, soft, mask)

    def away(image: Image) -> float:
        return float(np.abs(image.astype(float) - soft)[60:160, 180:280].mean())

    too_little, too_much = (cv2.GaussianBlur(sharp, (0, 0), f * sigma) for f in (0.67, 1.5))
    assert away(result) < max(away(too_little), away(too_much))
    fine = tone.noise(grain(soft, sharp, mask))
    assert fine <= max(tone.noise(sharp), tone.noise(soft)) + 0.5


@given(st.floats(0, 12), st.floats(0, 12), SEEDS)
@settings(max_examples=10)
def test_grain_is_given_and_never_too_much(mine: float, other: float, seed: int) -> None:
    """A clean face gets the grain of a noisy photo, to a fifth, and no face ever gets more than
    that; the same pictures give the same grain, another picture another."""
    base = cv2.GaussianBlur(head(OLIVE).photo, (0, 0), 1.2)
    mask = head(OLIVE).oval
    front, back = noisy(base, mine, seed), noisy(base, other, seed + 1)
    result = grain(front, back, mask)
    assert found(result) <= 1.1 * max(found(front), found(back)) + 0.5
    if other > mine + 1:
        assert found(result) > 0.8 * found(back) - 0.3
    assert (grain(front, back, mask) == result).all()
    if other > mine + 2:
        again = grain(front, noisy(base, other, seed + 2), mask)
        grains = [(image.astype(float) - front)[..., 0].ravel() for image in (result, again)]
        assert np.corrcoef(grains)[0, 1] < 0.5


def test_grain_without_a_face_and_without_a_difference() -> None:
    """An empty mask, and a picture like the other one, change nothing."""
    one = head(BROWN)
    assert (grain(one.photo, one.photo, one.oval) == one.photo).all()
    assert (grain(one.photo, head(LIGHT).photo, np.zeros_like(one.oval)) == one.photo).all()


@pytest.mark.parametrize("skin", SKINS)
def test_smoothing_is_of_skin_alone(skin: tuple[int, int, int]) -> None:
    """Spots fade, the more the larger the amount; eyes and lips and what is outside the mask stay;
    at half of it most of the pores is left."""
    bare = head(skin, side=512, grain=0)
    spots = np.zeros((512, 512), np.float32)
    for k in range(12):
        row, column = bare.at(-0.6 + 0.1 * k, 0.05 + 0.03 * (k % 3))
        cv2.circle(spots, (column, row), 3, 1.0, -1)
    spots *= bare.skin
    spotted = noisy(bare.painted(spots, tuple(np.array(skin) * 7 // 8)).photo, 2)
    clean = noisy(bare.photo, 2)

    def left(amount: float) -> float:
        lost = clean.astype(float) - smooth(spotted, bare.oval, amount)
        return float(lost[spots > 0].mean())

    assert smooth(spotted, bare.oval, 0) is spotted
    assert left(0) > left(0.5) > left(1)
    assert left(1) < 0.6 * left(0)
    result = smooth(spotted, bare.oval, 1)
    assert (result[bare.oval == 0] == spotted[bare.oval == 0]).all()
    features = cv2.erode(bare.part(*EYES, "lips").astype(np.uint8), disc(2)) > 0
    change = np.abs(result.astype(int) - spotted)[features]
    assert change.mean() < 1
    pores = bare.skin & (cv2.dilate(spots, disc(14)) == 0)
    half = smooth(spotted, bare.oval, 0.5).astype(float)
    fine = [
        (image - cv2.blur(image, (5, 5)))[pores].std() for image in (half, spotted.astype(float))
    ]
    assert fine[0] > 0.6 * fine[1]


@given(SEEDS, st.floats(-0.5, 0.5), st.floats(-0.5, 0.5))
def test_a_look_of_nothing_is_the_photo(seed: int, brightness: float, contrast: float) -> None:
    """At 0 all stays, bit for bit; without saturation it is brightness and contrast alone."""
    photo = scene(20 + seed % 30, 30)
    assert (look(photo, 0, 0, 0) == photo).all()
    assert (look(photo, brightness, contrast, 0) == tone.adjust(photo, brightness, contrast)).all()


def test_saturation_spreads_colours_around_grey() -> None:
    """At -.5 there are none, more is more, greys stay grey, and lightness stays where colours can
    be shown."""
    photo = scene(40, 50) // 3 + 80
    spreads = [
        np.hypot(*np.moveaxis(oklab(look(photo, 0, 0, s))[..., 1:], -1, 0))
        for s in (-0.5, -0.25, 0.0, 0.1, 0.2)
    ]
    assert spreads[0].max() < 0.003
    means = [float(spread.mean()) for spread in spreads]
    assert means == sorted(means)
    assert means[1] == pytest.approx(means[2] / 2, rel=0.05)
    grey_photo = photo[..., :1].repeat(3, 2)
    assert np.abs(look(grey_photo, 0, 0, 0.5).astype(int) - grey_photo).max() <= 1
    lights = [oklab(look(photo, 0, 0, s))[..., 0] for s in (0.0, 0.1)]
    assert np.abs(lights[1] - lights[0]).mean() < 0.005


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_modes_keep_shape_and_kind(mode: str, kind: type) -> None:
    """Each gives a picture like those it is given, and two flat ones of one colour stay it."""
    one, other = (head(skin).photo.astype(kind) for skin in (LIGHT, DARK))
    result = MODES[mode](one, other)
    assert result.shape == one.shape
    assert result.dtype == kind
    assert result.min() >= 0
    assert result.max() <= 255
    flat = np.full((64, 64, 3), (190, 140, 110), kind)
    assert np.abs(MODES[mode](flat, flat).astype(float) - flat).max() <= 1


def test_modes_do_what_they_say() -> None:
    """``normal`` is the front; ``blend`` is half way to the other's light and keeps the front's
    texture; ``overlay`` has the other's colours, and its features next to the front's."""
    one, other = head(LIGHT), head(BROWN)
    assert MODES["normal"](one.photo, other.photo) is one.photo
    blended = MODES["blend"](one.photo, other.photo).astype(float)
    row, column = one.at(0.0, 0.1)
    place = slice(row - 4, row + 4), slice(column - 4, column + 4)
    half = (one.photo.astype(float) + other.photo)[place].mean((0, 1)) / 2
    assert np.abs(blended[place].mean((0, 1)) - half).max() < 12
    detail = [
        image - cv2.GaussianBlur(image, (0, 0), 3) for image in (blended, one.photo.astype(float))
    ]
    assert np.corrcoef(detail[0].ravel(), detail[1].ravel())[0, 1] > 0.99
    laid = oklab(MODES["overlay"](one.photo, other.photo))
    below = oklab(other.photo)
    assert np.abs(laid - below)[one.skin][:, 1:].mean() < 0.01
    plain = np.full_like(one.photo, 128)
    assert np.abs(MODES["overlay"](plain, other.photo).astype(int) - other.photo).max() <= 1
    mark = one.painted((np.indices((256, 256))[1] > 128).astype(np.float32), (40, 30, 30)).photo
    marked = oklab(MODES["overlay"](mark, other.photo))[..., 0] - below[..., 0]
    assert marked[row, 110] > 0.02
    assert marked[row, 146] < -0.02
