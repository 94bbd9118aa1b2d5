"""Face meshes made up for tests: the canonical face in another pose, of another shape."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from portrayer.image.canonical import LIPS, MOUTH, canonical
from portrayer.image.shape import wholes


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """(3, 3): degrees to the picture's right, down, and clockwise."""
    y, p, r = np.radians([yaw, pitch, roll])
    around_y = [[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]]
    around_x = [[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]]
    around_z = [[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]]
    return np.array(around_z) @ around_x @ around_y


def pose(
    shape: np.ndarray,
    side: int,
    yaw: float = 0,
    pitch: float = 0,
    roll: float = 0,
    zoom: float = 1,
) -> np.ndarray:
    """A shape (468, 3) in the middle of a square of ``side`` pixels, float32."""
    turned = shape @ rotation(yaw, pitch, roll).T * (0.25 * zoom * side)
    turned[:, :2] += (side - 1) / 2
    return turned.astype(np.float32)


def person(seed: int, amount: float = 1) -> np.ndarray:
    """The canonical face (468, 3) with a shape of its own: smooth, symmetric, in eye distances."""
    rng = np.random.default_rng(seed)
    at = canonical().vertices
    x, y, _ = at.T
    waves = [np.ones_like(x), y, np.abs(x), y * y, np.cos(3 * y), np.cos(3 * x)]
    moved = [sum(rng.normal(0, 0.015) * wave for wave in waves) for _ in range(3)]
    return at + amount * np.stack([moved[0] * x, moved[1], moved[2]], 1)


def speaking(shape: np.ndarray, opening: float) -> np.ndarray:
    """A shape with its mouth opened by so many eye distances, the chin going along by half."""
    x, y, _ = canonical().vertices.T
    down = 0.5 * np.clip((y - 0.6) / 0.2, 0, 1) * np.clip(1 - np.abs(x), 0, 1)
    lower = wholes()["lips"]
    lower = lower[(y[lower] > 0.585) | np.isin(lower, MOUTH[11:]) | np.isin(lower, LIPS[11:])]
    down[lower] = np.sqrt(np.clip(1 - np.square(x[lower] / 0.42), 0, 1))  # the corners stay
    return shape + opening * down[:, None] * (0, 1, 0)


def gap(mesh: np.ndarray) -> np.ndarray:
    """(9,) between the lips' inner edges, where both are above each other."""
    return np.linalg.norm(mesh[list(MOUTH[1:10])] - mesh[list(MOUTH[:10:-1])], axis=1)


@st.composite
def poses(draw: st.DrawFn, most: float = 25) -> dict[str, float]:
    """What :func:`pose` takes."""
    angles = st.floats(-most, most)
    return {
        "yaw": draw(angles),
        "pitch": draw(angles),
        "roll": draw(st.floats(-40, 40)),
        "zoom": draw(st.floats(0.7, 1.1)),
    }
