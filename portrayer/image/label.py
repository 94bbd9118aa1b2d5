"""A mark that people see: this picture is in part synthetic."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from portrayer.types import Image, Matte

SHARE = 0.06  # of the picture's short side: the mark's height
LEAST = 16  # pixels of it, below which nobody reads it
ASPECT = 1.4  # the mark's width to its height
DRAWN = 128  # pixels of the height it is drawn at; averaged down, its edges are smooth
DARK, LIGHT, OPACITY = 20, 245, 0.65  # of the box, of the letters, of the box


def corner(image: Image) -> Image:
    """A copy of a picture (H, W, 3), the letters AI in a rounded box at its lower right.

    Nothing outside the box is changed. A picture too small for a mark that can be read gets one as
    large as itself.
    """
    tall, wide = image.shape[:2]
    height = min(max(LEAST, round(SHARE * min(tall, wide))), tall, max(1, int(wide / ASPECT)))
    width = min(wide, round(height * ASPECT))
    top = max(0, tall - height - height // 2)
    left = max(0, wide - width - height // 2)
    place = np.s_[top : top + height, left : left + width]
    box, letters = (
        cv2.resize(drawn, (width, height), interpolation=cv2.INTER_AREA)[..., None]
        for drawn in _stamp()
    )
    result = image.copy()
    shown = result[place] * (1 - OPACITY * box) + DARK * OPACITY * box
    result[place] = np.rint(shown * (1 - letters) + LIGHT * letters)
    return result


@cache
def _stamp() -> tuple[Matte, Matte]:
    """The box and the letters, each 0..1 (H, W) float32."""
    height, width = DRAWN, round(DRAWN * ASPECT)
    box, letters = np.zeros((2, height, width), np.uint8)
    radius = height // 5
    inner = cv2.erode(np.ones_like(box), _disc(radius), borderValue=0)
    cv2.dilate(inner, _disc(radius), dst=box)
    strokes = [
        [(0.22, 0.8), (0.4, 0.2), (0.58, 0.8)],  # A
        [(0.29, 0.6), (0.51, 0.6)],
        [(0.77, 0.2), (0.77, 0.8)],  # I
    ]
    for stroke in strokes:
        points = np.rint(np.array(stroke) * (width, height)).astype(np.int32)
        cv2.polylines(letters, [points], isClosed=False, color=1, thickness=height // 9)
    return box.astype(np.float32), letters.astype(np.float32)


def _disc(radius: int) -> Image:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
