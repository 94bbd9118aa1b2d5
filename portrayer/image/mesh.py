"""Face meshes: one in another's pose, towards another's shape, and pictures that follow them.

A mesh is (468, 3): x to the right, y down and depth, smaller is nearer, in pixels, with pixel
centres at integers; numbered as in :mod:`portrayer.image.canonical`. Where depth plays no part,
(468, 2) does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from portrayer.image.canonical import OVAL, PARTS, Floats, canonical
from portrayer.image.faces import Matrix, similarity
from portrayer.image.matte import Box
from portrayer.image.raster import interpolate, membrane
from portrayer.image.shape import Mesh, posed, ramp, rigid, towards
from portrayer.image.visible import coverage, nearest_last, net, rimmed, turns
from portrayer.types import Matte

__all__ = [
    "Both",
    "Mesh",
    "Way",
    "bend",
    "complete",
    "mirrored",
    "oval",
    "parts",
    "posed",
    "rigid",
    "towards",
    "way",
]

SEEN, MISSING = 0.9, 0.02  # of a face's skin so much is less covered: that is all of it
SOFT = 1 / 256  # of the side: sigma by which what is covered is softened

SKIPPED = 1.2  # texture pixels for one of the picture, up to which none are averaged
COARSE = 4  # pixels of the picture for one at which its surroundings are moved
LENIENT = 1 / 128  # of the side: sigma by which :func:`bend` eases what moves
EASY = 4  # pixels of that, from which on every other one is enough
BORDER = 1 / 32  # of the side: within this, :func:`bend` comes to rest
FINE = 4  # pixels a side, of which one of a mask is the mean
SUBPIXEL = 4  # bits of OpenCV's coordinates behind the point

STILL: Matrix = np.array([[1, 0, 0], [0, 1, 0]], np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """How the face of a texture comes into a picture, whatever the texture shows: ``x``, ``y``
    (h, w), where in it each pixel of the picture lies, how well that is ``covered`` (h, w), 0..1,
    and how much ``finer`` the texture is.
    """

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    covered: Matte
    finer: float

    def part(self, box: Box) -> Way:
        """Into a part of the picture."""
        x, y, covered = (plane[box].copy() for plane in (self.x, self.y, self.covered))
        return Way(x, y, covered, self.finer)

    def picture(self, texture: NDArray[Any]) -> NDArray[Any]:
        """``texture`` (H, W[, C]), uint8 or float32, as the picture (h, w[, C])."""
        x, y = self.x, self.y
        if self.finer > SKIPPED:
            height, width = texture.shape[:2]
            h, w = max(1, round(height / self.finer)), max(1, round(width / self.finer))
            texture = cv2.resize(texture, (w, h), interpolation=cv2.INTER_AREA)
            x, y = (x + 0.5) * (w / width) - 0.5, (y + 0.5) * (h / height) - 0.5
        return _sample(texture, x, y)


@dataclass(frozen=True, slots=True, eq=False)
class Both:
    """Two ways into one picture: the second into a part of it alone, the ``box``, and with a
    ``share`` (h, w) in that; of both together, how well it is ``covered`` (side, side).
    """

    first: Way
    second: Way
    box: Box
    share: Matte
    covered: Matte

    def picture(self, texture: NDArray[Any]) -> NDArray[Any]:
        """As :meth:`Way.picture`."""
        made, other = (way.picture(texture) for way in (self.first, self.second))
        made[self.box] = cv2.blendLinear(made[self.box], other, 1 - self.share, self.share)
        return made


def way(mesh_from: ArrayLike, mesh_to: ArrayLike, side: int) -> Way:
    """From where ``mesh_from`` lies in a texture to where ``mesh_to`` lies in a picture of
    (side, side).

    Affine within each triangle, cubic, averaged where the picture is coarser. ``covered``: 1 where
    a place is seen in both meshes, less where it is turned away in one of them or is an opening,
    of an eye or the mouth, that the texture does not have; fades to 0 a little beyond the contour.
    Outside the face lies what lies around it in the texture. ``ValueError`` for meshes that are no
    face's.
    """
    start, goal = _flat(mesh_from), _flat(mesh_to)
    base = similarity(goal, start)
    x, y, covered = _field(start, goal, base, side, coverage(start, goal))
    along = np.arange(side, dtype=np.float32)[:, None]
    (xx, xy, x0), (yx, yy, y0) = base.astype(np.float32)
    x += xx * along.T + (xy * along + x0)
    y += yx * along.T + (yy * along + y0)
    soft = cv2.GaussianBlur(covered, (0, 0), max(0.5, SOFT * side))
    return Way(x, y, soft, float(np.hypot(xx, yx)))


def bend(crop: NDArray[Any], mesh_from: ArrayLike, mesh_to: ArrayLike) -> NDArray[Any]:
    """``crop`` (S, S, 3), uint8 or float32, whose face goes from one mesh to another, and what is
    around it goes along, less and less towards the border.

    Where nothing moves, no pixel changes.
    """
    start, goal = _flat(mesh_from), _flat(mesh_to)
    side = len(crop)
    along = np.arange(side, dtype=np.float32)
    rest = ramp(np.minimum(along, along[::-1]), 0, BORDER * side)
    rest = np.minimum(rest, rest[:, None])
    # Where a nose hides a cheek, neighbours go different ways: not at once. What is eased so much
    # is reckoned at half the side, where that is no different.
    grid = side // 2 if LENIENT * side >= EASY else side
    start, goal = ((flat + 0.5) * (grid / side) - 0.5 for flat in (start, goal))
    rest *= np.float32(side / grid)
    x, y = (
        cv2.resize(cv2.GaussianBlur(shift, (0, 0), LENIENT * grid), (side, side)) * rest
        for shift in _field(start, goal, STILL, grid, coarse=COARSE * grid / side)
    )
    return _sample(crop, x + along, y + along[:, None])


def complete(mesh_from: ArrayLike, mesh_to: ArrayLike, side: int) -> Way | Both:
    """:func:`way` of a face that may be turned: what a texture does not show of it, is taken from
    its mirror image.
    """
    own = way(mesh_from, mesh_to, side)
    skin = parts(mesh_to, side, "oval") - parts(mesh_to, side, "mouth", "right-eye", "left-eye")
    if np.mean(own.covered[skin == 1] < SEEN) < MISSING:
        return own
    other = way(mirrored(mesh_from), mesh_to, side)
    np.negative(other.x, out=other.x)  # back into the texture
    also = other.covered * (1 - own.covered)
    covered = own.covered + also
    x, y, w, h = cv2.boundingRect((also > 0).astype(np.uint8))
    box = (slice(y, y + h), slice(x, x + w))
    share = cv2.divide(also[box], np.maximum(covered[box], np.float32(1e-6)))
    return Both(own, other.part(box), box, share, covered)


def mirrored(mesh: ArrayLike) -> Mesh:
    """A mesh, (468, 2) or (468, 3), in the mirror at x = 0: of a turned face, what :func:`way` says
    is not covered is often seen there.
    """
    flipped = np.array(mesh, np.float32)[canonical().mirror]
    flipped[:, 0] *= -1
    return flipped


def oval(mesh: ArrayLike, side: int) -> Matte:
    """The face (side, side) that ``mesh`` lies on: its contour and, turned aside, what stands out
    beyond; 1 inside, antialiased.
    """
    flat = _flat(mesh)
    contour = flat[list(OVAL)]
    corners = flat[canonical().triangles[turns(flat, canonical().triangles) > 0]]
    return _filled([contour, *corners[_beyond(contour, corners)]], side)


def parts(mesh: ArrayLike, side: int, *names: str) -> Matte:
    """The parts of a face (side, side), by their names in :data:`PARTS`: 1 inside, antialiased."""
    flat = _flat(mesh)
    return _filled([flat[list(PARTS[name])] for name in names], side)


def _beyond(contour: Floats, corners: Floats) -> NDArray[np.bool_]:
    """(T,) of triangles (T, 3, 2), whether they may reach beyond a contour (N, 2): not those from
    one of whose corners it is further than to the other two.
    """
    edge = contour.astype(np.float32)
    first = corners[:, 0]
    reach = np.linalg.norm(corners[:, 1:] - first[:, None], axis=2).max(1)
    depth = [cv2.pointPolygonTest(edge, (x, y), True) for x, y in first.tolist()]
    return reach > np.array(depth) - 1


def _filled(polygons: Sequence[Floats], side: int) -> Matte:
    """(side, side): 1 within any of the polygons (N, 2)."""
    drawn = np.zeros((side, side), np.float32)
    if not polygons:
        return drawn
    lengths = np.cumsum([len(polygon) for polygon in polygons])
    points = np.concatenate(polygons)
    ends = np.clip([np.floor(points.min(0)) - 1, np.ceil(points.max(0)) + 2], 0, side)
    (left, top), (right, bottom) = ends.astype(int).tolist()
    if left >= right or top >= bottom:
        return drawn
    fine = np.zeros((FINE * (bottom - top), FINE * (right - left)), np.uint8)
    points = (points - (left, top) + 0.5) * FINE - 0.5
    fixed = np.round(points * 2**SUBPIXEL).astype(np.int32)
    for polygon in np.split(fixed, lengths[:-1]):
        cv2.fillPoly(fine, [polygon], 255, cv2.LINE_8, SUBPIXEL)
    size = (right - left, bottom - top)
    part = drawn[top:bottom, left:right]
    part[:] = cv2.resize(fine, size, interpolation=cv2.INTER_AREA)
    part /= 255
    return drawn


def _field(
    start: Floats, goal: Floats, base: Matrix, side: int, *told: Floats, coarse: float = COARSE
) -> Iterator[NDArray[np.float32]]:
    """By how much, x and y (side, side), what lies at a pixel of the picture, where the mesh is
    ``goal``, lies from where ``base`` takes it, where the mesh is ``start``; and what is ``told``,
    (T, 3) each, of the triangles' corners, (side, side).
    """
    ends = rimmed(goal)
    away = rimmed(start) - ends @ base[:, :2].T - base[:, 2]
    order = nearest_last(goal)
    triangles = net().triangles[order]
    inside = triangles < len(goal)
    values = [*np.moveaxis(away[triangles], 2, 0), inside, *(one[order] for one in told)]
    x, y, inner, *rest = interpolate(ends[triangles], np.stack(values, 2), side)
    # Inside the contour lies the mesh's own, and over its rim it passes into what surrounds it.
    x *= inner
    y *= inner
    size = (max(1, int(side / coarse)),) * 2
    small = [cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in (x, y, inner)]
    sheets = cv2.split(membrane(cv2.merge(small[:2]), small[2]))
    inner -= 1
    for own, sheet in zip((x, y), sheets, strict=True):
        own -= inner * cv2.resize(sheet, (side, side), interpolation=cv2.INTER_LINEAR)
    return iter((x, y, *rest))


def _sample(picture: NDArray[Any], x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[Any]:
    return cv2.remap(picture, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def _flat(mesh: ArrayLike) -> Floats:
    """(468, 2) of a mesh with depth or without."""
    flat = np.asarray(mesh, np.float64)[:, :2]
    if flat.shape != (len(canonical().vertices), 2) or not np.isfinite(flat).all():
        raise ValueError(f"a mesh is (468, 2) or (468, 3), all of it somewhere, not {flat.shape}")
    return flat
