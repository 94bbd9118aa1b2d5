"""Small pictures for a page: decoded no larger than they need to be."""

from __future__ import annotations

import cv2
import numpy as np

from portrayer.image import codec, profile
from portrayer.image.codec import Header
from portrayer.image.geometry import resize
from portrayer.types import Image

QUALITY = 80


def memory(header: Header) -> int:
    """Upper bound of the bytes that :func:`make` holds at its peak beside the file."""
    return max(header.decoded_bytes, 10 * header.pixels)  # RGBA twice, and a half on its way down


def make(blob: bytes, side: int, *, max_pixels: int = codec.MAX_PIXELS) -> bytes:
    """A WebP of at most ``side`` pixels a side: upright, in sRGB, alpha kept.

    Raises what :func:`codec.decode` raises.
    """
    with codec.one_reason():
        found = codec.inspect(blob, max_pixels, side)
        scale = min(1.0, side / max(found.height, found.width))
        height, width = (max(1, round(scale * size)) for size in (found.height, found.width))
        image = profile.to_rgb(found.read(), found.icc)
        upright = codec.UPRIGHT[found.record.orientation](_resized(image, height, width))
    return codec.encode(np.asarray(upright, np.uint8), "webp", quality=QUALITY)


def _resized(image: Image, height: int, width: int) -> Image:
    """(H, W, 3 or 4) at another size; what is transparent lends no colour to what is not."""
    if image.shape[2] == 3:
        return resize(image, height, width)
    weighed = resize(cv2.cvtColor(image, cv2.COLOR_RGBA2mRGBA), height, width)
    return cv2.cvtColor(weighed, cv2.COLOR_mRGBA2RGBA)
