"""Glasses on a face: frames, told by their lines, and dark lenses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from portrayer.image.canonical import EYES
from portrayer.image.mesh import parts

Floats = NDArray[np.float32]

# Lengths below are in widths of an eye unless they say otherwise.
WIDEST = 1 / 20  # of the side: a frame's line is thinner
# A line is so much darker than what is beside it, on the mean of its length: no glasses up to the
# first, certainly from the second on. Measured on 700 portraits, 80 of them with glasses.
RIM, BRIDGE = (0.23, 0.26), (0.28, 0.31)
LINE = 0.1, 0.22  # and each of its pixels
AROUND = np.radians(np.arange(90, 455, 5))  # a rim, from its lowest point clockwise
BELOW = np.r_[0:14, -14:0]  # of these: where a rim is not mistaken for a brow
RADII = np.linspace(0.5, 1.35, 20)  # of a rim, from the eye's middle
BROW = 0.75  # of that, upwards: the next line is the brow
ARMS = 0.9, 0.6  # from the eye's middle: where they begin, and up or down of it
LENSES = 1.3, 1.2  # across and up or down of it: no lens goes beyond
LENS, CHEEK = np.linspace(0.45, 0.75, 6), np.linspace(1.5, 2.0, 6)
DARK = 0.66, 0.6  # of the cheek's lightness: no dark lens, certainly one
WHITE = 0.85  # and so much of the eye's white: shade is no lens
REACH = 2.8, 1.5  # from between the eyes, across and down: of all that glasses are


@dataclass(frozen=True, slots=True, eq=False)
class Eyes:
    """``middles`` (2, 2) of the right and left eye, in pixels, the ``width`` of one, and the face's
    axes ``across`` and ``down`` (2,).
    """

    middles: Floats
    width: float
    across: Floats
    down: Floats

    def around(self, which: int, radii: NDArray[np.float64]) -> Floats:
        """(73, R, 2) points on rays from an eye's middle, downwards first and last."""
        up = np.minimum(np.sin(AROUND) * (1 - BROW), 0)
        rays = np.outer(np.cos(AROUND), self.across) + np.outer(np.sin(AROUND) - up, self.down)
        return self.middles[which] + self.width * (radii[:, None] * rays[:, None])

    def lens(self, which: int, side: int) -> NDArray[np.uint8]:
        """(side, side), 1 around one eye, where a lens may be."""
        across, down = (
            reach * self.width * axis
            for reach, axis in zip(LENSES, (self.across, self.down), strict=True)
        )
        corners = self.middles[which] + np.stack([across, down, -across, -down])
        corners += np.stack([down, -across, -down, across])
        drawn = np.zeros((side, side), np.uint8)
        return cv2.fillConvexPoly(drawn, np.rint(corners).astype(np.int32), 1)

    def between(self) -> Floats:
        """(11, 24, 2) points on lines down the nose's bridge, side by side."""
        steps = (self.middles[1] - self.middles[0]) * np.linspace(0.36, 0.64, 11)[:, None]
        lines = self.width * np.outer(np.linspace(-0.3, 0.55, 24), self.down)
        return self.middles[0] + steps[:, None] + lines


def glasses(light: Floats, mesh: ArrayLike) -> Floats:
    """How much of each pixel is glasses, (S, S) float32 0..1: the lines of a dark frame, also
    where they cover a brow, and dark lenses.

    ``light``: (S, S), OKLab's lightness of a crop that a face fills by about half; ``mesh``:
    (468, 2) or (468, 3) in its pixels. A rim passes below both eyes, where no skin has such a line,
    and crosses the nose. Frames as light as the skin are not seen.
    """
    eyes = _eyes(np.asarray(mesh, np.float32)[:, :2])
    near = _near(eyes, len(light))
    opened = [parts(mesh, len(light), name) for name in ("right-eye", "left-eye")]
    return np.maximum(_frame(light, opened, eyes) * near, _lenses(light, opened, eyes, near))


def _eyes(vertices: Floats) -> Eyes:
    corners = vertices[np.array(EYES)]
    middles = corners.mean(1)
    width = float(np.linalg.norm(corners[:, 0] - corners[:, 1], axis=1).max())
    across = middles[1] - middles[0]
    across = across / max(1e-3, float(np.linalg.norm(across)))
    return Eyes(middles, max(1.0, width), across, np.array([-across[1], across[0]]))


def _near(eyes: Eyes, side: int) -> Floats:
    """1 around the eyes, where glasses are; soft at its rim."""
    x, y = np.arange(side, dtype=np.float32) - eyes.middles.mean(0)[:, None]
    away = [
        x * (axis[0] / (reach * eyes.width)) + (y * (axis[1] / (reach * eyes.width)))[:, None]
        for axis, reach in zip((eyes.across, eyes.down), REACH, strict=True)
    ]
    return _ramp(np.hypot(away[0] ** 2, away[1] ** 2), 1, 0.8)  # a square with round corners


def _frame(light: Floats, opened: Sequence[Floats], eyes: Eyes) -> Floats:
    """The lines of rims, bridge and arms."""
    side = len(light)
    calm = cv2.GaussianBlur(light, (0, 0), side / 512)
    closed = cv2.morphologyEx(calm, cv2.MORPH_CLOSE, _disc(side * WIDEST / 2))
    ridges = (closed - calm) / (closed + np.float32(0.05))
    rims, paths = _darkest(ridges, np.stack([eyes.around(which, RADII) for which in range(2)]))
    sure = _share(float(rims[:, BELOW].mean(1).min()), *RIM)
    if not sure:
        return np.zeros_like(light)
    bridge, crossing = _darkest(ridges, eyes.between()[None])
    sure = min(sure, _share(float(bridge.mean()), *BRIDGE))
    if not sure:
        return np.zeros_like(light)
    lines = _ramp(ridges, *LINE) * _along([*paths, *crossing], eyes, side)
    lines *= 1 - cv2.dilate(np.maximum(*opened), _disc(side / 128))
    return sure * lines * _joined(lines > 0.3, paths[:, BELOW].reshape(-1, 2))


def _along(paths: Sequence[Floats], eyes: Eyes, side: int) -> Floats:
    """1 near the lines ``paths`` (N, 2) and where the arms are, softly."""
    drawn = np.zeros((side, side), np.uint8)
    thick = round(1.3 * WIDEST * side)
    outward = eyes.width * np.stack([-eyes.across, eyes.across])
    drop = ARMS[1] * eyes.width * eyes.down
    for middle, out in zip(eyes.middles, outward, strict=True):
        near, far = middle + ARMS[0] * out, middle + REACH[0] * out
        arm = np.stack([near - drop, far - drop, far + drop, near + drop])
        cv2.fillConvexPoly(drawn, np.rint(arm).astype(np.int32), 1)
    for path in paths:
        cv2.polylines(drawn, [np.rint(path).astype(np.int32)], False, 1, thick)
    return cv2.blur(drawn.astype(np.float32), (3, 3))


def _lenses(light: Floats, opened: Sequence[Floats], eyes: Eyes, near: Floats) -> Floats:
    """What is dark around both eyes."""
    side = len(light)
    behind = [
        float(np.percentile(light[eye > 0.5], 90)) if eye.max() > 0.5 else 1.0 for eye in opened
    ]
    lenses, cheeks = (
        [float(np.median(_at(light, eyes.around(which, at)[BELOW]))) for which in range(2)]
        for at in (LENS, CHEEK)
    )
    sure = min(
        _share(max(lens, WHITE * eye) / max(1e-3, cheek), *DARK)
        for lens, eye, cheek in zip(lenses, behind, cheeks, strict=True)
    )
    if not sure:
        return np.zeros_like(light)
    limit = max(1e-3, 0.72 * min(cheeks))
    shade = _ramp(cv2.GaussianBlur(light, (0, 0), side / 256), 1.1 * limit, 0.9 * limit) * near
    shade = cv2.morphologyEx(shade, cv2.MORPH_CLOSE, _disc(side / 48))
    places = np.concatenate([eyes.around(which, LENS)[BELOW] for which in range(2)])
    shade *= _joined(shade > 0.5, places.reshape(-1, 2))
    for which in range(2):  # what is reflected in a lens is bright, but a lens is convex
        dark = cv2.findNonZero(eyes.lens(which, side) * (shade > 0.5))
        if dark is not None:
            cv2.fillConvexPoly(shade, cv2.convexHull(dark), 1.0)
    return sure * shade


def _darkest(ridges: Floats, places: Floats) -> tuple[Floats, Floats]:
    """The darkest line from the first to the last of ``places`` (K, N, R, 2), for each of K, that
    goes at most one of R aside a step: how dark it is (K, N), and its points (K, N, 2).
    """
    count, length, width, _ = places.shape
    values = _at(ridges, places.reshape(-1, width, 2)).reshape(count, length, width)
    beside = np.full((count, width + 2), -np.inf, np.float32)
    steps = np.lib.stride_tricks.sliding_window_view(beside, 3, axis=1)
    best, came = values[:, 0], []
    for k in range(1, length):
        beside[:, 1:-1] = best
        came.append(np.arange(-1, width - 1) + steps.argmax(2))
        best = values[:, k] + steps.max(2)
    each = np.arange(count)
    where = [best.argmax(1)]
    for back in reversed(came):
        where.append(back[each, where[-1]])
    at = each[:, None], np.arange(length), np.stack(where[::-1], 1)
    return values[at], places[at]


def _joined(mask: NDArray[np.bool_], points: Floats) -> Floats:
    """1 on the connected parts of a mask (S, S) that have one of the points (N, 2), softly."""
    x, y = np.clip(np.rint(points).astype(int), 0, len(mask) - 1).T
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), None, 8)
    kept = np.zeros(labels.max() + 1, np.float32)
    kept[labels[y, x]] = 1
    kept[0] = 0
    return cv2.dilate(kept[labels], np.ones((3, 3), np.uint8))


def _at(array: Floats, points: Floats) -> Floats:
    x, y = np.moveaxis(points.astype(np.float32), -1, 0)
    return cv2.remap(array, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _disc(radius: float) -> NDArray[np.uint8]:
    size = 2 * max(1, round(radius)) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))


def _share(x: float, low: float, high: float) -> float:
    """:func:`_ramp` of a number."""
    return float(np.clip((x - low) / (high - low), 0, 1))


def _ramp(x: Floats, low: float, high: float) -> Floats:
    """0 at ``low``, 1 at ``high``, straight between them; ``low`` may be the larger."""
    return np.clip((x - np.float32(low)) * np.float32(1 / (high - low)), 0, 1)
