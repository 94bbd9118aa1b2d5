"""Two pictures made one along a mask, each scale over a border of its own width."""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from portrayer.types import Matte

LEAST = 12  # pixels a side of the coarsest level: wider borders than that blend everything
ROOM = 1 / 256  # of the side, inside the mask, over which the blend comes in: no step shows

Pixels = TypeVar("Pixels", np.uint8, np.float32)


def blend(
    front: NDArray[Pixels], back: NDArray[Pixels], mask: Matte, levels: int | None = None
) -> NDArray[Pixels]:
    """``front`` where ``mask`` (S, S), 0..1, is 1, ``back`` where it is 0; pictures (S, S, 3) in
    levels 0..255, both uint8 or both float32.

    Multi-band blending (Burt and Adelson, 1983): light and large shapes go over into one another
    over a wide border, fine texture over a narrow one, so that neither a seam nor a double contour
    shows. ``levels``: how many times the scale is halved, by default until little is left.

    Where the mask is 0, the result is ``back`` bit for bit, and where it is 1 as far as
    ``4 * 2**levels`` pixels around, ``front``: all borders lie within the mask.
    """
    height, width = mask.shape
    if levels is None:
        levels = max(0, int(np.log2(max(1, min(height, width) / LEAST))))
    # The pyramid is linear: what is blended is the difference, added to the picture behind.
    rest = np.subtract(front, back, dtype=np.float32)
    share = np.clip(mask, 0, 1).astype(np.float32)
    inside = _inside(share)
    # A border reaches as far out of the mask as into it: what it has outside is taken off.
    outside = (share <= 0).astype(np.float32)
    bands = []
    for _ in range(levels):
        smaller = cv2.pyrDown(rest)
        rest -= cv2.pyrUp(smaller, dstsize=rest.shape[1::-1])
        bands.append(_weighted(rest, np.maximum(share - outside, 0)))
        rest, share, outside = smaller, cv2.pyrDown(share), cv2.pyrDown(outside)
    change = _weighted(rest, np.maximum(share - outside, 0))
    for band in reversed(bands):
        change = cv2.pyrUp(change, dstsize=band.shape[1::-1])
        change += band
    change = _weighted(change, inside)
    return cv2.add(back, change, dtype=cv2.CV_8U if back.dtype == np.uint8 else cv2.CV_32F)


def _weighted(picture: NDArray[np.float32], weight: Matte) -> NDArray[np.float32]:
    """(S, S, 3), written over, times (S, S): broadcast, it would take three times as long."""
    return cv2.multiply(picture, cv2.merge([weight] * 3), picture)


def _inside(weight: Matte) -> Matte:
    """0 where a mask is 0, 1 a little inside of that, without a step."""
    room = 2 * max(1, round(ROOM * max(weight.shape))) + 1
    near = cv2.blur((weight > 0).astype(np.float32), (room, room), borderType=cv2.BORDER_REPLICATE)
    return np.clip(2 * near - 1, 0, 1) * np.clip(2 * weight, 0, 1)
