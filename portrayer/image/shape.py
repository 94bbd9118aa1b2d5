"""The shape of a face mesh: what of it is pose, what expression, and what the face itself."""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from portrayer.image.canonical import EYES, LIPS, MOUTH, OVAL, PARTS, Floats, canonical

Mesh: TypeAlias = NDArray[np.float32]

# Lengths are in eye distances.
SHARE = 0.6  # of the way to another's shape is gone at most
LIMIT = 0.2  # no vertex is taken to be further from its place than this
RIM_SHARE, RIM_DEPTH = 0.35, 0.45  # of it on the contour; all of it from this far inside
STEADY = (
    0.25  # what lies above this in the canonical face has no expression, but for lids and brows
)
NEAR = 0.1  # how far a vertex looks for what its neighbours do
SPEECH = 0.4  # around the lips the skin goes with them: it tells an expression, not a shape
LIDS = 1.4  # around an eye, what belongs to it
WIDER = 0.15  # an eye grows or shrinks by this at most
JAW = 0.5  # of what the lips open, the chin goes down (regression over the training faces)


def rigid(
    source: ArrayLike, target: ArrayLike, weights: ArrayLike | None = None
) -> tuple[float, Floats, Floats]:
    """``scale``, ``turn`` (3, 3) and ``shift`` (3,) that bring points nearest to others (N, 3):
    ``scale * source @ turn.T + shift``.

    Least squares without reflection (Umeyama, 1991), by ``weights`` (N,). ``ValueError`` for
    points that lie in one place, or are nowhere.
    """
    here, there = (np.asarray(points, np.float64) for points in (source, target))
    share = np.ones(len(here)) if weights is None else np.asarray(weights, np.float64)
    share = share / share.sum()
    middle, goal = share @ here, share @ there
    a, b = here - middle, there - goal
    spread = share @ np.square(a).sum(1)
    if not (spread > 0 and np.isfinite(b).all()):
        raise ValueError("the points lie in one place, or nowhere")
    left, size, right = np.linalg.svd((b * share[:, None]).T @ a)
    sign = np.array([1, 1, np.sign(np.linalg.det(left @ right))])
    turn = (left * sign) @ right
    scale = float(size @ sign / spread)
    return scale, turn, goal - scale * turn @ middle


def posed(mesh: ArrayLike, onto: ArrayLike) -> Mesh:
    """``mesh`` (468, 3) in the pose, place and size of ``onto`` (468, 3), by what has no
    expression.
    """
    scale, turn, shift = rigid(mesh, onto, steady())
    return (scale * np.asarray(mesh, np.float64) @ turn.T + shift).astype(np.float32)


def towards(target: ArrayLike, source: ArrayLike, degree: float) -> Mesh:
    """``target`` (468, 3) with a shape nearer to that of ``source`` (468, 3), in its own pose and
    with its own expression.

    ``degree``: 0 leaves it as it is, 1 goes :data:`SHARE` of the way, less towards the contour;
    linear between. The shape is what both halves of a face have in common, seen from the front:
    jaw, chin, cheeks, nose, brows and where eyes and mouth are. Eyes, brows and lips are moved as a
    whole, so that how far they are open and what they express stay. Depth stays too.
    """
    start = np.asarray(target, np.float64)
    scale, turn, _ = rigid(start, canonical().vertices, steady())
    change = difference(shape(start), shape(source)) @ turn / scale
    change[:, 2] = 0
    return (start + degree * SHARE * change).astype(np.float32)


def shape(mesh: ArrayLike) -> Floats:
    """A mesh (468, 3) from the front, in the canonical face's place and size, symmetric."""
    face = canonical()
    start = np.asarray(mesh, np.float64)
    scale, turn, shift = rigid(start, face.vertices, steady())
    front = scale * start @ turn.T + shift
    return (front + front[face.mirror] * (-1, 1, 1)) / 2


def difference(target: Floats, source: Floats) -> Floats:
    """Where a shape (468, 3) would have to go (468, 3), to be like another but for what both
    express.
    """
    change = source - target
    upper, lower = MOUTH[5], MOUTH[15]
    opened = change[lower, 1] - change[upper, 1]
    change[:, 1:] -= opened * jaw()[:, None]
    size = np.linalg.norm(change, axis=1, keepdims=True)
    change *= LIMIT * np.tanh(size / LIMIT) / np.maximum(size, 1e-12)
    kernel, taper = smoothing()
    for name, vertices in wholes().items():
        change[vertices] = together(name, vertices, change, target, source)
    whole = {name: change[vertices] for name, vertices in wholes().items()}
    change = taper[:, None] * (kernel @ change)
    for name, vertices in wholes().items():
        change[vertices] = taper[vertices].mean() * whole[name]
    return change


def together(
    name: str, vertices: NDArray[np.int64], change: Floats, target: Floats, source: Floats
) -> Floats:
    """The change of a part that moves as a whole: a shift, and for an eye its width."""
    if name.endswith("eye"):
        corners = list(EYES[name.startswith("left")])
        widths = [np.linalg.norm(np.subtract(*mesh[corners])) for mesh in (source, target)]
        wider = np.clip(widths[0] / widths[1] - 1, -WIDER, WIDER)
        middle = target[corners].mean(0)
        grown: Floats = change[corners].mean(0) + wider * (target[vertices] - middle)
        return grown
    # The lower lip goes with the jaw, and the corners smile.
    told = list(LIPS[3:8]) if name == "lips" else vertices
    return np.tile(change[told].mean(0), (len(vertices), 1))


@lru_cache(maxsize=1)
def steady() -> Floats:
    """(468,) weights of what is at rest in any expression."""
    weights = (canonical().vertices[:, 1] < STEADY).astype(np.float64)
    for name, vertices in wholes().items():
        weights[vertices] = 0.1 if name != "lips" else 0
    return weights


@lru_cache(maxsize=1)
def wholes() -> dict[str, NDArray[np.int64]]:
    """The vertices of each part that moves as a whole."""
    flat = canonical().vertices[:, :2].astype(np.float32)
    found = {}
    for name in ("right-eye", "left-eye", "right-brow", "left-brow", "lips"):
        edge = flat[list(PARTS[name])]
        middle = edge.mean(0)
        edge = middle + (edge - middle) * (LIDS if name.endswith("eye") else 1.01)
        within = [cv2.pointPolygonTest(edge, tuple(map(float, at)), False) >= 0 for at in flat]
        found[name] = np.flatnonzero(within)
    return found


@lru_cache(maxsize=1)
def jaw() -> Floats:
    """(468,) how far each vertex goes with the chin."""
    x, y, _ = canonical().vertices.T
    return JAW * ramp(y, 0.6, 0.8) * np.clip(1 - np.abs(x), 0, 1)


@lru_cache(maxsize=1)
def smoothing() -> tuple[Floats, Floats]:
    """What a vertex takes from each other one (468, 468), nothing from the skin around the lips;
    and how much of a change it goes along with (468,).
    """
    at = canonical().vertices[:, :2]  # what is seen in one place from the front goes one way
    apart = np.square(at[:, None] - at).sum(-1)
    lips = wholes()["lips"]
    trust = ramp(np.sqrt(apart[:, lips].min(1)), 0, SPEECH) + 1e-3
    trust[lips] = 1
    kernel = trust / np.square(NEAR**2 + apart)
    depth = np.sqrt(apart[:, list(OVAL)].min(1))
    taper = RIM_SHARE + (1 - RIM_SHARE) * ramp(depth, 0, RIM_DEPTH)
    return kernel / kernel.sum(1, keepdims=True), taper


def ramp(x: Floats, low: float, high: float) -> Floats:
    """0 up to ``low``, 1 from ``high`` on, smoothly."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
