"""The arrays that cross borders. Numpy above the engine, torch below it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Image: TypeAlias = NDArray[np.uint8]
"""(H, W, 3) RGB or (H, W, 4) RGBA, uint8, sRGB, straight alpha."""

Matte: TypeAlias = NDArray[np.float32]
"""(H, W) float32, 0 background .. 1 foreground."""


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """A face in a photo, in the photo's pixels, x to the right and y down.

    ``box``: (x, y, width, height). ``score``: 0..1, how sure. ``points``: (5, 2) float32: right
    eye, left eye, nose, right and left corner of the mouth, the person's own right, which is on
    the picture's left. ``mesh``: (468, 3) float32, x, y and depth, smaller is nearer.
    """

    box: tuple[float, float, float, float]
    score: float
    points: NDArray[np.float32]
    mesh: NDArray[np.float32]
