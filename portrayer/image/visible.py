"""What of a face the camera sees: the triangles of its mesh, which way they look, what is open."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from portrayer.image.canonical import LEFT_EYE, MOUTH, OVAL, RIGHT_EYE, Floats, canonical
from portrayer.image.shape import ramp, wholes

# A place faces the camera by its area in a picture, of its area in space. Of what it is to have in
# the picture that is made, so much is nothing, and all, in the one it comes from.
NOTHING, ALL = 0.25, 0.6
GRAZING = 0.08  # by which a place that is seen edge-on in both does well
BEYOND, EDGE = -0.2, -0.02  # and where the picture that is made does not show it, and does
EASED = 2  # triangles, over which what is seen passes into what is not
# By how much of the other's opening one counts as shut, and as open. Teeth tell more than lashes.
OPENINGS = ((MOUTH, 0.3, 0.7), (RIGHT_EYE, 0.1, 0.4), (LEFT_EYE, 0.1, 0.4))
ROOM = 0.12  # of the way from the middle to the contour, that the rim goes on beyond it


@dataclass(frozen=True, slots=True, eq=False)
class Net:
    """The canonical triangles, and a rim of them around its contour.

    ``skin``: (K, 3) those of the face itself; ``openings``: for each of :data:`OPENINGS` those
    (M, 3) between its lids or lips; ``triangles``: (T, 3) all of them in this order, the rim's
    last, which go on to the vertices of :func:`rimmed`. ``area``: (468,) of the skin around each
    vertex, in space. ``lens``: (3, 468) takes a mesh (468, 2) to the camera (3, 2) that sees the
    canonical face so.
    """

    skin: NDArray[np.int64]
    openings: tuple[NDArray[np.int64], ...]
    triangles: NDArray[np.int64]
    area: Floats
    lens: Floats


@lru_cache(maxsize=1)
def net() -> Net:
    """Made of the canonical face."""
    face = canonical()
    within = [np.isin(face.triangles, edge).all(1) for edge, _, _ in OPENINGS]
    skin = face.triangles[~np.any(within, axis=0)]
    openings = tuple(face.triangles[these] for these in within)
    here, beyond = np.array(OVAL), len(face.vertices) + np.arange(len(OVAL))
    there, after = np.roll(here, -1), np.roll(beyond, -1)
    rim = np.concatenate([np.stack([here, beyond, after], 1), np.stack([here, after, there], 1)])
    a, b, c = (face.vertices[skin[:, k]] for k in range(3))
    space = around(skin, np.linalg.norm(np.cross(b - a, c - a), axis=1))
    return Net(
        skin,
        openings,
        np.concatenate([skin, *openings, rim]),
        np.maximum(space, 1e-9),
        np.linalg.pinv(face.vertices - face.vertices.mean(0)),
    )


def rimmed(flat: Floats) -> Floats:
    """(504, 2): a mesh (468, 2), and what lies a little beyond each vertex of its contour."""
    edge = flat[list(OVAL)]
    return np.concatenate([flat, edge + ROOM * (edge - edge.mean(0))])


def nearest_last(flat: Floats) -> NDArray[np.int64]:
    """(T,) the order to paint a net's triangles in, where its mesh is ``flat`` (468, 2); by the
    depth of the canonical face in that pose.
    """
    across, down = (net().lens @ flat).T
    depth = canonical().vertices @ np.cross(across, down)
    depth = np.append(depth, depth[list(OVAL)])
    return np.argsort(-depth[net().triangles].mean(1), kind="stable")


def coverage(start: Floats, goal: Floats) -> Floats:
    """(T, 3): how well each corner of a net's triangles is seen, 0..1, in a picture of one mesh
    (468, 2) that is to be brought to another; 0 beyond the contour.
    """
    skin, openings = net().skin, net().openings
    units = size(start), size(goal)
    has, wants = (facing(flat, unit) for flat, unit in zip((start, goal), units, strict=True))
    ratio = 1 + (has - wants) / np.maximum(wants + GRAZING, GRAZING / 2)
    seen = ramp(ratio, NOTHING, ALL)
    least = seen.copy()
    np.minimum.at(least, skin, seen[skin].min(1)[:, None])
    for _ in range(EASED):
        least = around(skin, least[skin].mean(1)) / np.maximum(around(skin, np.ones(len(skin))), 1)
    shown = ramp(wants, BEYOND, EDGE)
    shown[wholes()["lips"]] = 1  # they roll in, which is no turning away
    seen = np.append(least * shown, np.zeros(len(OVAL)))
    # What shuts hides what is within, whichever way it looks.
    open_ = np.ones(len(net().triangles))
    at = len(skin)
    for between, (_, shut, wide) in zip(openings, OPENINGS, strict=True):
        here, there = (
            np.maximum(turns(flat, between), 0).sum() / unit**2
            for flat, unit in zip((start, goal), units, strict=True)
        )
        open_[at : at + len(between)] = ramp(here / np.maximum(there, 1e-9), shut, wide)
        at += len(between)
    return seen[net().triangles] * open_[:, None]


def facing(flat: Floats, unit: float) -> Floats:
    """(468,): how much a mesh (468, 2), whose :func:`size` is ``unit``, faces the camera at each
    vertex, 1 wholly, 0 edge-on, below where it looks away.
    """
    return around(net().skin, turns(flat, net().skin)) / (net().area * unit**2)


def size(flat: Floats) -> float:
    """Pixels for an eye distance, in the plane of the picture, of a mesh (468, 2) in any pose."""
    return float(np.linalg.norm(net().lens @ flat, 2))


def around(triangles: NDArray[np.int64], values: Floats) -> Floats:
    """(468,) the sum of the ``values`` (T,) of the triangles at each vertex."""
    sums: Floats = np.bincount(
        triangles.ravel(), np.repeat(values, 3), len(canonical().vertices)
    ).astype(np.float64)
    return sums


def turns(flat: Floats, triangles: NDArray[np.int64]) -> Floats:
    """(T,) twice the area of triangles of a mesh (468, 2), below 0 where turned away."""
    first, second, third = (flat[triangles[:, k]] for k in range(3))
    (ux, uy), (vx, vy) = (second - first).T, (third - first).T
    return ux * vy - uy * vx
