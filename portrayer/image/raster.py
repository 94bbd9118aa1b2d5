"""Values between points: within triangles exactly, beyond them as smoothly as a membrane."""

from __future__ import annotations

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
    across, down = start - corners[triangle, 0, 0], y - corners[triangle, 0, 1]
    count = stop - start
    before = np.cumsum(count) - count
    span = np.repeat(np.arange(len(count)), count)
    pixel = np.arange(len(span))
    step = (pixel - before[span]).astype(np.float32)
    at = pixel + (y * side + start - before)[span]
    result = np.zeros((values.shape[2], side * side), np.float32)
    # One plane after the other: each pass runs over memory in its order.
    for plane, origin, more, under in zip(result, values[:, 0].T, right.T, below.T, strict=True):
        left = origin[triangle] + more[triangle] * across
        left += under[triangle] * down
        made = more.astype(np.float32)[triangle][span]
        made *= step
        made += left.astype(np.float32)[span]
        plane[at] = made  # of several, the last stays
    return result.reshape(-1, side, side)


def spans(
    corners: NDArray[np.float64], side: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The rows of pixels that triangles (T, 3, 2) cover in a square: triangle, y, first x, and the
    one after the last, each (S,); in the triangles' order.
    """
    here = np.ascontiguousarray(np.moveaxis(corners, 0, 2))  # (corner, x or y, T): long rows
    after = np.roll(here, -1, 0)
    upward = (here[:, 1] > after[:, 1])[:, None]
    # From the upper end down, so that two triangles reckon their edge alike.
    high, low = np.where(upward, after, here), np.where(upward, here, after)
    (x0, y0), (x1, y1) = (np.moveaxis(ends, 1, 0) for ends in (high, low))
    rise = y1 - y0
    slope = (x1 - x0) / np.where(rise > 0, rise, np.inf)  # level ones: no row's
    begin, end = np.ceil(y0), np.ceil(y1)
    top = np.clip(begin.min(0), 0, side).astype(np.int64)
    count = np.clip(end.max(0), 0, side).astype(np.int64) - top
    triangle = np.repeat(np.arange(len(corners)), count)
    y = np.arange(len(triangle)) + (top - (np.cumsum(count) - count))[triangle]
    first, last = np.full((2, len(y)), np.inf)
    np.negative(last, out=last)
    for x, high_y, lean, from_, to in zip(x0, y0, slope, begin, end, strict=True):
        at = x[triangle] + (y - high_y[triangle]) * lean[triangle]
        met = (from_[triangle] <= y) & (y < to[triangle])
        np.minimum(first, at, out=first, where=met)
        np.maximum(last, at, out=last, where=met)
    start, stop = (np.ceil(x).clip(0, side).astype(np.int64) for x in (first, last))
    some = stop > start
    return triangle[some], y[some], start[some], stop[some]


def membrane(held: Floats, weight: Floats) -> Floats:
    """Maps (S, S, C) of values that are known here and there; between them and zeros along the
    border they lie as a stretched membrane would (Laplace's equation), relaxed from coarse to fine.

    ``weight``: (S, S) how well they are known, 0..1; ``held``: the values times that.
    """
    side = len(weight)
    if side > COARSEST:
        half = [
            cv2.resize(part, (side // 2, side // 2), interpolation=cv2.INTER_AREA)
            for part in (held, weight)
        ]
        guess = membrane(half[0], half[1])
        sheet = cv2.resize(guess, (side, side), interpolation=cv2.INTER_LINEAR)
    else:
        sheet = np.zeros_like(held)
    free = (weight == 0).astype(np.float32)
    free[[0, -1]] = free[:, [0, -1]] = 0
    free, weight = (cv2.merge([one] * held.shape[2]) for one in (free, weight))
    known = held / np.maximum(weight, np.finfo(np.float32).tiny)
    for _ in range(SWEEPS):
        cv2.blur(sheet, (3, 3), sheet, borderType=cv2.BORDER_REPLICATE)
        np.multiply(sheet, free, sheet)
        np.add(sheet, known, sheet)
    return sheet
