"""Laws of what is in front of a face: hair, hats, glasses; brows, eyes and beards never."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portrayer.image.canonical import canonical
from portrayer.image.front import in_front
from portrayer.types import Matte
from tests.image.heads import BLACK, BLOND, EYES, GREEN, LIGHT, OLIVE, SKINS, Head, disc, head


def front(one: Head) -> Matte:
    return in_front(one.photo, one.oval, one.mesh)


def ring(one: Head, width: float, radius: float) -> np.ndarray:
    """(S, S): round glasses, bridge and arms, ``radius`` in eye distances."""
    drawn = np.zeros((one.side, one.side), np.uint8)
    thick = round(width * one.side)
    middles = [one.at(right, -0.515)[::-1] for right in (-0.5, 0.5)]
    for middle, out in zip(middles, (-1, 1), strict=True):
        cv2.circle(drawn, middle, round(radius * 0.246 * one.side), 1, thick)
        away = out * round(radius * 0.246 * one.side)
        start = (middle[0] + away, middle[1])
        cv2.line(drawn, start, (start[0] + away, middle[1]), 1, thick)
    inner = [
        (x + out * round(radius * 0.246 * one.side), y)
        for (x, y), out in zip(middles, (1, -1), strict=True)
    ]
    cv2.line(drawn, *inner, 1, thick)
    return drawn.astype(np.float32)


@pytest.mark.parametrize("skin", SKINS)
@pytest.mark.parametrize(("shade", "side"), [(0.0, 256), (0.4, 512), (0.7, 256)])
def test_a_bare_face_has_nothing_in_front(
    skin: tuple[int, int, int], shade: float, side: int
) -> None:
    """Light or dark, evenly lit or from the side: skin, brows, eyes and lips are the face's own."""
    bare = head(skin, side=side, shade=shade)
    found = front(bare)
    assert found.shape == (side, side)
    assert found.dtype == np.float32
    assert found[bare.skin].mean() < 0.01
    assert found[bare.part(*EYES, "right-brow", "left-brow", "lips")].mean() < 0.03


@pytest.mark.parametrize("skin", SKINS)
@pytest.mark.parametrize("hair", [BLACK, BLOND, GREEN])
def test_hair_over_the_forehead_is_in_front(
    skin: tuple[int, int, int], hair: tuple[int, int, int]
) -> None:
    """Locks on a forehead are found to their edges, on every skin, and the skin between is not."""
    bare = head(skin, hair)
    fringe = bare.fringe(hair)
    found = front(bare.painted(fringe, hair))
    # The rows above the brows; what a lock leaves of a brow is not said.
    rows = np.arange(bare.side)[:, None] < bare.at(0, -0.85)[0]
    inside = cv2.erode(bare.oval, disc(3)) > 0.5
    assert found[(fringe > 0) & inside & rows].mean() > 0.95
    assert found[(cv2.dilate(fringe, disc(4)) == 0) & bare.skin].mean() < 0.02


def test_a_hat_is_in_front() -> None:
    """A brim over the forehead, of a colour that hair seldom has."""
    bare = head(OLIVE)
    hat = np.zeros((bare.side, bare.side), np.float32)
    row, _ = bare.at(0, -0.95)
    hat[:row, bare.side // 6 : -bare.side // 6] = 1
    found = front(bare.painted(hat, (40, 60, 130)))
    assert found[(cv2.erode(hat, disc(2)) > 0) & (bare.oval > 0.9)].mean() > 0.95


@pytest.mark.parametrize("skin", SKINS)
def test_a_beard_belongs_to_the_face(skin: tuple[int, int, int]) -> None:
    """Dark hair on chin and jaw, down to the oval's rim and beyond, is not cut out."""
    bare = head(skin)
    y, x = np.mgrid[: bare.side, : bare.side]
    row, column = bare.at(0, 0.5)
    beard = ((y > row) & (np.abs(x - column) < 0.24 * bare.side)).astype(np.float32)
    beard *= 1 - bare.part("lips")
    found = front(bare.painted(beard * (y < 0.95 * bare.side), (44, 34, 28)))
    assert found[(beard > 0) & (cv2.erode(bare.oval, disc(8)) > 0.5)].mean() < 0.03


def test_a_mole_is_not_in_front() -> None:
    """What is dark, but not connected with anything beyond the face, stays the face's."""
    bare = head(OLIVE)
    row, column = bare.at(0.1, -1.0)
    spot = np.zeros((bare.side, bare.side), np.float32)
    cv2.circle(spot, (column, row), 6, 1.0, -1)
    assert front(bare.painted(spot, (50, 30, 25)))[spot > 0].max() < 0.05


def test_a_highlight_is_not_hair() -> None:
    """A forehead that shines up to the hairline is skin, also beside hair as light as that."""
    bare = head(OLIVE, BLOND)
    y, x = np.mgrid[: bare.side, : bare.side]
    row, column = bare.at(0, -1.1)
    bright = np.exp(-(((x - column) / 30) ** 2 + ((y - row) / 16) ** 2)) * (bare.oval > 0.5)
    shiny = replace(
        bare, photo=np.clip(bare.photo + 60 * bright[..., None], 0, 255).astype(np.uint8)
    )
    assert front(shiny)[(bright > 0.5) & bare.skin].mean() < 0.1


@pytest.mark.parametrize("skin", SKINS)
def test_shade_around_the_eyes_is_no_lens(skin: tuple[int, int, int]) -> None:
    """Dark rings around eyes that look out of them are the face's own."""
    bare = head(skin)
    rings = np.zeros((bare.side, bare.side), np.float32)
    for right in (-0.5, 0.5):
        cv2.circle(rings, bare.at(right, -0.5)[::-1], round(0.34 * 0.246 * bare.side), 1.0, -1)
    rings = cv2.GaussianBlur(rings, (0, 0), 4)[..., None] * ~bare.part(*EYES)[..., None]
    photo = np.rint(bare.photo * (1 - 0.7 * rings)).astype(np.uint8)
    found = front(replace(bare, photo=photo))
    assert found[bare.part(*EYES)].mean() < 0.05
    assert found[bare.skin].mean() < 0.03


@pytest.mark.parametrize("skin", SKINS)
def test_dark_frames_are_in_front(skin: tuple[int, int, int]) -> None:
    """The rims of dark glasses and their bridge are found; eyes and cheeks are not."""
    bare = head(skin, side=512)
    frame = ring(bare, 0.012, 0.38)
    found = front(bare.painted(frame, (12, 11, 12)))
    lids = cv2.dilate(bare.part(*EYES).astype(np.float32), disc(8))
    assert found[(frame > 0) & (bare.oval > 0.5) & (lids == 0)].mean() > 0.75
    assert found[bare.part(*EYES)].mean() < 0.05
    assert found[(cv2.dilate(frame, disc(12)) == 0) & bare.skin].mean() < 0.02
    assert found[cv2.dilate(bare.oval, disc(24)) == 0].max() == 0


@pytest.mark.parametrize("skin", SKINS)
def test_dark_lenses_are_in_front(skin: tuple[int, int, int]) -> None:
    """Sunglasses hide the eyes: all of the lens stays, also where something is reflected in it."""
    bare = head(skin)
    lens = np.zeros((bare.side, bare.side), np.float32)
    for right in (-0.5, 0.5):
        cv2.circle(lens, bare.at(right, -0.5)[::-1], round(0.38 * 0.246 * bare.side), 1.0, -1)
    shine = np.zeros_like(lens)
    cv2.circle(shine, bare.at(-0.5, -0.83)[::-1], 6, 1.0, -1)
    shine *= lens
    found = front(bare.painted(lens, (14, 14, 16)).painted(shine, (150, 150, 160)))
    assert found[cv2.erode(lens, disc(2)) > 0].mean() > 0.95
    assert found[(cv2.dilate(lens, disc(12)) == 0) & bare.skin].mean() < 0.03


@pytest.mark.parametrize("skin", SKINS)
def test_colours_no_beard_has_are_in_front_of_a_chin(skin: tuple[int, int, int]) -> None:
    """A green ball held before the chin, reaching beyond it."""
    bare = head(skin)
    ball = np.zeros((bare.side, bare.side), np.float32)
    cv2.circle(ball, bare.at(0.05, 1.2)[::-1], bare.side // 8, 1.0, -1)
    found = front(bare.painted(ball, (40, 150, 60)))
    assert found[(cv2.erode(ball, disc(3)) > 0) & (bare.oval > 0.9)].mean() > 0.9


@given(st.sampled_from([*SKINS]), st.sampled_from([0.0, 0.5]), st.floats(0.5, 6))
@settings(max_examples=8)
def test_a_mirror_changes_nothing(skin: tuple[int, int, int], shade: float, grain: float) -> None:
    """What is in front of a face is in front of its mirror image."""
    one = head(skin, shade=shade, grain=grain)
    one = one.painted(one.fringe(BLACK) * (np.arange(one.side) < 0.6 * one.side), BLACK)
    mesh = one.mesh[canonical().mirror] * (-1, 1) + (one.side - 1, 0)
    mirrored = in_front(
        np.ascontiguousarray(one.photo[:, ::-1]), np.ascontiguousarray(one.oval[:, ::-1]), mesh
    )
    assert np.abs(mirrored[:, ::-1] - front(one)).mean() < 0.01


@given(
    st.integers(16, 300), st.integers(0, 99), st.sampled_from(["noise", "flat", "black", "white"])
)
@settings(max_examples=12)
def test_whatever_the_picture_it_is_a_share(side: int, seed: int, kind: str) -> None:
    """Of any size and any content, with a face in it or not: finite, 0..1, none far from the
    oval, and the same every time."""
    rng = np.random.default_rng(seed)
    photo = {
        "noise": lambda: rng.integers(0, 256, (side, side, 3), dtype=np.uint8),
        "flat": lambda: np.full((side, side, 3), rng.integers(0, 256, 3), np.uint8),
        "black": lambda: np.zeros((side, side, 3), np.uint8),
        "white": lambda: np.full((side, side, 3), 255, np.uint8),
    }[kind]()
    model = head(LIGHT, side=side) if side >= 32 else None
    mesh = rng.uniform(0, side, (468, 3)).astype(np.float32) if model is None else model.mesh
    oval = np.zeros((side, side), np.float32) if model is None else model.oval
    found = in_front(photo, oval, mesh)
    assert np.isfinite(found).all()
    assert found.min() >= 0
    assert found.max() <= 1
    far = cv2.dilate(oval, disc(8 + side / 20)) == 0
    assert found[far].max(initial=0) == 0
    assert (in_front(photo, oval, mesh) == found).all()
