"""The arrays that cross borders. Numpy above the engine, torch below it."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Image: TypeAlias = NDArray[np.uint8]
"""(H, W, 3) RGB or (H, W, 4) RGBA, uint8, sRGB, straight alpha."""

Matte: TypeAlias = NDArray[np.float32]
"""(H, W) float32, 0 background .. 1 foreground."""
