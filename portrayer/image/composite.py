"""Putting a cut-out together: clean foreground colours, and something behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from portrayer.image.geometry import resize
from portrayer.image.matte import lift
from portrayer.image.source import strips
from portrayer.image.tiles import Box
from portrayer.types import Image, Matte

Floats = NDArray[np.float32]

COARSE = 512  # long side at which a blurred background is made
FADE = 0.08  # of a box, at each of its edges
EMPTY = np.float32(1e-4)  # keeps a mean of nothing finite
WINDOWS = 45, 5  # pixels of the small photo that colours are averaged over, first far, then near


def foreground(image: Image, small: Image, matte: Matte) -> Iterator[tuple[slice, Image]]:
    """The photo (H, W, 3) with the background's colour taken out of its soft pixels, from top to
    bottom: rows and their colours (h, W, 3), to be read only, which may be the photo's own.

    ``small``: the same photo at a size of a few hundred pixels. Blur fusion (Forte, 2021), twice:
    the averages of foreground and background around a pixel are smooth, so they are taken at the
    small size; the pixel's own colour corrects them at full size, in the soft band only.
    """
    height, width = matte.shape
    alpha = resize(matte, *small.shape[:2])
    band = ((alpha > 0.002) & (alpha < 0.998)).astype(np.uint8)
    done = 0
    if band.any():
        far, near = WINDOWS
        means = averages(small, small, alpha, far)
        means = averages(unmixed(small, *means, alpha), means[1], alpha, near)
        band = cv2.dilate(band, np.ones((3, 3), np.uint8))
        for rows, tiles in groupby(lift(means, band, height, width), lambda tile: tile[0][0]):
            yield from _untouched(image, done, rows.start)
            colours = image[rows].copy()
            for box, (front, back) in tiles:
                clean = unmixed(image[box], front, back, matte[box])
                colours[:, box[1]] = cv2.convertScaleAbs(clean)
            yield rows, colours
            done = rows.stop
    yield from _untouched(image, done, height)


def _untouched(image: Image, start: int, stop: int) -> Iterator[tuple[slice, Image]]:
    """Rows ``start`` to ``stop``, strip by strip, as they are."""
    for part in strips(stop - start, image.shape[1]):
        rows = slice(start + part.start, start + part.stop)
        yield rows, image[rows]


def averages(
    front: NDArray[Any], back: NDArray[Any], matte: Matte, size: int
) -> tuple[Floats, Floats]:
    """The mean colours (h, w, 3), 0..255, of foreground and background in a square around each
    pixel.
    """
    front = cv2.multiply(front, rgb(matte), dtype=cv2.CV_32F)
    back = cv2.multiply(back, rgb(1 - matte), dtype=cv2.CV_32F)
    share = _blur(matte, size)
    return (
        cv2.multiply(_blur(front, size), rgb(1 / (share + EMPTY))),
        cv2.multiply(_blur(back, size), rgb(1 / (1 - share + EMPTY))),
    )


def unmixed(image: Image, front: Floats, back: Floats, matte: Matte) -> Floats:
    """The foreground's colour (h, w, 3), 0..255, where ``image`` mixes it with the background by
    ``matte``: what is ``front`` on average, corrected by the pixel's own colour.

    front + matte (image - mixed), where mixed = matte front + (1 - matte) back; written as a blend,
    which OpenCV has a fast path for.
    """
    beyond = cv2.add(front, cv2.multiply(cv2.subtract(front, back), rgb(matte)))
    colour = cv2.blendLinear(image.astype(np.float32), beyond, matte, 1 - matte)
    return np.clip(colour, 0, 255, out=colour)


def rgb(plane: NDArray[Any]) -> Floats:
    """A plane (h, w) three times, (h, w, 3)."""
    return cv2.cvtColor(plane, cv2.COLOR_GRAY2RGB)


def cutout(colours: Image, matte: Matte) -> Image:
    """RGBA (H, W, 4) uint8, straight alpha, RGB zero where alpha is zero."""
    alpha = quantise(matte)
    result = cv2.cvtColor(cv2.copyTo(colours, alpha), cv2.COLOR_RGB2RGBA)
    cv2.mixChannels([alpha], [result], [0, 3])
    return result


def quantise(matte: Matte) -> Image:
    """A matte as uint8 0..255, (H, W)."""
    return cv2.convertScaleAbs(matte, alpha=255)


def over(colours: Image, matte: Matte, back: Image) -> Image:
    """RGB (H, W, 3): the foreground over ``back`` (H, W, 3)."""
    return cv2.blendLinear(colours, back, matte, 1 - matte)


def over_colour(colours: Image, matte: Matte, colour: tuple[int, int, int, int]) -> Image:
    """Over one colour (r, g, b, a): RGB where it is opaque, RGBA where it lets something
    through.
    """
    *rgb, opacity = colour
    plain = np.empty_like(colours)
    plain[:] = rgb
    if opacity == 255:
        return over(colours, matte, plain)
    behind = (1 - matte) * np.float32(opacity / 255)
    total = matte + behind
    weight = matte / np.maximum(total, 1e-6)
    return cutout(cv2.blendLinear(colours, plain, weight, 1 - weight), total)


def laid(
    pieces: Iterable[tuple[Box, Image]], matte: Matte, lay: Callable[[Image, Matte], Image]
) -> Image:
    """Pieces of a picture, from top to bottom, put where they lie as ``lay`` makes them of colours
    (h, w, 3) and matte (h, w), with as many channels as that has. ``matte``: (H, W), 0 where no
    piece is.
    """
    height, width = matte.shape
    blank = lay(np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.float32))
    canvas = np.empty((height, width, blank.shape[2]), np.uint8)
    blank = np.repeat(blank, width, 1)
    done = 0
    for place, colours in pieces:
        rows, _ = place
        canvas[done : rows.start] = blank
        if colours.shape[1] < width:
            canvas[rows] = blank
        canvas[place] = lay(colours, matte[place])
        done = rows.stop
    canvas[done:] = blank
    return canvas


def blurred(image: Image, matte: Matte, strength: float = 0.02) -> Image:
    """The photo's own background out of focus, the person not smeared into it. ``strength``: share
    of the long side.
    """
    height, width = matte.shape
    scale = min(1.0, COARSE / max(height, width))
    h, w = max(1, round(height * scale)), max(1, round(width * scale))
    rest = 1 - resize(matte, h, w)[..., None]
    colour = resize(image, h, w).astype(np.float32)
    sigma = max(1.0, strength * max(h, w))
    weight = cv2.GaussianBlur(rest, (0, 0), sigma)[..., None]
    # Deep inside the person no background is near: a wide blur fills what the narrow one cannot.
    wide = cv2.GaussianBlur(colour * rest, (0, 0), 6 * sigma) / (
        cv2.GaussianBlur(rest, (0, 0), 6 * sigma)[..., None] + 1e-3
    )
    near = cv2.GaussianBlur(colour * rest, (0, 0), sigma)
    mixed = (near + 0.02 * wide) / (weight + 0.02)
    return resize(np.clip(mixed, 0, 255).astype(np.uint8), height, width)


def cover(back: Image, height: int, width: int) -> Image:
    """A background picture scaled and centre-cropped to fill (height, width); never itself."""
    # Cropped first: a strip a pixel high must not be scaled as a whole.
    h = min(back.shape[0], max(1, round(height * back.shape[1] / width)))
    w = min(back.shape[1], max(1, round(width * back.shape[0] / height)))
    top, left = (back.shape[0] - h) // 2, (back.shape[1] - w) // 2
    return resize(back[top : top + h, left : left + w].copy(), height, width)


def _blur(array: NDArray[Any], size: int) -> Floats:
    return cv2.blur(array, (size, size), borderType=cv2.BORDER_REPLICATE)


def confined(
    image: Image, ground: Image, boxes: Iterable[tuple[float, float, float, float]]
) -> Image:
    """``ground`` (H, W, 3) with what ``image`` (the same) shows inside boxes (x, y, width, height)
    of pixels, faded out towards their edges: outside of them every pixel is the ground's own.

    The result is written over ``image``: a photo may be too large for another of its size.
    """
    height, width = ground.shape[:2]
    boxes = list(boxes)
    for strip in strips(height, width):
        result = ground[strip].copy()
        for x, y, w, h in boxes:
            left, right = (int(np.clip(edge, 0, width)) for edge in (np.ceil(x), x + w))
            ends = (np.ceil(y), y + h)
            top, bottom = (int(np.clip(edge, strip.start, strip.stop)) for edge in ends)
            if left >= right or top >= bottom:
                continue  # beside the strip, or between two pixels
            across = _faded(np.arange(left, right) + 0.5, x, w, width)
            down = _faded(np.arange(top, bottom) + 0.5, y, h, height)
            weight = np.minimum(across, down[:, None])
            part = np.s_[top - strip.start : bottom - strip.start, left:right]
            shown = image[top:bottom, left:right]
            result[part] = cv2.blendLinear(shown, result[part], weight, 1 - weight)
        image[strip] = result
    return image


def _faded(at: NDArray[Any], start: float, length: float, limit: int) -> NDArray[np.float32]:
    """0 at the ends of a span, 1 over most of it; 1 as well where the picture ends before it."""
    low = (at - start) / (FADE * length) if start > 0 else np.ones(len(at))
    high = (start + length - at) / (FADE * length) if start + length < limit else np.ones(len(at))
    return np.clip(np.minimum(low, high), 0, 1).astype(np.float32)
