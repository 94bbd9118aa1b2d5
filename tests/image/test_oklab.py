"""Laws of OKLab: known colours, and the way there and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portrayer.image.oklab import oklab, rgb

KNOWN = {
    (255, 255, 255): (1.0, 0.0, 0.0),
    (0, 0, 0): (0.0, 0.0, 0.0),
    (255, 0, 0): (0.62796, 0.22486, 0.12585),
    (0, 255, 0): (0.86644, -0.23389, 0.17950),
    (0, 0, 255): (0.45201, -0.03246, -0.31153),
}
"""sRGB's corners, as published with the method."""


@pytest.mark.parametrize("colour", KNOWN)
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_known_colours(colour: tuple[int, int, int], kind: type) -> None:
    """White, black and sRGB's corners have their published places, as levels of either kind."""
    np.testing.assert_allclose(oklab(np.array([[colour]], kind))[0, 0], KNOWN[colour], atol=2e-4)


@given(st.integers(0, 999))
def test_there_and_back(seed: int) -> None:
    """Every colour comes back to within a fiftieth of a level; fractions of levels as well."""
    levels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    assert np.abs(rgb(oklab(levels)) - levels).max() < 0.02
    between = np.clip(levels + np.float32(0.37), 0, 255)
    assert np.abs(rgb(oklab(between)) - between).max() < 0.05


def test_greys_have_no_colour() -> None:
    """On the grey axis only lightness rises, evenly with what the eye sees."""
    greys = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, 2)
    light, *colour = np.moveaxis(oklab(greys)[0], -1, 0)
    assert (np.diff(light) > 0).all()
    assert np.abs(colour).max() < 1e-4
    assert light[119] == pytest.approx(0.57, abs=0.01)


def test_what_no_screen_shows_is_clipped() -> None:
    """Colours beyond sRGB become levels within 0..255, and nothing else."""
    far = np.array([[[1.2, 0.3, 0.3], [-0.1, 0, 0], [0.5, -0.4, 0.4]]], np.float32)
    shown = rgb(far)
    assert np.isfinite(shown).all()
    assert (shown >= 0).all()
    assert (shown <= 255).all()
