"""Pictures of pictures: a before/after sheet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from portrayer.image.composite import over
from portrayer.image.geometry import resize
from portrayer.types import Image

HEIGHT, GAP = 400, 12


def checkerboard(height: int, width: int, square: int = 16) -> Image:
    """Light grey squares (height, width, 3): what stands for "nothing" behind a cut-out."""
    rows, columns = np.ogrid[:height, :width]
    cells = (rows // square + columns // square) % 2
    return np.repeat(np.where(cells, 255, 204).astype(np.uint8)[..., None], 3, 2)


def side_by_side(before: Image, after: Image) -> Image:
    """Both (H, W, 3), a light line between them: (H, 2 W + gap, 3)."""
    height, width = before.shape[:2]
    gap = max(2, width // 100)
    line = np.full((height, gap, 3), 245, np.uint8)
    return np.hstack([before, line, after])


def before_after(pairs: Sequence[tuple[Image, Image]]) -> Image:
    """One row a pair: the photo (H, W, 3), then its RGBA cut-out over a checkerboard, white and
    black.
    """
    rows = []
    for photo, cut in pairs:
        height, width = cut.shape[:2]
        alpha = cut[..., 3] * np.float32(1 / 255)
        colours = np.ascontiguousarray(cut[..., :3])
        backs = [
            checkerboard(height, width, max(4, height // 24)),
            *(np.full_like(colours, value) for value in (255, 0)),
        ]
        # Composited first, reduced second: straight colours must not be averaged.
        tiles = [
            resize(tile, HEIGHT, round(width * HEIGHT / height))
            for tile in (photo, *(over(colours, alpha, back) for back in backs))
        ]
        rows.append(
            np.hstack([np.pad(t, ((0, GAP), (0, GAP), (0, 0)), constant_values=128) for t in tiles])
        )
    widest = max(row.shape[1] for row in rows)
    padded = [
        np.pad(r, ((0, 0), (0, widest - r.shape[1]), (0, 0)), constant_values=128) for r in rows
    ]
    return np.vstack(padded)
