"""Photos whose true matte is known, made for the tests of mattes and composites."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from portrayer.types import Image, Matte

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Scene:
    """A photo (H, W, 3) of one flat colour before another, and the distance (H, W) from the edge
    between them in pixels, positive inside the foreground."""

    photo: Image
    distance: NDArray[np.float32]

    @property
    def truth(self) -> Matte:
        """The true matte: the share of each pixel that the foreground covers."""
        return np.asarray(np.clip(self.distance + 0.5, 0, 1), np.float32)


def half_plane(side: int, angle: float, shift: float = 0.0) -> NDArray[np.float32]:
    """Distance from a straight edge through (about) the middle, (side, side)."""
    y, x = np.mgrid[:side, :side].astype(np.float32) - np.float32((side - 1) / 2)
    return np.asarray(x * np.cos(angle) + y * np.sin(angle) - shift, np.float32)


def disc(side: int, radius: float) -> NDArray[np.float32]:
    """Distance from the rim of a disc in the middle, (side, side)."""
    y, x = np.mgrid[:side, :side].astype(np.float32) - np.float32((side - 1) / 2)
    return np.asarray(radius - np.hypot(y, x), np.float32)


def photograph(distance: NDArray[np.float32], front: Colour, back: Colour, noise: float) -> Scene:
    """A photo with that edge between two colours, ``noise`` levels of grain on it."""
    share = np.clip(distance + np.float32(0.5), 0, 1)[..., None]
    clean = share * np.array(front) + (1 - share) * np.array(back)
    grain = np.random.default_rng(7).normal(0, noise, clean.shape)
    return Scene(np.clip(np.rint(clean + grain), 0, 255).astype(np.uint8), distance)


@dataclass(frozen=True)
class Blend:
    """A photo mixed from a known foreground and background (H, W, 3) by a known matte (H, W)."""

    photo: Image
    front: Image
    back: Image
    matte: Matte


def blend(side: int = 240) -> Blend:
    """A soft-edged disc of warm tones, with hair-thin rays, before a cool background."""
    y, x = np.mgrid[:side, :side] / side
    front = np.stack([200 + 40 * np.sin(5 * x), 130 + 40 * np.cos(4 * y), 90 + 30 * x], -1)
    back = np.stack([40 + 40 * y, 90 + 60 * x * y, 170 + 60 * np.sin(4 * y)], -1)
    away = np.hypot(y - 0.5, x - 0.5)
    angle = np.arctan2(y - 0.5, x - 0.5)
    rays = 0.06 * np.maximum(0, np.sin(24 * angle)) ** 4
    matte = np.clip((0.3 + rays - away) * 20 + 0.5, 0, 1).astype(np.float32)
    share = matte[..., None]
    photo = share * np.rint(front) + (1 - share) * np.rint(back)
    seen, person, wall = (np.rint(a).astype(np.uint8) for a in (photo, front, back))
    return Blend(seen, person, wall, matte)
