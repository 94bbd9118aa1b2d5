"""Faces in and out of a photo: alignment to a template, and the way back without a seam."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from portrayer.image.geometry import resize
from portrayer.image.tiles import SIDE, Box, tiles
from portrayer.types import Image

SKIPPED = 1.2  # pixels a sample stands for, up to which means would blur more than they mend
FULL = 0.8  # of the way from a crop's middle to its border, a face is pasted whole
CLAIM = 8  # the power of a pixel's depth in a crop; the deeper of two faces has it
COARSE = 64  # pixels a side at which a crop's low frequencies are taken
LOW = 1 / 12  # of a crop's side: sigma of its low frequencies

Matrix = NDArray[np.float64]
"""(2, 3): where a point goes, ``matrix @ (x, y, 1)``. Pixel centres are at integers."""

TEMPLATES: Mapping[str, NDArray[np.float32]] = {
    name: np.array(points, np.float32)
    for name, points in {
        "ffhq": (
            (0.37691676, 0.46864664),
            (0.62285697, 0.46912813),
            (0.50123859, 0.61331904),
            (0.39308822, 0.72541100),
            (0.61150205, 0.72490465),
        ),
        "gpen": (
            (0.39461071, 0.47438274),
            (0.60435595, 0.47322262),
            (0.50015, 0.59367025),
            (0.41398394, 0.71646132),
            (0.58767798, 0.7155006),
        ),
        "arcface": (
            (0.34191607, 0.46157411),
            (0.65653393, 0.45983393),
            (0.500225, 0.64050536),
            (0.37097589, 0.82469196),
            (0.63151696, 0.82325089),
        ),
        "arcface-112-v1": (
            (0.35473214, 0.45658929),
            (0.64526786, 0.45658929),
            (0.5, 0.61154464),
            (0.37913393, 0.776875),
            (0.62086607, 0.776875),
        ),
        "arcface-128": (
            (0.36167656, 0.40387734),
            (0.63696719, 0.40235469),
            (0.50019687, 0.56044219),
            (0.38710391, 0.72160547),
            (0.61507734, 0.72034453),
        ),
    }.items()
}
"""Where a face's five points (5, 2) lie in a crop, x and y as shares of its side: right eye, left
eye, nose, right and left mouth corner. Networks were trained on one of these."""


def align(image: Image, points: ArrayLike, template: str, side: int) -> tuple[Image, Matrix]:
    """The face of five ``points`` (5, 2), in pixels of ``image`` (H, W, 3), as the crop
    (side, side, 3) that a template of :data:`TEMPLATES` asks for; uint8.

    Returns the crop and the matrix (2, 3), image to crop, that :func:`paste` needs to come back.
    ``ValueError`` for points that are no face (see :func:`similarity`).
    """
    matrix = similarity(points, TEMPLATES[template] * side)
    return warp(image, matrix, side), matrix


@dataclass(frozen=True, slots=True)
class Patch:
    """One face to be pasted: its crop (S, S, 3) ``before`` and ``after`` in levels, how much of the
    change is taken, the ``matrix`` (2, 3) from photo to crop, and the ``box`` of it in the photo.
    """

    before: NDArray[Any]
    after: NDArray[Any]
    strength: float
    matrix: Matrix
    box: Box

    def change(self, colour: float) -> NDArray[np.float32]:
        """(S, S, 3) levels that are added, without ``colour`` of their low frequencies."""
        change = np.subtract(self.after, self.before, dtype=np.float32)
        if colour:
            side = len(change)
            coarse = min(side, COARSE)
            low = cv2.GaussianBlur(resize(change, coarse, coarse), (0, 0), LOW * coarse)
            change -= np.float32(colour) * resize(low, side, side)
        if self.strength != 1:
            change *= np.float32(self.strength)
        return change


def paste(
    image: Image,
    crops_before: Sequence[NDArray[Any]],
    crops_after: Sequence[NDArray[Any]],
    matrices: Sequence[Matrix],
    strengths: Iterable[float],
    *,
    colour: float = 1.0,
) -> Image:
    """``image`` (H, W, 3) with faces that were cut out of it put back as something has changed
    them.

    ``crops_before``, ``crops_after``: (N, S, S, 3) in levels 0..255, uint8 or float32;
    ``matrices`` (N, 2, 3): image to crop, as :func:`align` gave them; ``strengths``: how much of
    each face is taken, 0..1. ``colour``: how much of the change's low frequencies is left out,
    0..1: at 1 neither tint nor light of a face moves.

    Only the difference is added, faded out towards each crop's border: where nothing was changed
    nothing changes, and a face that is larger than its crop keeps its own finer detail. Where
    crops overlap, the face has a pixel that has it nearer to its middle, whatever their order.
    """
    height, width = image.shape[:2]
    patches = [
        Patch(before, after, strength, matrix, _box(matrix, len(after), image))
        for before, after, matrix, strength in zip(
            crops_before, crops_after, matrices, strengths, strict=True
        )
    ]
    patches.sort(key=lambda patch: patch.matrix.tobytes())  # sums of floats depend on their order
    result = image.copy()
    for tile in tiles(height, width, SIDE, 0):
        shown = [(patch, box) for patch in patches if (box := _overlap(patch.box, tile.inner))]
        if shown:
            _paste(result, shown, colour)
    return result


def similarity(source: ArrayLike, target: ArrayLike) -> Matrix:
    """The rotation, scale and shift (2, 3) that bring points nearest to others (N, 2), N >= 2.

    Least squares without reflection (Umeyama, 1991). In the plane that is a regression of complex
    numbers, target = slope . source + offset. ``ValueError`` where it has no answer: fewer than
    two points, all in one place, or no turning of one set that resembles the other.
    """
    here, there = (np.asarray(points, np.float64) for points in (source, target))
    if here.shape != there.shape or here.ndim != 2 or here.shape[1] != 2 or len(here) < 2:
        raise ValueError(f"two lists of two or more points, not {here.shape} and {there.shape}")
    if not (np.isfinite(here).all() and np.isfinite(there).all()):
        raise ValueError("a point is nowhere")
    s, t = here @ (1, 1j), there @ (1, 1j)
    centred = s - s.mean()
    spread = np.vdot(centred, centred).real
    product = np.vdot(centred, t - t.mean())
    # Both vanish with the points' own rounding, never exactly.
    if spread <= (1e-9 * np.abs(s).max()) ** 2 * len(s) or abs(product) <= 1e-9 * spread:
        raise ValueError("the points lie in one place")
    slope = product / spread
    offset = t.mean() - slope * s.mean()
    return np.array([[slope.real, -slope.imag, offset.real], [slope.imag, slope.real, offset.imag]])


def warp(
    image: NDArray[Any], matrix: Matrix, side: int, *, border: float | None = None
) -> NDArray[Any]:
    """The square (side, side[, C]) of ``image`` (H, W[, C]) that ``matrix`` (2, 3), image to
    square, shows; uint8 or float32, as it comes.

    Bilinear; where the square is smaller than what it shows, area means. Beyond the image lies the
    nearest of its pixels, or the value ``border``. Only the part that is shown is worked on.
    """
    return resample(image, matrix, side, side, border=border)


def resample(
    image: NDArray[Any],
    matrix: Matrix,
    height: int,
    width: int,
    *,
    border: float | None = None,
    growing: int = cv2.INTER_LINEAR,
) -> NDArray[Any]:
    """:func:`warp` to (height, width[, C]); ``growing``: OpenCV's interpolation where it grows."""
    shrink = 1 / np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    if shrink <= SKIPPED:
        return _sample(image, matrix, height, width, 1.0, border, growing)
    # Twice as fine, then means of 2 x 2; what is finer still is averaged before.
    fine, finer = _then(_zoom(2), matrix), max(1.0, shrink / 2)
    large = _sample(image, fine, 2 * height, 2 * width, finer, border, cv2.INTER_LINEAR)
    return cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA)


def relaid(
    crop: NDArray[Any], before: Matrix, after: Matrix, side: int
) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """What a ``crop`` (S, S, 3) shows, as another crop of the same photo shows it, (side, side, 3),
    and how much of that it covers, (side, side) 0..1. ``before``, ``after``: (2, 3), photo to crop.
    """
    matrix = _then(after, cv2.invertAffineTransform(before))
    picture = resample(crop, matrix, side, side, growing=cv2.INTER_CUBIC)
    whole = np.ones(crop.shape[:2], np.float32)
    return picture, resample(whole, matrix, side, side, border=0)


@lru_cache(maxsize=12)
def _masks(side: int) -> NDArray[np.float32]:
    """(side, side, 2): how much of a face is pasted, 1 over all of its oval and 0 on the border;
    and its claim to a pixel that another face has too, which falls from the middle on.
    """
    x = np.linspace(-1, 1, side) ** 4
    away = (x + x[:, None]) ** 0.25  # a square with round corners: 1 on the border
    t = np.clip((1 - away) / (1 - FULL), 0, 1)
    whole = t**3 * (10 - 15 * t + 6 * t**2)
    claim = (1.1 - np.minimum(away, 1)) ** CLAIM
    return np.stack([whole, claim], -1).astype(np.float32)


def _paste(result: Image, shown: Sequence[tuple[Patch, Box]], colour: float) -> None:
    """Adds the patches, each inside its box, to a photo."""
    rows, columns = (
        slice(min(box[axis].start for _, box in shown), max(box[axis].stop for _, box in shown))
        for axis in (0, 1)
    )
    shape = rows.stop - rows.start, columns.stop - columns.start
    total = np.full(shape, 1e-30, np.float32)
    change = np.zeros((*shape, 3), np.float32)
    places = []
    for patch, (down, across) in shown:
        place = (
            slice(down.start - rows.start, down.stop - rows.start),
            slice(across.start - columns.start, across.stop - columns.start),
        )
        here = _then(patch.matrix, np.array([[1, 0, across.start], [0, 1, down.start]], np.float64))
        size = (across.stop - across.start, down.stop - down.start)
        total[place] += _weight(patch, here, size)[..., 1]
        places.append((patch, place, here, size))
    for patch, place, here, (w, h) in places:
        # Sampled a second time, not kept: a crowd's weights would be more than the photo.
        weight = _weight(patch, here, (w, h))
        share = weight[..., 0] * (weight[..., 1] / total[place])
        back = cv2.invertAffineTransform(here)
        part = resample(patch.change(colour), back, h, w, growing=cv2.INTER_CUBIC)
        change[place] += cv2.multiply(part, cv2.merge([share] * 3))
    part = result[rows, columns]
    result[rows, columns] = cv2.add(part, change, dtype=cv2.CV_8U)


def _weight(patch: Patch, here: Matrix, size: tuple[int, int]) -> NDArray[np.float32]:
    """The masks of a patch (h, w, 2) over a part of a photo that ``here`` takes to its crop."""
    # Sampled as it is, not averaged: the border's zeros stay where they are.
    return cv2.warpAffine(
        _masks(len(patch.after)), here, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )


def _box(matrix: Matrix, side: int, image: Image) -> Box:
    """The part of a photo that a crop shows."""
    back = cv2.invertAffineTransform(matrix)
    ends = np.array([-0.5, side - 0.5])
    corners = np.stack(np.meshgrid(ends, ends), -1).reshape(-1, 2) @ back[:, :2].T + back[:, 2]
    low, high = np.floor(corners.min(0)), np.ceil(corners.max(0)) + 1
    limits = image.shape[1::-1]
    (left, top), (right, bottom) = (np.clip(edge, 0, limits).astype(int) for edge in (low, high))
    return slice(top, bottom), slice(left, right)


def _overlap(one: Box, other: Box) -> Box | None:
    rows, columns = (
        slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True)
    )
    return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None


def _sample(
    image: NDArray[Any],
    matrix: Matrix,
    height: int,
    width: int,
    reduction: float,
    border: float | None,
    interpolation: int,
) -> NDArray[Any]:
    """One sample a pixel, of the part that is shown, at one ``reduction``-th of its size."""
    back = cv2.invertAffineTransform(matrix)
    corners = np.array([[-1, -1], [width, -1], [-1, height], [width, height]], np.float64)
    shown = corners @ back[:, :2].T + back[:, 2]
    room = 2 + np.ceil(2 * reduction)
    low, high = np.floor(shown.min(0) - room), np.ceil(shown.max(0) + room)
    limits = np.array(image.shape[1::-1])
    left, top = np.clip(low, 0, limits - 1).astype(int)
    right, bottom = np.maximum(np.clip(high, 0, limits).astype(int), (left + 1, top + 1))
    part = image[top:bottom, left:right]
    back = back - [[0, 0, left], [0, 0, top]]
    if reduction > 1:
        full = np.array(part.shape[1::-1])
        size = np.maximum(1, np.round(full / reduction)).astype(int)
        part = cv2.resize(part, tuple(map(int, size)), interpolation=cv2.INTER_AREA)
        back = _then(_zoom(*(size / full)), back)
    return cv2.warpAffine(
        part,
        back,
        (width, height),
        flags=interpolation | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE if border is None else cv2.BORDER_CONSTANT,
        borderValue=(border or 0.0,) * 4,
    )


def _zoom(x: float, y: float | None = None) -> Matrix:
    """Pixel centres of a picture to those of one that is ``x`` times as wide, ``y`` as high."""
    y = x if y is None else y
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2]])


def _then(last: Matrix, first: Matrix) -> Matrix:
    """``last`` after ``first``."""
    return last @ np.vstack([first, (0, 0, 1)])
