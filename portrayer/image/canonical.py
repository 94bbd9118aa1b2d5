"""The face at rest that all meshes are told by: 468 vertices, triangles, and what is where.

The vertices are numbered as MediaPipe's face mesh numbers them (Kartynnik et al., 2019). Right and
left are the person's own: right is in the left half of a picture, where x is below 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Vertices: TypeAlias = tuple[int, ...]

FILE = Path(__file__).with_name("canonical.npz")

# fmt: off
OVAL: Vertices = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)
"""The face's contour, from the middle of the forehead clockwise in a picture."""
RIGHT_EYE: Vertices = (
    33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7,
)
"""The lids' edge, from the outer corner along the upper lid. All contours are closed."""
LEFT_EYE: Vertices = (
    263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249,
)
RIGHT_BROW: Vertices = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46)
"""From the temple along the upper edge."""
LEFT_BROW: Vertices = (300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
LIPS: Vertices = (
    61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146,
)
"""Where the lips meet the skin, from the right corner along the upper lip."""
MOUTH: Vertices = (
    78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95,
)
"""Where the lips end: between them are teeth, or nothing."""
NOSE: Vertices = (
    168, 417, 465, 412, 399, 437, 420, 429, 279, 358, 294, 327, 326, 2,
    97, 98, 64, 129, 49, 209, 198, 217, 174, 188, 245, 193,
)
"""Bridge, wings and the base between the nostrils, from the bridge clockwise in a picture."""
ROLLED: Vertices = (12, 38, 41, 42, 183, 62, 268, 271, 272, 407, 292)
"""Of the upper lip where it rolls inward, behind its own edge: no triangle has these."""
# fmt: on

PARTS: Mapping[str, Vertices] = {
    "oval": OVAL,
    "right-eye": RIGHT_EYE,
    "left-eye": LEFT_EYE,
    "right-brow": RIGHT_BROW,
    "left-brow": LEFT_BROW,
    "lips": LIPS,
    "mouth": MOUTH,
    "nose": NOSE,
}
EYES = ((33, 133), (263, 362))
"""Outer and inner corner of the right and the left eye."""


@dataclass(frozen=True, slots=True, eq=False)
class Canonical:
    """``vertices``: (468, 3) float64, x to the right, y down, z smaller is nearer, seen from the
    front; the middles of the eyes are 1 apart, the mean is at 0, and the left half mirrors the
    right. ``triangles``: (T, 3), clockwise in a picture. ``mirror``: (468,) which vertex each
    becomes in the mirror.
    """

    vertices: Floats
    triangles: NDArray[np.int64]
    mirror: NDArray[np.int64]


@lru_cache(maxsize=1)
def canonical() -> Canonical:
    """The mean face of the landmark network's training, and our triangles between its vertices."""
    with np.load(FILE, allow_pickle=False) as file:
        vertices = file["vertices"].astype(np.float64)
        triangles = file["triangles"].astype(np.int64)
    flipped = vertices * (-1, 1, 1)
    mirror = np.square(flipped[:, None] - vertices).sum(-1).argmin(1)
    for array in (vertices, triangles, mirror):
        array.setflags(write=False)
    return Canonical(vertices, triangles, mirror)
