"""A photo whose colours are its coordinates, and networks that see perfectly in it: whoever is
shown a part of it, however moved and scaled, can tell where every face lies in that part.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from portrayer.tasks.faces import CELL
from portrayer.types import Image

CLOSE, FAR, MESH = "face-detector-close", "face-detector", "face-landmarks"
KNOWN = np.random.default_rng(0).uniform(-0.5, 0.5, (468, 3))
KNOWN[:4, :2] = (-0.5, 0), (0.5, 0), (0, -0.5), (0, 0.5)  # a mesh touches its box
FIVE = np.array([(-0.22, -0.1), (0.22, -0.1), (0, 0.1), (-0.18, 0.28), (0.18, 0.28)])


@dataclass(frozen=True)
class Sitter:
    """A face that is there: ``x``, ``y`` of its middle, in pixels; ``real`` is not if no mesh can
    follow it.
    """

    x: float
    y: float
    width: float
    height: float
    score: float = 0.9
    turn: float = 0.0
    real: bool = True

    def place(self, shape: NDArray[np.float64]) -> NDArray[np.float64]:
        """What lies at ``shape`` (N, 2) of an upright face from -.5 to .5, in the photo."""
        c, s = np.cos(self.turn), np.sin(self.turn)
        return (shape * (self.width, self.height)) @ np.array([(c, s), (-s, c)]) + (self.x, self.y)

    @property
    def mesh(self) -> NDArray[np.float64]:
        return self.place(KNOWN[:, :2])

    @property
    def points(self) -> NDArray[np.float64]:
        return self.place(FIVE)


def chart(height: int, width: int) -> Image:
    """A photo whose red is x and whose green is y, dithered; blue tells it from bars."""
    y, x = np.mgrid[:height, :width]
    exact = np.stack([20 + 200 * x / width, 20 + 200 * y / height, np.full(x.shape, 250.0)], 2)
    return np.floor(exact + np.random.default_rng(0).random(exact.shape)).astype(np.uint8)


@dataclass
class Seer:
    """Stands for the engine: it reads in the colours of a sample what part of the photo it shows,
    and answers what perfect networks would.
    """

    photo: Image
    sitters: list[Sitter]
    asked: Counter[str] = field(default_factory=Counter)
    crops: list[Image] = field(default_factory=list)

    def __call__(self, model: str, samples: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert samples.dtype == np.uint8
        self.asked[model] += 1
        sides = {FAR: 640, CLOSE: 320, MESH: 128}
        assert samples.shape[1:] == (sides[model], sides[model], 3)
        self.crops += [*samples] if model == MESH else []
        answer = self.mesh if model == MESH else self.maps
        return np.stack([answer(sample) for sample in samples]).astype(np.float32)

    def shown(self, sample: Image) -> NDArray[np.float64]:
        """(2, 3) from the photo's pixels to the sample's, by least squares over its colours."""
        step = max(1, len(sample) // 80)
        v, u = np.mgrid[: len(sample) : step, : len(sample) : step]
        red, green, blue = np.float64(sample[::step, ::step]).reshape(-1, 3).T
        low, high = 23, 216  # beyond lies the photo's edge, repeated
        good = (blue > 245) & (np.minimum(red, green) > low) & (np.maximum(red, green) < high)
        height, width = self.photo.shape[:2]
        here = np.stack([(red - 20) * width / 200, (green - 20) * height / 200, red * 0 + 1], 1)
        there = np.stack([u.ravel(), v.ravel()], 1)
        # Colours are rounded and pixels are not: they are what is explained.
        ones = np.column_stack([there, np.ones(len(there))])
        back = np.linalg.lstsq(ones[good], here[good], rcond=None)[0]
        return np.linalg.inv(back.T)[:2]

    def maps(self, sample: Image) -> NDArray[np.float64]:
        cells = len(sample) // CELL
        maps = np.zeros((cells, cells, 15))
        maps[..., 0] = -9
        matrix = self.shown(sample)
        for sitter in self.sitters:
            zoom = np.sqrt(np.linalg.det(matrix[:, :2]))
            size = np.array([sitter.width, sitter.height]) * zoom
            if not 8 <= max(size) <= 330:
                continue
            middle = matrix @ (sitter.x, sitter.y, 1)
            column, row = np.clip(np.round((middle - 3.5) / 8), 0, cells - 1).astype(int)
            points = sitter.points @ matrix[:, :2].T + matrix[:, 2]
            maps[row, column] = [
                np.log(sitter.score / (1 - sitter.score)),
                *((middle - 3.5) / 8 - (column, row)),
                *np.log(size / 32),
                *((points - middle) / size).ravel(),
            ]
        return maps

    def mesh(self, sample: Image) -> NDArray[np.float64]:
        matrix = self.shown(sample)
        middle = np.linalg.solve(matrix[:, :2], 63.5 - matrix[:, 2])
        sitter = min(self.sitters, key=lambda s: np.hypot(*(middle - (s.x, s.y))))
        if not sitter.real:
            return np.random.default_rng(sample[60].ravel().tolist()).uniform(0, 1, (473, 3))
        zoom = np.sqrt(np.linalg.det(matrix[:, :2]))
        depth = np.append(KNOWN[:, 2] * sitter.width * zoom, np.zeros(5))
        flat = np.concatenate([sitter.mesh, sitter.points]) @ matrix[:, :2].T + matrix[:, 2]
        return np.column_stack([flat, depth]) / 128
