"""Face meshes: one in another's pose, towards another's shape, and pictures that follow them.

A mesh is (468, 3): x to the right, y down and depth, smaller is nearer, in pixels, with pixel
centres at integers; numbered as in :mod:`portrayer.image.canonical`. Where depth plays no part,
(468, 2) does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from portrayer.image.canonical import OVAL, PARTS, Floats, canonical
from portrayer.image.faces import Matrix, similarity
from portrayer.image.raster import interpolate, membrane
from portrayer.image.shape import Mesh, posed, ramp, rigid, towards
from portrayer.image.visible import coverage, nearest_last, net, rimmed, turns
from portrayer.types import Matte

__all__ = [
    "Mesh",
    "bend",
    "complete",
    "mirrored",
    "oval",
    "parts",
    "posed",
    "rigid",
    "towards",
    "warp",
]

SEEN, MISSING = 0.9, 0.02  # of a face's skin so much is less covered: that is all of it
SOFT = 1 / 256  # of the side: sigma by which what is covered is softened

SKIPPED = 1.2  # texture pixels for one of the picture, up to which none are averaged
COARSE = 4  # pixels of the picture for one at which its surroundings are moved
LENIENT = 1 / 128  # of the side: sigma by which :func:`bend` eases what moves
BORDER = 1 / 32  # of the side: within this, :func:`bend` comes to rest
FINE = 4  # pixels a side, of which one of a mask is the mean
SUBPIXEL = 4  # bits of OpenCV's coordinates behind the point

STILL: Matrix = np.array([[1, 0, 0], [0, 1, 0]], np.float64)


def warp(
    texture: NDArray[Any], mesh_from: ArrayLike, mesh_to: ArrayLike, side: int
) -> tuple[NDArray[Any], Matte]:
    """The face of ``texture`` (H, W, 3), uint8 or float32, where ``mesh_from`` lies in it, as a
    picture (side, side, 3) where ``mesh_to`` lies; and how well it is ``covered`` (side, side).

    Affine within each triangle, cubic, averaged where the picture is coarser. ``covered``: 1 where
    a place is seen in both meshes, less where it is turned away in one of them or is an opening,
    of an eye or the mouth, that the texture does not have; fades to 0 a little beyond the contour.
    Outside the face lies what lies around it in the texture. ``ValueError`` for meshes that are no
    face's.
    """
    start, goal = _flat(mesh_from), _flat(mesh_to)
    base = similarity(goal, start)
    x, y, covered = _field(start, goal, base, coverage(start, goal), side)
    along = np.arange(side, dtype=np.float32)[:, None]
    (xx, xy, x0), (yx, yy, y0) = base.astype(np.float32)
    x += xx * along.T + (xy * along + x0)
    y += yx * along.T + (yy * along + y0)
    finer = np.hypot(xx, yx)
    if finer > SKIPPED:
        height, width = texture.shape[:2]
        h, w = max(1, round(height / finer)), max(1, round(width / finer))
        texture = cv2.resize(texture, (w, h), interpolation=cv2.INTER_AREA)
        x, y = (x + 0.5) * (w / width) - 0.5, (y + 0.5) * (h / height) - 0.5
    return _sample(texture, x, y), cv2.GaussianBlur(covered, (0, 0), max(0.5, SOFT * side))


def bend(crop: NDArray[Any], mesh_from: ArrayLike, mesh_to: ArrayLike) -> NDArray[Any]:
    """``crop`` (S, S, 3), uint8 or float32, whose face goes from one mesh to another, and what is
    around it goes along, less and less towards the border.

    Where nothing moves, no pixel changes.
    """
    start, goal = _flat(mesh_from), _flat(mesh_to)
    side = len(crop)
    x, y, _ = _field(start, goal, STILL, np.zeros(net().triangles.shape), side)
    along = np.arange(side, dtype=np.float32)
    rest = ramp(np.minimum(along, along[::-1]), 0, BORDER * side)
    rest = np.minimum(rest, rest[:, None])
    # Where a nose hides a cheek, neighbours go different ways: not at once.
    x, y = (cv2.GaussianBlur(shift, (0, 0), LENIENT * side) * rest for shift in (x, y))
    return _sample(crop, x + along, y + along[:, None])


def complete(
    texture: NDArray[Any], mesh_from: ArrayLike, mesh_to: ArrayLike, side: int
) -> tuple[NDArray[Any], Matte]:
    """:func:`warp` of a face that may be turned: what ``texture`` (H, W, 3) does not show of it, is
    taken from its mirror image.
    """
    picture, covered = warp(texture, mesh_from, mesh_to, side)
    skin = parts(mesh_to, side, "oval") - parts(mesh_to, side, "mouth", "right-eye", "left-eye")
    if np.mean(covered[skin == 1] < SEEN) < MISSING:
        return picture, covered
    other, also = warp(*mirrored(texture, mesh_from), mesh_to, side)
    also *= 1 - covered
    share = also / np.maximum(covered + also, np.float32(1e-6))
    mixed = picture + share[..., None] * np.subtract(other, picture, dtype=np.float32)
    if picture.dtype == np.uint8:
        mixed = np.clip(np.rint(mixed), 0, 255)
    return mixed.astype(picture.dtype), covered + also


def mirrored(texture: NDArray[Any], mesh: ArrayLike) -> tuple[NDArray[Any], Mesh]:
    """A picture (H, W, 3) and the mesh in it, (468, 2) or (468, 3), in the mirror: of a turned
    face, what :func:`warp` says is not covered is often seen there.
    """
    flipped = np.array(mesh, np.float32)[canonical().mirror]
    flipped[:, 0] = texture.shape[1] - 1 - flipped[:, 0]
    return np.ascontiguousarray(texture[:, ::-1]), flipped


def oval(mesh: ArrayLike, side: int) -> Matte:
    """The face (side, side) that ``mesh`` lies on: its contour and, turned aside, what stands out
    beyond; 1 inside, antialiased.
    """
    flat = _flat(mesh)
    front = canonical().triangles[turns(flat, canonical().triangles) > 0]
    return _filled([flat[list(OVAL)], *flat[front]], side)


def parts(mesh: ArrayLike, side: int, *names: str) -> Matte:
    """The parts of a face (side, side), by their names in :data:`PARTS`: 1 inside, antialiased."""
    flat = _flat(mesh)
    return _filled([flat[list(PARTS[name])] for name in names], side)


def _filled(polygons: Sequence[Floats], side: int) -> Matte:
    """(side, side): 1 within any of the polygons (N, 2)."""
    fine = np.zeros((FINE * side, FINE * side), np.uint8)
    for polygon in polygons:
        points = (polygon + 0.5) * FINE - 0.5
        fixed = np.round(points * 2**SUBPIXEL).astype(np.int32)
        cv2.fillPoly(fine, [fixed], 255, cv2.LINE_8, SUBPIXEL)
    drawn: Matte = cv2.resize(fine, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)
    drawn /= 255
    return drawn


def _field(
    start: Floats, goal: Floats, base: Matrix, covered: Floats, side: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], Matte]:
    """By how much, x and y (side, side), what lies at a pixel of the picture, where the mesh is
    ``goal``, lies from where ``base`` takes it, where the mesh is ``start``; and the ``covered``
    (T, 3) of the triangles' corners, (side, side).
    """
    ends = rimmed(goal)
    away = rimmed(start) - ends @ base[:, :2].T - base[:, 2]
    order = nearest_last(goal)
    triangles = net().triangles[order]
    values = np.empty((len(triangles), 3, 4))
    values[..., :2] = away[triangles]
    values[..., 2] = covered[order]
    values[..., 3] = triangles < len(goal)
    x, y, seen, inner = interpolate(ends[triangles], values, side)
    # Inside the contour lies the mesh's own, and over its rim it passes into what surrounds it.
    x *= inner
    y *= inner
    size = (max(1, side // COARSE),) * 2
    small = [cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in (x, y, inner)]
    inner -= 1
    for own, sheet in zip((x, y), membrane(small[:2], small[2]), strict=True):
        own -= inner * cv2.resize(sheet, (side, side), interpolation=cv2.INTER_LINEAR)
    return x, y, seen


def _sample(picture: NDArray[Any], x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[Any]:
    return cv2.remap(picture, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def _flat(mesh: ArrayLike) -> Floats:
    """(468, 2) of a mesh with depth or without."""
    flat = np.asarray(mesh, np.float64)[:, :2]
    if flat.shape != (len(canonical().vertices), 2) or not np.isfinite(flat).all():
        raise ValueError(f"a mesh is (468, 2) or (468, 3), all of it somewhere, not {flat.shape}")
    return flat
