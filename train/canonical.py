"""Make the canonical face: mean shape of the training faces' meshes, and triangles for it.

    python train/canonical.py --data ../shared/data --cache runs/landmarks

Writes ``portrayer/image/canonical.npz``. The meshes are those that ``train/landmarker.py`` had from
its teacher (``runs/landmarks/meshes.npz``); the triangles are ours.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

import cv2  # noqa: E402
import faces  # noqa: E402
import numpy as np  # noqa: E402
from scipy.spatial import Delaunay  # noqa: E402

from portrayer.image.canonical import FILE, OVAL, ROLLED  # noqa: E402

AXIS = 1.2  # depth of the axis of the cylinder that a face is unrolled from, in eye distances
OPEN = 0.9  # of the mouths are less open than those the triangles are made for
DIGITS = 4  # behind the point, of eye distances
UPPER, LOWER = 13, 14  # middles of the lips' inner edges


def frontal(meshes: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean (468, 3), meshes (N, 468, 3) turned to it) of meshes in any pose; generalised
    Procrustes analysis (Gower, 1975) with 3-D similarities, the mean kept symmetric.
    """
    centred = meshes - meshes.mean(1, keepdims=True)
    mean = unit(centred / faces.eye_distance(meshes)[:, None, None], order)
    for _ in range(6):
        left, size, right = np.linalg.svd(np.einsum("nij,ik->njk", centred, mean))
        sign = np.sign(np.linalg.det(left @ right))
        left[:, :, 2] *= sign[:, None]
        size[:, 2] *= sign
        scale = size.sum(1) / np.square(centred).sum((1, 2))
        turned = centred @ (left @ right) * scale[:, None, None]
        mean = unit(turned, order)
    return mean, turned


def unit(meshes: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Their symmetric mean, eyes 1 apart."""
    mean = meshes.mean(0)
    mean = (mean + mean[order] * (-1, 1, 1)) / 2
    return mean / faces.eye_distance(mean)


def unrolled(mesh: np.ndarray) -> np.ndarray:
    """(..., 468, 2): from a cylinder around the head, so that cheeks do not hide their own edge."""
    return np.stack([np.arctan2(mesh[..., 0], AXIS - mesh[..., 2]), mesh[..., 1]], -1)


def turns(triangles: np.ndarray, flat: np.ndarray) -> np.ndarray:
    """Twice the area of triangles (T, 3) of points (..., 468, 2), positive where clockwise in a
    picture.
    """
    a, b, c = (flat[..., triangles[:, k], :] for k in range(3))
    u, v = b - a, c - a
    return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]


def triangulated(flat: np.ndarray, order: np.ndarray) -> np.ndarray:
    """(T, 3) symmetric: a Delaunay triangulation of the half with x from 0, within the oval, and
    its mirror image.
    """
    half = np.setdiff1d(np.flatnonzero(flat[:, 0] > -1e-9), ROLLED)
    found = half[Delaunay(flat[half]).simplices]
    oval = flat[list(OVAL)].astype(np.float32)
    within = [
        cv2.pointPolygonTest(oval, tuple(map(float, middle)), True) > 1e-4
        for middle in flat[found].mean(1)
    ]
    found = found[within]
    found = np.where(turns(found, flat)[:, None] < 0, found[:, ::-1], found)
    return np.concatenate([found, order[found[:, ::-1]]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    args = parser.parse_args()
    portraits, teachers = args.data / "portraits", args.data / "teachers"
    order = faces.mirror(teachers)
    known = [face for face in faces.portraits(portraits) if face.split == "train"]
    labels = faces.labels(known, portraits, teachers, args.cache)
    meshes = np.stack([labels[face.photo] for face in known if face.photo in labels])
    mean, turned = frontal(meshes.astype(np.float64), order)

    # Between closed lips there is no order to triangulate, so that is done where they are open.
    gap = turned[:, LOWER, 1] - turned[:, UPPER, 1]
    opened = unit(turned[gap > np.quantile(gap, OPEN)], order)
    triangles = triangulated(unrolled(opened), order)
    folded = (turns(triangles, unrolled(turned)) < 0).mean()

    right = mean[:, 0] < 0
    mean = np.round(mean, DIGITS)
    mean[order[right]] = mean[right] * (-1, 1, 1)
    mean += 0.0  # no negative zero
    np.savez_compressed(FILE, vertices=mean.astype(np.float32), triangles=triangles.astype("<i2"))
    print(
        f"{FILE}: {len(meshes)} faces, {len(triangles)} triangles, {folded:.2%} of them folded in "
        f"a face, {FILE.stat().st_size} bytes"
    )


if __name__ == "__main__":
    main()
