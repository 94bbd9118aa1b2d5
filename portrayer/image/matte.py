"""Mattes after the network: to full resolution along the photo's own edges, cleaned, shaped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from portrayer.image.geometry import resize
from portrayer.types import Image, Matte

SOFT = 0.02  # mattes this close to 0 or 1 count as decided
LEAN = 0.4  # what a wide soft area is decided around
UNSURE = 0.12  # a hole of the person whose mean is above this is filled
SHIFTS = 0.005, 0.05, 0.5, 5.0  # of the diagonal, until the factorisation exists
# Pixels a side worked on at once: what is decided is skipped. Smaller ones stay in cache and skip
# more, but each costs threads a dozen turns with one another.
TILE = 256

Floats = NDArray[np.float32]
Box = tuple[slice, slice]


def refine(
    image: Image, small: Image, matte: Matte, *, radius: int = 2, eps: float = 2e-4
) -> Matte:
    """A small matte (h, w) at the resolution of ``image`` (H, W, 3), its edges drawn by the
    photo's.

    ``small`` is the same photo at (h, w). Fast guided filter with a colour guide (He and Sun,
    2015): the local linear model matte = a . colour + b is fitted at the small size and evaluated
    at the full one, in the soft band only.
    """
    height, width = image.shape[:2]
    full: Matte = resize(matte, height, width)
    if full is matte:  # the caller's own
        full = matte.copy()
    band = soft(matte)
    if not band.any():
        return full
    band = cv2.dilate(band, np.ones((2 * radius + 1,) * 2, np.uint8))
    slopes, offset = guide(small, matte, radius, eps)
    for box, (a, b) in lift((slopes, offset), band, height, width):
        value = cv2.transform(cv2.multiply(image[box], a, dtype=cv2.CV_32F), np.ones((1, 3)))
        full[box] = np.clip(value + b, 0, 1)
    return full


def soft(matte: Matte) -> NDArray[np.uint8]:
    """1 where a matte is neither clearly background nor clearly foreground."""
    return ((matte > SOFT) & (matte < 1 - SOFT)).astype(np.uint8)


def guide(image: Image, matte: Matte, radius: int, eps: float) -> tuple[Floats, Floats]:
    """The smoothed coefficients of matte = slopes . colour + offset, colours in 0..255.

    ``slopes``: (h, w, 3), ``offset``: (h, w), float32.
    """
    r, g, b = (plane * np.float32(1 / 255) for plane in cv2.split(image))
    # Plane by plane: a third of the time of the same on interleaved channels.
    mr, mg, mb, pm = (_mean(plane, radius) for plane in (r, g, b, matte))
    # Covariance of the colours (regularised) and with the matte; the inverse of a symmetric 3x3 by
    # its cofactors.
    rr = _mean(r * r, radius) - mr * mr + eps
    gg = _mean(g * g, radius) - mg * mg + eps
    bb = _mean(b * b, radius) - mb * mb + eps
    rg, rb, gb = (
        _mean(one * other, radius) - mean * mother
        for one, mean, other, mother in ((r, mr, g, mg), (r, mr, b, mb), (g, mg, b, mb))
    )
    rp, gp, bp = (
        _mean(one * matte, radius) - mean * pm for one, mean in ((r, mr), (g, mg), (b, mb))
    )
    c00, c01, c02 = gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb
    c11, c12, c22 = rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg
    scale = 1 / (rr * c00 + rg * c01 + rb * c02)
    ar = (c00 * rp + c01 * gp + c02 * bp) * scale
    ag = (c01 * rp + c11 * gp + c12 * bp) * scale
    ab = (c02 * rp + c12 * gp + c22 * bp) * scale
    offset = pm - ar * mr - ag * mg - ab * mb
    slopes = (_mean(plane, radius) * np.float32(1 / 255) for plane in (ar, ag, ab))
    return cv2.merge([*slopes]), _mean(offset, radius)


def _mean(plane: Floats, radius: int) -> Floats:
    """The mean of (h, w) in a square of ``radius`` around each pixel."""
    return cv2.blur(plane, (2 * radius + 1,) * 2, borderType=cv2.BORDER_REFLECT)


def lift(
    maps: Sequence[NDArray[Any]], band: NDArray[np.uint8], height: int, width: int
) -> Iterator[tuple[Box, list[NDArray[Any]]]]:
    """Small maps (h, w[, C]) brought to (H, W) bilinearly, tile by tile, only where ``band`` (h, w)
    is set.

    Yields the full-size box and the maps inside it; the boxes do not overlap. Within a pixel of
    what a resize of the whole maps would give, at a fraction of its time and memory.
    """
    h, w = band.shape
    for top, bottom in _spans(h, TILE / height):
        for left, right in _spans(w, TILE / width):
            if not band[top:bottom, left:right].any():
                continue
            rows, inner_rows = _around(top, bottom, h, height)
            columns, inner_columns = _around(left, right, w, width)
            lifted = [
                cv2.resize(
                    part[rows.source, columns.source],
                    (columns.size, rows.size),
                    interpolation=cv2.INTER_LINEAR,
                )[inner_rows, inner_columns]
                for part in maps
            ]
            yield (rows.target, columns.target), lifted


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of one axis of a small map with a margin, and where it lands in the large one."""

    source: slice
    size: int
    target: slice


def _spans(length: int, share: float) -> Iterator[tuple[int, int]]:
    step = max(4, round(length * share))
    return ((at, min(at + step, length)) for at in range(0, length, step))


def _around(start: int, stop: int, length: int, full: int) -> tuple[Span, slice]:
    """The span of [start, stop) with a margin of one, and the part of the resized stretch that is
    kept.
    """
    scale = full / length
    low, high = max(0, start - 1), min(length, stop + 1)
    target = slice(round(start * scale), round(stop * scale))
    first = round(low * scale)
    size = max(1, round(high * scale) - first)
    return Span(slice(low, high), size, target), slice(target.start - first, target.stop - first)


def drop_islands(matte: Matte, share: float = 0.02) -> Matte:
    """Without the parts that are smaller than ``share`` of the largest one: they are never
    somebody.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        (matte > 0.2).astype(np.uint8), connectivity=8
    )
    if count <= 2:
        return matte
    areas = stats[:, cv2.CC_STAT_AREA]
    small = areas < share * areas[1:].max()
    small[0] = False
    if not small.any():
        return matte
    gone = cv2.dilate(small[labels].astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    kept = (
        cv2.dilate((~small[labels] & (labels > 0)).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    )
    return np.where(gone & ~kept, np.float32(0), matte)


def fill_doubts(matte: Matte) -> Matte:
    """Without the holes in a person that the network is not sure of.

    A gap between arm and body is enclosed and surely background. A hole that is enclosed, or open
    only to the frame's lower edge, and yet not sure, is a piece of clothing that was missed.
    """
    away = (matte < LEAN).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(away, connectivity=4)
    if count <= 2:
        return matte
    left, top = stats[:, cv2.CC_STAT_LEFT], stats[:, cv2.CC_STAT_TOP]
    right = left + stats[:, cv2.CC_STAT_WIDTH]
    enclosed = (left > 0) & (top > 0) & (right < matte.shape[1])
    sums = np.bincount(labels.ravel(), weights=matte.ravel(), minlength=count)
    unsure = sums > UNSURE * stats[:, cv2.CC_STAT_AREA]
    holes = enclosed & unsure
    holes[0] = False
    if not holes.any():
        return matte
    filled = cv2.dilate(holes[labels].astype(np.uint8), np.ones((9, 9), np.uint8))
    return np.maximum(matte, cv2.blur(filled.astype(np.float32), (3, 3)))


def settle(matte: Matte) -> Matte:
    """Wide soft areas decided, narrow ones left: haze is doubt, softness at an edge is hair.

    What tells them apart is contrast: around an edge both nearly 0 and nearly 1 are close by. Doubt
    falls to the person a little before the half: a network that has seen more walls than clothes
    is too modest about clothes (measured on held-out photos).
    """
    near = np.ones((9, 9), np.uint8)
    contrast = cv2.dilate(matte, near) - cv2.erode(matte, near)
    doubt = cv2.blur(np.clip(1.6 - 1.6 * contrast, 0, 1), (5, 5))
    decided = np.clip(3 * (matte - LEAN) + 0.5, 0, 1)
    return matte + (decided - matte) * doubt


def subject(matte: Matte, height: int, width: int) -> Box | None:
    """The box, in a photo of (height, width), that shows what is there larger; None if it fills it.

    A fifth of its size is left around it: what the matte missed is near what it found.
    """
    box = bounds(drop_islands(matte), level=LEAN)
    if box is None:
        return None
    spans = []
    for side, length, full in zip(box, matte.shape, (height, width), strict=True):
        room = 0.2 * (side.stop - side.start) + 0.02 * length
        low, high = max(0.0, side.start - room), min(float(length), side.stop + room)
        spans.append(slice(int(low * full / length), int(np.ceil(high * full / length))))
    longest = max(s.stop - s.start for s in spans)
    return (spans[0], spans[1]) if longest <= 0.9 * max(height, width) else None


def contract(matte: Matte, threshold: float) -> Matte:
    """Pull soft values apart: below ``threshold`` to 0, above 1 - threshold to 1; at .5 nothing
    soft is left.
    """
    if threshold <= 0:
        return matte
    if threshold >= 0.5:
        return (matte >= 0.5).astype(np.float32)
    result = matte - threshold
    result *= np.float32(1 / (1 - 2 * threshold))
    return np.clip(result, 0, 1, out=result)


def erode(matte: Matte, pixels: float) -> Matte:
    """The edge moved inwards by ``pixels``; fractions blend the two whole steps around them."""
    whole = int(pixels)
    result = matte
    if whole:
        result = cv2.erode(result, _disc(whole), borderType=cv2.BORDER_REPLICATE)
    if pixels > whole:
        further = cv2.erode(result, _disc(1), borderType=cv2.BORDER_REPLICATE)
        part = pixels - whole
        result = cv2.addWeighted(result, 1 - part, further, part, 0, dst=further)
    return result


def feather(matte: Matte, pixels: float) -> Matte:
    """The edge softened over about ``pixels`` on each side."""
    if pixels <= 0:
        return matte
    return cv2.GaussianBlur(matte, (0, 0), pixels / 2, borderType=cv2.BORDER_REPLICATE)


def bounds(matte: Matte, margin: float = 0.0, level: float = 0.1) -> Box | None:
    """The box around what is visible, ``margin`` (a share of its longer side) added; None for an
    empty matte.
    """
    seen = matte > level
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    if rows.size == 0:
        return None
    extra = round(margin * max(rows[-1] - rows[0], columns[-1] - columns[0]) + margin)
    top, left = max(0, int(rows[0]) - extra), max(0, int(columns[0]) - extra)
    return slice(top, int(rows[-1]) + 1 + extra), slice(left, int(columns[-1]) + 1 + extra)


def closed_form(image: Image, matte: Matte, *, limit: int = 1_000_000) -> Matte:
    """Closed-form matting (Levin et al., 2008) of the soft band; slow, for fine hair.

    Solved on at most ``limit`` pixels, then carried to the full size like :func:`refine` does.
    """
    from pymatting import estimate_alpha_cf, ichol

    height, width = matte.shape
    scale = min(1.0, float(np.sqrt(limit / (height * width))))
    h, w = max(1, round(height * scale)), max(1, round(width * scale))
    small, rough = resize(image, h, w), resize(matte, h, w)
    reach = np.ones((2 * max(2, round(max(h, w) / 120)) + 1,) * 2, np.uint8)
    unknown = cv2.dilate(soft(rough), reach) > 0
    trimap = np.where(unknown, 0.5, np.round(rough)).astype(np.float64)
    if not ((trimap == 0).any() and (trimap == 1).any() and unknown.any()):
        return matte
    solved = estimate_alpha_cf(
        small.astype(np.float64) / 255,
        trimap,
        # Its default tries a smaller shift first, and prints when that fails.
        preconditioner=lambda system: ichol(system, shifts=SHIFTS),
    ).astype(np.float32)
    return solved if (h, w) == (height, width) else refine(image, small, solved, radius=1, eps=1e-5)


def _disc(radius: int) -> NDArray[Any]:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
