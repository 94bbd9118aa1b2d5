"""Where pixels go: letterboxing into a model's square and back, orientation, crops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from portrayer.types import Image

# grey level of letterbox bars: the mean of natural pictures, so that normalised bars are near zero
PAD = 124


@dataclass(frozen=True, slots=True)
class Fit:
    """Where a picture lies inside a model's square: the inverse of a letterbox.

    ``height``, ``width``: the original's size; ``box``: (top, left, bottom, right) of its content
    in the square.
    """

    height: int
    width: int
    box: tuple[int, int, int, int]


def fit(image: Image, side: int) -> tuple[Image, Fit]:
    """Letterbox ``image`` (H, W, 3) uint8 into (side, side, 3), centred, grey bars.

    Returns the square and the :class:`Fit` that :func:`unfit` needs to come back.
    """
    height, width = image.shape[:2]
    scale = side / max(height, width)
    h, w = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (side - h) // 2, (side - w) // 2
    square = np.full((side, side, *image.shape[2:]), PAD, np.uint8)
    square[top : top + h, left : left + w] = resize(image, h, w)
    return square, Fit(height, width, (top, left, top + h, left + w))


def crop(square: NDArray[Any], where: Fit) -> NDArray[Any]:
    """The content part (h, w, ...) of an array over the model's square: a view."""
    top, left, bottom, right = where.box
    return square[top:bottom, left:right]


def unfit(square: NDArray[Any], where: Fit) -> NDArray[Any]:
    """The inverse of :func:`fit` for a map over the square: (side, side) to (H, W), same dtype,
    bilinear.
    """
    return resize(crop(square, where), where.height, where.width)


def resize(array: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Resize (H, W[, C]) to (height, width): area means when shrinking, bilinear when growing."""
    h, w = array.shape[:2]
    if (h, w) == (height, width):
        return array
    if height > h or width > w:
        return cv2.resize(array, (width, height), interpolation=cv2.INTER_LINEAR)
    if h >= 4 * height and w >= 4 * width:
        # An exact half has a fast path of its own, and leaves a quarter of the pixels to the slow
        # one. An odd last row is left out: a shift of less than a pixel of the large picture.
        half = (w // 2, h // 2)
        array = cv2.resize(array[: h // 2 * 2, : w // 2 * 2], half, interpolation=cv2.INTER_AREA)
    return cv2.resize(array, (width, height), interpolation=cv2.INTER_AREA)


def limit(image: Image, side: int) -> Image:
    """The image with its long side at most ``side``; 0 leaves it as it is."""
    height, width = image.shape[:2]
    if not side or max(height, width) <= side:
        return image
    scale = side / max(height, width)
    return resize(image, max(1, round(height * scale)), max(1, round(width * scale)))
