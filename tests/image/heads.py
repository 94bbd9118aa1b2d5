"""Heads drawn for the tests: skin, hair and light of choice, and the mesh that lies on them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from portrayer.image.canonical import canonical
from portrayer.image.mesh import oval, parts
from portrayer.types import Image, Matte

Colour = tuple[int, int, int]
Floats = NDArray[np.float32]

LIGHT, OLIVE, BROWN, DARK = (236, 196, 174), (198, 150, 116), (141, 92, 66), (84, 54, 42)
SKINS: tuple[Colour, ...] = (LIGHT, OLIVE, BROWN, DARK)
BLACK, BLOND, GREEN = (28, 24, 22), (212, 176, 98), (60, 150, 70)
EYES = ("right-eye", "left-eye")
BROWS = ("right-brow", "left-brow")


@dataclass(frozen=True, eq=False)
class Head:
    """A crop (S, S, 3) with a face as the template "ffhq" has it, its ``mesh`` (468, 2) and
    ``oval`` (S, S)."""

    photo: Image
    mesh: Floats
    oval: Matte

    @property
    def side(self) -> int:
        return len(self.photo)

    def at(self, right: float, down: float) -> tuple[int, int]:
        """Row and column of a place on the face, in eye distances from its middle."""
        return round(self.side * (0.596 + 0.246 * down)), round(self.side * (0.5 + 0.246 * right))

    def part(self, *names: str) -> NDArray[np.bool_]:
        return parts(self.mesh, self.side, *names) > 0.5

    @property
    def skin(self) -> NDArray[np.bool_]:
        """Cheeks, nose and forehead, away from everything else: (S, S)."""
        features = cv2.dilate(
            parts(self.mesh, self.side, *EYES, *BROWS, "lips"), disc(self.side / 50)
        )
        return (cv2.erode(self.oval, disc(self.side / 40)) > 0.5) & (features == 0)

    def painted(self, where: Floats, colour: Colour) -> Head:
        """With a colour where (S, S) is 1, and its edges as soft as the rest of the photo's."""
        where = cv2.GaussianBlur(where.astype(np.float32), (0, 0), self.side / 512)[..., None]
        photo = self.photo * (1 - where) + where * np.array(colour, np.float32)
        return replace(self, photo=np.rint(photo).astype(np.uint8))

    def fringe(self, colour: Colour, down: float = -0.72) -> Floats:
        """(S, S): hair that hangs over the forehead in locks, to about the brows."""
        y, x = np.mgrid[: self.side, : self.side].astype(np.float32)
        row, _ = self.at(0, down)
        locks = row + self.side / 50 * np.sin(x * 60 / self.side)
        inside = np.abs(x - self.side / 2) < 0.27 * self.side
        return ((y < locks) & (y > 0.2 * self.side) & inside).astype(np.float32)


@lru_cache(maxsize=64)
def head(
    skin: Colour = OLIVE,
    hair: Colour = BLACK,
    *,
    side: int = 256,
    shade: float = 0.0,
    grain: float = 1.5,
    wall: Colour = (120, 128, 135),
) -> Head:
    """``shade``: how much darker the face is on its left than on its right; ``grain``: sigma."""
    mesh = canonical().vertices[:, :2].astype(np.float32) * 0.246 * side
    mesh += np.array([0.5 * side, 0.596 * side], np.float32)
    face = oval(mesh, side)
    photo = np.full((side, side, 3), wall, np.float32)

    def fill(where: Floats, colour: Colour) -> None:
        photo[:] = photo * (1 - where[..., None]) + where[..., None] * np.array(colour, np.float32)

    def ellipse(x: float, y: float, across: float, down: float) -> Floats:
        drawn = np.zeros((side, side), np.uint8)
        middle, axes = (
            (round(x * side), round(y * side)),
            (round(across * side), round(down * side)),
        )
        return cv2.ellipse(drawn, middle, axes, 0, 0, 360, 1, -1).astype(np.float32)

    fill(ellipse(0.5, 0.5, 0.36, 0.42), hair)
    neck = np.zeros((side, side), np.float32)
    neck[int(0.8 * side) :, int(0.4 * side) : int(0.6 * side)] = 1
    fill(neck, tuple(np.array(skin) * 4 // 5))
    fill(face, skin)
    fill(parts(mesh, side, *BROWS), tuple(np.array(hair) // 2 + np.array(skin) // 7))
    fill(parts(mesh, side, *EYES), (225, 222, 220))
    for corners in ((33, 133), (263, 362)):
        x, y = mesh[list(corners)].mean(0) / side
        fill(ellipse(x, y, 0.016, 0.016), (45, 32, 26))
    fill(parts(mesh, side, "lips"), (int(0.8 * skin[0]), int(0.5 * skin[1]), int(0.55 * skin[2])))
    fall = 1 - shade * np.linspace(0, 1, side, dtype=np.float32) ** 2
    photo *= fall[None, :, None]
    photo = cv2.GaussianBlur(photo, (0, 0), side / 400)
    noise = np.random.default_rng(side).normal(0, grain, (side, side, 1))
    return Head(np.clip(np.rint(photo + noise), 0, 255).astype(np.uint8), mesh, face)


def disc(radius: float) -> NDArray[np.uint8]:
    size = 2 * max(1, round(radius)) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
