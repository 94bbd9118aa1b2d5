"""Laws of values between points: every pixel once, linear within, smooth beyond."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from portrayer.image.raster import interpolate, membrane, spans

SEEDS = st.integers(0, 999)


def fan(rng: np.random.Generator, side: int) -> np.ndarray:
    """(T, 3, 2): triangles around a point that share their edges and fill a polygon; corners on
    pixel centres now and then.
    """
    angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(5, 12)))
    if np.diff(angles, append=angles[0] + 2 * np.pi).max() > 3:
        angles = np.linspace(0, 2 * np.pi, 8)[:-1]
    radii = rng.uniform(0.1, 0.7, len(angles)) * side
    middle = rng.uniform(0.3, 0.7, 2) * side
    edge = middle + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
    if rng.random() < 0.5:
        edge, middle = edge.round(), middle.round()
    after = np.roll(edge, -1, 0)
    assume(np.linalg.det(np.stack([edge - middle, after - middle], 1)).min() > 0)  # all one way
    return np.stack([np.broadcast_to(middle, edge.shape), edge, after], 1)


@given(SEEDS)
def test_no_pixel_is_painted_twice_or_left_out(seed: int) -> None:
    """Triangles that share edges cover the centres within them once, whatever order edges have."""
    side = 40
    triangles = fan(np.random.default_rng(seed), side)
    times = np.zeros((side, side), int)
    for _, y, start, stop in zip(*spans(triangles, side), strict=True):
        times[y, start:stop] += 1
    a, b, c = (triangles[:, None, None, k] for k in range(3))
    at = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1)

    def left_of(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        u, v = q - p, at - p
        return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]

    sides = np.stack([left_of(a, b), left_of(b, c), left_of(c, a)])
    assert times.max() <= 1
    assert (times[(sides > 1e-6).all(0).any(0)] == 1).all()  # within one
    assert (times[(sides < -1e-6).any(0).all(0)] == 0).all()  # outside of all


@given(SEEDS)
def test_what_is_linear_stays_linear(seed: int) -> None:
    """Values that are a linear function of place are that function at every pixel painted."""
    side = 40
    rng = np.random.default_rng(seed)
    triangles = fan(rng, side)
    slope, offset = rng.normal(0, 1, (2, 3)), rng.normal(0, 9, 3)
    made = interpolate(triangles, triangles @ slope + offset, side)
    painted = interpolate(triangles, np.ones((len(triangles), 3, 1)), side)[0] == 1
    at = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1)
    wanted = np.where(painted[..., None], at @ slope + offset, 0)
    np.testing.assert_allclose(np.moveaxis(made, 0, -1), wanted, atol=1e-3)


def test_the_last_triangle_is_in_front_and_backs_are_not_seen() -> None:
    """Where triangles overlap, the later one is painted; one that is turned away never."""
    low = np.array([[2, 2], [18, 2], [2, 18]], float)
    corners = np.stack([low, low + 2, low[::-1] + 2])
    made = interpolate(corners, np.array([1.0, 2, 3])[:, None, None] * np.ones((1, 3, 1)), 24)[0]
    assert made[3, 3] == 1
    assert made[6, 6] == 2
    assert set(np.unique(made)) == {0, 1, 2}


def test_a_membrane_keeps_what_is_known_and_never_leaves_its_range() -> None:
    """Known values stay, the border is at rest, and between them nothing overshoots or jumps."""
    side = 64
    weight = np.zeros((side, side), np.float32)
    weight[20:40, 24:44] = 1
    value = np.linspace(-3, 5, side, dtype=np.float32) * weight
    sheet, other = np.moveaxis(membrane(np.stack([value, -value], -1), weight), -1, 0)
    np.testing.assert_array_equal(sheet, -other)  # each map by itself
    np.testing.assert_allclose(sheet[weight == 1], value[weight == 1], atol=1e-6)
    assert not sheet[[0, -1]].any()
    assert not sheet[:, [0, -1]].any()
    assert value.min() <= sheet.min()
    assert sheet.max() <= value.max()
    assert max(np.abs(np.diff(sheet, axis=k)).max() for k in (0, 1)) < 0.6
