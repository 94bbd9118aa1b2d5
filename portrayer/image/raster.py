"""Values between points: within triangles exactly, beyond them as smoothly as a membrane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]

COARSEST = 8  # pixels a side at which a membrane is first laid
SWEEPS = 12  # of relaxation at each size: the coarser ones have done the far-reaching work


def interpolate(corners: NDArray[np.float64], values: NDArray[np.float64], side: int) -> Floats:
    """Triangles painted one over the other, (C, side, side) float32; 0 where none is.

    ``corners``: (T, 3, 2) x, y in pixels, clockwise in a picture; others are left out. ``values``:
    (T, 3, C) at the corners, linear between them. Triangles that share an edge neither overlap nor
    leave a gap: a pixel is whose its centre is.
    """
    first, second, third = (corners[:, k] for k in range(3))
    u, v = second - first, third - first
    turn = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    seen = turn > 1e-9
    corners, values, u, v = corners[seen], values[seen], u[seen], v[seen]
    across, down = values[:, 1] - values[:, 0], values[:, 2] - values[:, 0]
    turn = turn[seen, None]
    right = (across * v[:, 1:] - down * u[:, 1:]) / turn  # what a pixel to the right adds
    below = (down * u[:, :1] - across * v[:, :1]) / turn

    triangle, y, start, stop = spans(corners, side)
    x0, y0 = corners[triangle, 0].T
    left = values[triangle, 0] + right[triangle] * (start - x0)[:, None]
    left += below[triangle] * (y - y0)[:, None]
    count = stop - start
    span = np.repeat(np.arange(len(count)), count)
    step = np.arange(len(span)) - np.repeat(np.cumsum(count) - count, count)
    made = left.astype(np.float32)[span]
    made += right.astype(np.float32)[triangle][span] * step.astype(np.float32)[:, None]
    at = (y * side + start)[span] + step
    result = np.zeros((values.shape[2], side * side), np.float32)
    for plane, value in zip(result, made.T, strict=True):
        plane[at] = value  # of several, the last stays
    return result.reshape(-1, side, side)


def spans(
    corners: NDArray[np.float64], side: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The rows of pixels that triangles (T, 3, 2) cover in a square: triangle, y, first x, and the
    one after the last, each (S,); in the triangles' order.
    """
    ends = np.stack([corners, np.roll(corners, -1, 1)], 2)  # (T, edge, end, 2)
    upward = ends[:, :, 0, 1] > ends[:, :, 1, 1]
    ends[upward] = ends[upward, ::-1]  # so that two triangles reckon their edge alike
    high, low = ends[:, :, 0], ends[:, :, 1]
    rise = low[..., 1] - high[..., 1]
    slope = (low[..., 0] - high[..., 0]) / np.where(rise > 0, rise, np.inf)  # level ones: no row's
    begin, end = np.ceil(high[..., 1]), np.ceil(low[..., 1])
    top = np.clip(begin.min(1), 0, side).astype(np.int64)
    count = np.clip(end.max(1), 0, side).astype(np.int64) - top
    triangle = np.repeat(np.arange(len(corners)), count)
    y = np.arange(len(triangle)) - np.repeat(np.cumsum(count) - count, count) + top[triangle]
    row = y[:, None]
    met = (begin[triangle] <= row) & (row < end[triangle])
    x = high[triangle, :, 0] + (row - high[triangle, :, 1]) * slope[triangle]
    start = np.ceil(np.where(met, x, np.inf).min(1)).clip(0, side).astype(np.int64)
    stop = np.ceil(np.where(met, x, -np.inf).max(1)).clip(0, side).astype(np.int64)
    some = stop > start
    return triangle[some], y[some], start[some], stop[some]


def membrane(held: Sequence[Floats], weight: Floats) -> list[Floats]:
    """Maps (S, S) of values that are known here and there; between them and zeros along the border
    they lie as a stretched membrane would (Laplace's equation), relaxed from coarse to fine.

    ``weight``: (S, S) how well they are known, 0..1; ``held``: the values times that.
    """
    side = len(weight)
    if side > COARSEST:
        half = [
            cv2.resize(part, (side // 2, side // 2), interpolation=cv2.INTER_AREA)
            for part in (*held, weight)
        ]
        sheets = [
            cv2.resize(guess, (side, side), interpolation=cv2.INTER_LINEAR)
            for guess in membrane(half[:-1], half[-1])
        ]
    else:
        sheets = [np.zeros_like(part) for part in held]
    free = (weight == 0).astype(np.float32)
    free[[0, -1]] = free[:, [0, -1]] = 0
    weight = np.maximum(weight, np.finfo(np.float32).tiny)
    for sheet, part in zip(sheets, held, strict=True):
        known = part / weight
        for _ in range(SWEEPS):
            cv2.blur(sheet, (3, 3), sheet, borderType=cv2.BORDER_REPLICATE)
            np.multiply(sheet, free, sheet)
            np.add(sheet, known, sheet)
    return sheets
