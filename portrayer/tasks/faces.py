"""Find the faces of a photo: the detector proposes, the landmark network refines and rejects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from portrayer.errors import InvalidOption
from portrayer.image.faces import Matrix, align, warp
from portrayer.image.geometry import PAD, fit, limit
from portrayer.models.catalog import spec
from portrayer.tasks.choosing import Row, row
from portrayer.tasks.task import Infer
from portrayer.types import Face, Image

__all__ = ["Face", "chosen", "decode", "find"]

Floats: TypeAlias = NDArray[np.float32]
Found: TypeAlias = tuple[Floats, Floats, Floats]
"""Boxes (K, 4) x, y, width, height, scores (K,) and five points (K, 5, 2), best first."""

FILLS = 0.6  # of the photo's long side: the faces that a look with a wide frame is for
MESH, MESH_SIDE, MESH_ROOM = "face-landmarks", 128, 1.5  # its crop, times the box's longer side
CELL = 8  # pixels of the detector's square that one cell of its maps stands for
PORTION = 24 * 2**20  # bytes of a request's answer: faces beyond that wait for the next
FACES = 30  # whose crops are reckoned with, before and after
CROWD = 256  # proposals at most that are looked at closely
SAME, WITHIN = 0.45, 0.7  # intersection over union, and over the smaller: beyond, two are one face

# Shift in sides of the crop, scale and degrees from where the detector sees the face. What the mesh
# does not follow is no face: its meshes lie apart. How far, in eye distances, depends on the score.
LOOKS = ((0.0, 0.0, 1.0, 0.0), (0.05, -0.03, 1.1, 10.0), (-0.04, 0.04, 0.96, -10.0))
TRUST, DOUBT = 0.4, 0.25  # this share of what a score has above the doubt


def find(
    image: Image,
    infer: Infer,
    *,
    which: str = "all",
    min_size: float = 0,
    min_score: float = 0.4,
    detector: str = "lite",
) -> list[Face]:
    """The faces of ``image`` (H, W, 3), the largest first, in its own pixels.

    ``which``: ``all``, ``largest``, or how many of the largest, as text; :class:`InvalidOption` for
    anything else. ``min_size``: faces with a shorter side below this, in pixels of ``image``, are
    left out; ``min_score``: and those the detector is less sure of, 0..1. ``detector``: a name in
    :data:`DETECTORS`, or a user's own.
    """
    count = chosen(which)
    found = propose(image, infer, min_score, detector)
    faces = [face for face in refine(image, found, infer) if min(face.box[2:]) >= min_size]
    return sorted(faces, key=lambda face: -face.box[2] * face.box[3])[:count]


def chosen(which: str) -> int | None:
    """How many faces a word of :func:`find` asks for at most; None for all of them."""
    if which in ("all", "largest"):
        return None if which == "all" else 1
    if which.isdecimal() and which.isascii() and int(which) > 0:
        return int(which)
    raise InvalidOption(f"faces is {which!r}: say all, largest, or a number from 1")


def aligned(
    image: Image, faces: Sequence[Face], template: str, side: int
) -> tuple[list[Image], list[Matrix]]:
    """Crops (side, side, 3) of the faces, by a template's name, and their matrices (2, 3) from
    photo to crop.
    """
    pairs = [align(image, face.points, template, side) for face in faces]
    return [crop for crop, _ in pairs], [matrix for _, matrix in pairs]


def portions(crops: Sequence[Image]) -> Iterator[NDArray[np.uint8]]:
    """Crops (S, S, 3) in order, as arrays (N, S, S, 3) for requests whose answers, of as many
    float32, stay within :data:`PORTION` bytes.
    """
    step = max(1, PORTION // (4 * crops[0].size)) if crops else 1
    return (np.stack(crops[at : at + step]) for at in range(0, len(crops), step))


def propose(image: Image, infer: Infer, min_score: float, detector: str = "lite") -> Found:
    """What the detector sees in a photo, at all its sizes, each face once."""
    extent, whole = max(image.shape[:2]), np.array(image.shape[1::-1], np.float32)
    finder = row("detector", DETECTORS, detector)
    views = [(spec(model).side, model, shrinks) for model, shrinks in finder.views]
    small, last = limit(image, views[0][0]), views[-1][0]
    seen = []
    for side, model, shrinks in views:
        if side > last >= extent:
            continue  # the coarser view shows all there is
        frames = [framed(small, side, shrink) for shrink in shrinks]
        answers = infer(model, np.stack([square for square, *_ in frames]))
        for shrink, maps, (_, corner, size) in zip(shrinks, answers, frames, strict=True):
            boxes, scores, points = finder.decode(maps, min_score)
            scale = whole / size
            boxes[:, :2] = (boxes[:, :2] - corner + 0.5) * scale - 0.5
            boxes[:, 2:] *= scale
            points[:] = (points - corner + 0.5) * scale - 0.5
            meant = boxes[:, 2:].max(1) > (FILLS * extent if shrink > 1 else 0)
            seen.append((boxes[meant], scores[meant], points[meant]))
    boxes, scores, points = (np.concatenate(part) for part in zip(*seen, strict=True))
    kept = distinct(boxes, scores)[:CROWD]
    return boxes[kept], scores[kept], points[kept]


def framed(image: Image, side: int, shrink: int) -> tuple[Image, Floats, Floats]:
    """``image`` letterboxed into the middle 1 / ``shrink`` of a square (side, side, 3), and where
    it lies there: its top left corner and its size, x and y.
    """
    inner, where = fit(image, side // shrink)
    edge = (side - side // shrink) // 2
    square = np.pad(inner, ((edge, edge), (edge, edge), (0, 0)), constant_values=PAD)
    top, left, bottom, right = where.box
    corner = np.array([left + edge, top + edge], np.float32)
    return square, corner, np.array([right - left, bottom - top], np.float32)


def decode(maps: Floats, min_score: float) -> Found:
    """What the detector's ``maps`` (h, w, 15) say, in pixels of its square.

    A face is a cell that no neighbour exceeds, of at least ``min_score``; the channels are
    described at :class:`portrayer.nets.detector.Detector`.
    """
    heat = maps[..., 0].astype(np.float32)
    padded = np.pad(heat, 1, constant_values=-np.inf)
    around = np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).max((2, 3))
    score = 1 / (1 + np.exp(-np.clip(heat, -30, 30)))
    # Not rounded to the scores' own precision: a caller must get the same answer from them.
    sure = score >= np.float64(min_score)
    rows, columns = np.nonzero((heat >= around) & sure)
    order = np.argsort(-score[rows, columns], kind="stable")
    rows, columns = rows[order], columns[order]
    said, scores = maps[rows, columns], score[rows, columns].astype(np.float32)
    middles = (np.stack([columns, rows], 1) + said[:, 1:3]) * CELL + (CELL - 1) / 2
    sizes = np.exp(np.clip(said[:, 3:5], -4, 4)) * (4 * CELL)
    points = middles[:, None] + said[:, 5:].reshape(-1, 5, 2) * sizes[:, None]
    boxes = np.concatenate([middles - sizes / 2, sizes], 1)
    return boxes.astype(np.float32), scores, points.astype(np.float32)


def ranked(anchors: Floats, min_score: float) -> Found:
    """What YuNet's ``anchors`` (A, 15) say, in pixels of its square: those of at least
    ``min_score``, best first. Each is its score, its box and its five points.
    """
    order = np.argsort(-anchors[:, 0], kind="stable")
    said = anchors[order][: int(np.count_nonzero(anchors[:, 0] >= min_score))]
    return said[:, 1:5].copy(), said[:, 0].copy(), said[:, 5:].reshape(-1, 5, 2).copy()


@dataclass(frozen=True, slots=True)
class Detector(Row):
    """A network that proposes faces.

    ``decode``: what it answers for one sample, and the least score, to proposals in pixels of its
    square. ``shrinks``: how it looks at the whole photo, letterboxed into so many-th parts of its
    square. ``close``: another, with its shrinks, of a smaller square, for large faces.
    """

    decode: Callable[[Floats, float], Found]
    shrinks: tuple[int, ...]
    close: tuple[tuple[str, tuple[int, ...]], ...] = ()

    @property
    def views(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Each network with its shrinks, the finest first."""
        return ((self.model, self.shrinks), *self.close)

    @property
    def models(self) -> tuple[str, ...]:
        """See :attr:`Row.models`."""
        return (*(model for model, _ in self.views), MESH)


DETECTORS: Mapping[str, Detector] = {
    # It knows faces of 8 to 320 pixels. So it looks at two sizes of a photo, and once more at half
    # the last, with a wide frame, for faces that the photo's own frame cuts.
    "lite": Detector("face-detector", decode, (1,), (("face-detector-close", (1, 2)),)),
    "yunet": Detector("yunet", ranked, (1, 2)),
}
MODELS = DETECTORS["lite"].models


def distinct(boxes: Floats, scores: Floats) -> list[int]:
    """Which of ``boxes`` (K, 4) are no second sight of a better one, best first (greedy NMS)."""
    left = np.argsort(-scores, kind="stable")
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(int(best))
        left = left[~same(boxes[best], boxes[left])]
    return kept


def same(box: Floats, boxes: Floats) -> NDArray[np.bool_]:
    """Which (K,) of ``boxes`` (K, 4) are the same face as ``box`` (4,), or a part of it."""
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[:2] + box[2:], boxes[:, :2] + boxes[:, 2:])
    both = np.maximum(high - low, 0).prod(1)
    area, areas = box[2:].prod(), boxes[:, 2:].prod(1)
    least = np.minimum(SAME * (area + areas - both), WITHIN * np.minimum(area, areas))
    return np.asarray(both > least)


def refine(image: Image, found: Found, infer: Infer) -> list[Face]:
    """Proposals with the mesh and points of the landmark network, each face once, less those that
    no mesh follows.
    """
    boxes, scores, points = found
    if not len(boxes):
        return []
    meshes, spread = look(image, boxes, points, infer)
    real = spread <= TRUST * (scores - DOUBT)
    meshes, scores = meshes[real], scores[real]
    flat = meshes[:, :-5, :2]
    frames = np.concatenate([flat.min(1), np.ptp(flat, axis=1)], 1)
    faces = []
    for k in distinct(frames, scores):
        x, y, w, h = map(float, frames[k])
        five = np.ascontiguousarray(meshes[k, -5:, :2])
        faces.append(Face((x, y, w, h), float(scores[k]), five, meshes[k, :-5]))
    return faces


def look(image: Image, boxes: Floats, points: Floats, infer: Infer) -> tuple[Floats, Floats]:
    """Mesh and points (K, 473, 3) at each of the boxes (K, 4), in the photo's pixels: the mean of
    several looks; and how far those lie from it (K,), in eye distances.

    All looks at all boxes are one request.
    """
    matrices = [
        square(box, five, way) for box, five in zip(boxes, points, strict=True) for way in LOOKS
    ]
    crops = np.stack([warp(image, matrix, MESH_SIDE) for matrix in matrices])
    meshes = outward(infer(MESH, crops), matrices).reshape(len(boxes), len(LOOKS), -1, 3)
    mean: Floats = meshes.mean(1)
    far = np.linalg.norm(meshes[..., :2] - mean[:, None, :, :2], axis=3).mean(2).max(1)
    eyes = np.linalg.norm(mean[:, -4, :2] - mean[:, -5, :2], axis=1)
    return mean, far / np.maximum(eyes, 1e-3)


def square(box: Floats, points: Floats, way: Sequence[float]) -> Matrix:
    """(2, 3) from the photo to the landmark network's crop of a face, its eyes level, but for the
    shift, scale and turn of one of the ways to look.
    """
    x, y, zoom, degrees = way
    side = MESH_ROOM * float(box[2:].max()) * zoom
    across = (points[1] - points[0]).astype(np.float64)
    turn = np.arctan2(across[1], across[0]) + np.radians(degrees)
    scale = MESH_SIDE / side
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    linear = np.array([[cos, sin], [-sin, cos]])
    middle = box[:2] + box[2:] / 2 + side * np.array([x, y])
    return np.column_stack([linear, (MESH_SIDE - 1) / 2 - linear @ middle])


def outward(meshes: Floats, matrices: Sequence[Matrix]) -> Floats:
    """Meshes (N, 473, 3) in shares of their crops, in the photo's pixels, depth as well."""
    linear = np.stack(matrices)[:, :, :2]
    back = np.linalg.inv(linear)
    flat = meshes[..., :2] * MESH_SIDE - np.stack(matrices)[:, None, :, 2]
    depth = meshes[..., 2:] * MESH_SIDE / np.sqrt(np.linalg.det(linear))[:, None, None]
    out = np.concatenate([flat @ back.transpose(0, 2, 1), depth], 2)
    return out.astype(np.float32)
