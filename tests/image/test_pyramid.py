"""Laws of multi-band blending: where it is exact, and how wide each band's border is."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portrayer.image.pyramid import blend
from portrayer.types import Matte
from tests.image.pictures import scene

SIDES = st.integers(1, 70)
LEVELS = st.none() | st.integers(0, 4)
SEEDS = st.integers(0, 999)


def pair(side: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return tuple(rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(2))


def blob(side: int, seed: int, softness: float) -> Matte:
    """A few discs, hard or soft, 0 around them."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((side, side), np.float32)
    for _ in range(3):
        x, y = rng.integers(0, side, 2)
        cv2.circle(mask, (int(x), int(y)), int(rng.integers(1, 2 + side // 4)), 1.0, -1)
    support = cv2.dilate(mask, np.ones((3, 3), np.uint8)) > 0
    return cv2.GaussianBlur(mask, (0, 0), softness) * support if softness else mask


@given(SIDES, SEEDS, LEVELS, st.sampled_from([0.0, 0.7, 4.0]))
def test_outside_the_mask_nothing_changes(
    side: int, seed: int, levels: int | None, softness: float
) -> None:
    """Where the mask is 0 the picture behind stays bit for bit, whatever its shape and depth."""
    front, back = pair(side, seed)
    mask = blob(side, seed, softness)
    result = blend(front, back, mask, levels)
    assert result.dtype == np.uint8
    assert (result[mask == 0] == back[mask == 0]).all()
    floats = blend(front.astype(np.float32), back.astype(np.float32), mask, levels)
    assert floats.dtype == np.float32
    assert (floats[mask == 0] == back[mask == 0]).all()
    assert np.abs(np.clip(floats, 0, 255) - result).max() <= 0.51


@given(SIDES, SEEDS, LEVELS)
def test_the_ends(side: int, seed: int, levels: int | None) -> None:
    """A mask of ones shows the front, one of zeros the back, and two equal pictures are neither's:
    bit for bit."""
    front, back = pair(side, seed)
    ones = np.ones((side, side), np.float32)
    assert (blend(front, back, ones, levels) == front).all()
    assert (blend(front, back, 0 * ones, levels) == back).all()
    assert (blend(front, front, blob(side, seed, 1.5), levels) == front).all()


@given(SEEDS, st.integers(0, 4))
def test_far_inside_the_mask_is_the_front(seed: int, levels: int) -> None:
    """As far from the border as the coarsest band reaches, the front is whole."""
    front, back = pair(160, seed)
    mask = np.zeros((160, 160), np.float32)
    mask[8:150, 4:152] = 1
    far = 4 * 2**levels
    inside = slice(8 + far, 150 - far), slice(4 + far, 152 - far)
    assert (blend(front, back, mask, levels)[inside] == front[inside]).all()


@given(SEEDS, LEVELS, st.floats(0, 255), st.floats(0, 255))
def test_flat_pictures_stay_between_one_another(
    seed: int, levels: int | None, one: float, other: float
) -> None:
    """Between two flat colours lies nothing but what is between them: no halo."""
    front, back = (np.full((64, 64, 3), level, np.float32) for level in (one, other))
    result = blend(front, back, blob(64, seed, 2.0), levels)
    assert result.min() >= min(one, other) - 1e-3
    assert result.max() <= max(one, other) + 1e-3


def test_light_goes_over_widely_and_texture_narrowly() -> None:
    """At a hard border, a difference of light comes in evenly over many pixels, of fine texture
    within a few."""
    side = 256
    mask = np.zeros((side, side), np.float32)
    mask[:, 128:] = 1
    back = np.full((side, side, 3), 100, np.float32)
    light = (blend(back + 60, back, mask)[128, :, 0] - 100) / 60
    assert (np.diff(light) > -1e-3).all()
    assert np.diff(light).max() < 0.2
    assert 0.1 < light[140] < 0.7
    fine = 30 * (np.indices((side, side)).sum(0) % 2 * 2 - 1)[..., None].astype(np.float32)
    textured = np.abs(blend(back + fine, back, mask) - back)[:, :, 0].mean(0) / 30
    assert textured[135] > 0.97


def test_more_levels_are_smoother() -> None:
    """The more bands, the smaller the largest step across the border between two lights."""
    mask = np.zeros((128, 128), np.float32)
    cv2.circle(mask, (64, 64), 40, 1.0, -1)
    back = np.zeros((128, 128, 3), np.float32)
    steps = [np.abs(np.diff(blend(back + 100, back, mask, k)[64, :, 0])).max() for k in range(4)]
    assert all(after < 1.01 * before for before, after in pairwise(steps))
    assert steps[3] < 0.4 * steps[0]


@pytest.mark.parametrize("side", [33, 64, 101])
def test_a_soft_mask_shows_what_it_says_on_the_mean(side: int) -> None:
    """Between a picture and its lighter self, the change summed up is that of the mask, but for
    what is faded out within its rim."""
    back = scene(side, side).astype(np.float32)
    mask = np.zeros((side, side), np.float32)
    mask[side // 4 : -side // 4, side // 4 : -side // 4] = 1
    mask = cv2.GaussianBlur(mask, (0, 0), side / 20)
    change = blend(back + 20, back, mask) - back
    assert 0.7 < change.mean() / (20 * mask.mean()) < 1.05
