"""One picture made to belong to another: skin tone, light, sharpness, grain; and how it looks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar, cast
from zlib import crc32

import cv2
import numpy as np
from numpy.typing import NDArray

from portrayer.image import tone
from portrayer.image.geometry import resize
from portrayer.image.light import DOUBT, SMALL, around, lit, low, relit, skin, toned
from portrayer.image.oklab import oklab, rgb
from portrayer.image.tiles import tiled
from portrayer.types import Image, Matte

Floats = NDArray[np.float32]
Pixels = TypeVar("Pixels", NDArray[np.uint8], Floats)

STRIP = 2**15  # pixels whose colours are worked on at once: they stay in the cache
UNIT = 512  # pixels a side of a crop that the following pixels are of
FINE, COARSE = 0.8, 2.0  # sigmas between which edges are told
EDGES, SHARPEST = 94, 75  # percentiles: what is an edge, and which of them are the sharp ones
BLUR = 0.6, 6.0  # sigmas: less is not worth it, more is not done
GRAIN = 0.5  # levels that are not seen

POCK, SPOT = 0.12, 10  # of the lightness, and radius: differences in skin that are smoothed
PORE = 1.2  # sigma of what is finer than these
POCKS, PORES = 0.9, 0.4  # of both is taken out at most
OVERLAY = 1.5  # times the lightness that stands out
APART = 0.28, 0.07  # of the lightness: lightness and colour that tell a brow or a lip from skin


def match(front: Pixels, back: Pixels, mask: Matte, amount: float = 1.0) -> Pixels:
    """``front`` in the skin tone and the light of ``back``: (S, S, 3) in levels 0..255, both uint8
    or both float32.

    ``mask`` (S, S), 0..1: where both show the face; ``amount``: 0 leaves ``front`` as it is, 1 is
    all of it. In OKLab (Ottosson, 2020): the medians of what is skin in both are brought together,
    and the spread of colours around them; then the face is lit as the other is, by the ratio of
    both lightnesses, smoothed over skin (normalised convolution, Knutsson and Westin, 1993). What
    is no skin changes less: eyes stay white, brows and pupils dark.
    """
    if amount <= 0:
        return front
    shrunk = [resize(_levels(image), SMALL, SMALL) for image in (front, back)]
    small, goal = (oklab(image) for image in shrunk)
    weight = resize(np.clip(mask, 0, 1), SMALL, SMALL)
    if weight.sum() < 1:
        return front
    weight = weight * (skin(shrunk[0], weight) * skin(shrunk[1], weight) + np.float32(DOUBT))
    ours, theirs = (lit(colours, weight) for colours in (small, goal))
    mine, other = (face.light(*mask.shape) for face in (ours, theirs))
    result = np.empty_like(front)
    step = max(1, STRIP // mask.shape[1])
    for rows in (slice(at, at + step) for at in range(0, len(mask), step)):
        before = cv2.split(oklab(front[rows]))
        bare = relit(before, [plane[rows] for plane in mine], -1)
        after = relit(toned(bare, ours, theirs), [plane[rows] for plane in other], 1)
        if amount < 1:
            after = [a + amount * (b - a) for a, b in zip(before, after, strict=True)]
        result[rows] = _like(rgb(cv2.merge(after)), front)
    return result


def grain(front: Pixels, back: Pixels, mask: Matte) -> Pixels:
    """``front`` no sharper and no cleaner than ``back`` is within ``mask``; shapes as in
    :func:`match`.

    Blurred by the sigma that its edges lack, from their gradients at two scales (Zhuo and Sim,
    2011), then given the noise that it lacks, of one sigma for all three colours.
    The seed is the picture behind: the same pictures give the same result.
    """
    side = len(mask)
    widths = [_edges(image, mask) for image in (front, back)]
    sigma = min(BLUR[1] * side / UNIT, float(np.sqrt(max(0.0, widths[1] - widths[0]))))
    result = cv2.GaussianBlur(front, (0, 0), sigma) if sigma > BLUR[0] * side / UNIT else front
    has, wants = (_noise(image, mask) for image in (result, back))
    lacks = float(np.sqrt(max(0.0, wants**2 - has**2)))
    if lacks <= GRAIN:
        return result
    seed = crc32(np.ascontiguousarray(back).tobytes())
    speckle = np.random.default_rng(seed).standard_normal(mask.shape, np.float32)
    return _like(result + cv2.merge([lacks * speckle] * 3), front)


def mixed(front: Pixels, back: Pixels, share: float) -> Pixels:
    """``share`` of the front over the back; shapes as in :func:`match`."""
    return cast(Pixels, cv2.addWeighted(front, share, back, 1 - share, 0))


def smooth(image: Pixels, mask: Matte, amount: float) -> Pixels:
    """``image`` (S, S, 3), uint8 or float32 in levels, with smoother skin within ``mask`` (S, S);
    ``amount`` 0..1, 0 leaves it as it is.

    Spots and blotches go (guided filter of the lightness by itself, He et al., 2013), more than
    half of the pores stays. Brows, eyes and lips are told from the skin around them and stay.
    """
    if amount <= 0:
        return image
    side = len(mask)
    unit = side / UNIT
    weight = np.clip(mask, 0, 1) * _plain(image, mask)
    light = cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2GRAY) / 255
    radius = max(1, round(SPOT * unit))
    size = (2 * radius + 1,) * 2
    mean = cv2.blur(light, size)
    spread = np.maximum(cv2.blur(light * light, size) - mean * mean, 0)
    slope = spread / (spread + np.square(POCK * mean) + np.float32(1e-6))
    base = cv2.blur(slope, size) * light + cv2.blur(mean - slope * mean, size)
    middle = cv2.GaussianBlur(light, (0, 0), max(0.5, PORE * unit))
    change = POCKS * (base - middle) + PORES * (middle - light)
    change *= np.float32(255 * amount) * weight
    return _like(image + change[..., None], image)


def look(image: Image, brightness: float, contrast: float, saturation: float) -> Image:
    """``image`` (H, W, 3) uint8 brighter, with more contrast and more colour, each -0.5..0.5; at 0
    it stays as it is.

    Brightness and contrast as :func:`portrayer.image.tone.adjust`; then colours, in OKLab, are 0 to
    2 times as far from grey.
    """
    result = tone.adjust(image, brightness, contrast)
    if saturation == 0:
        return result
    return tiled(result, partial(_saturated, factor=1 + 2 * saturation), overlap=0)


def _normal(front: Pixels, back: Pixels) -> Pixels:
    """The face in front."""
    return front


def _blend(front: Pixels, back: Pixels) -> Pixels:
    """What is fine of the face in front, half of the light and colour of the one behind."""
    change = cv2.subtract(back, front, dtype=cv2.CV_32F)
    return _like(front + 0.5 * low(change), front)


def _overlay(front: Pixels, back: Pixels) -> Pixels:
    """The lightness of the face in front, laid softly over the face behind, which keeps its
    colours: where the one is lighter or darker than around, so becomes the other.
    """
    colours = oklab(back)
    light = oklab(front)[..., 0]
    above = np.clip(0.5 + OVERLAY * (light - low(light)), 0, 1)
    below = colours[..., 0]
    colours[..., 0] = (1 - 2 * above) * below * below + 2 * above * below  # Pegtop's soft light
    return _like(rgb(colours), back)


MODES: Mapping[str, Callable[[Pixels, Pixels], Pixels]] = {
    "normal": _normal,
    "blend": _blend,
    "overlay": _overlay,
}
"""What is seen of two pictures of a face, (S, S, 3) in levels 0..255, both uint8 or both float32,
by name: ``normal``, the one in front; ``blend``, its features in light and colours half way to the
other's; ``overlay``, the one behind in its own colours, marked by the lightness of the one in
front."""


def _edges(image: NDArray[np.uint8] | Floats, mask: Matte) -> float:
    """By how much, a variance in pixels squared, a picture's sharper edges in a mask are blurred.

    An ideal edge blurred by s has, smoothed by t, a gradient of 1 / sqrt(s^2 + t^2): that of two
    smoothings gives s.
    """
    unit = len(mask) / UNIT
    fine, coarse = (max(0.5, sigma * unit) for sigma in (FINE, COARSE))
    x, y, w, h = cv2.boundingRect((mask > 0.5).astype(np.uint8))
    room = int(4 * coarse) + 4  # further away nothing has a say
    box = np.s_[max(0, y - room) : y + h + room, max(0, x - room) : x + w + room]
    image, mask = image[box], mask[box]
    light = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    slopes = []
    for sigma in (fine, coarse):
        calm = cv2.GaussianBlur(light, (0, 0), sigma)
        across, down = (cv2.Sobel(calm, cv2.CV_32F, *way, ksize=3) for way in ((1, 0), (0, 1)))
        slopes.append(cv2.magnitude(across, down))
    inside = mask > 0.5
    if not inside.any():
        return 0.0
    crest = slopes[0] >= 0.95 * cv2.dilate(slopes[0], np.ones((3, 3), np.uint8))
    edge = inside & crest & (slopes[1] >= np.percentile(slopes[1][inside], EDGES))
    if not edge.any():
        return 0.0
    ratio = float(np.percentile((slopes[0][edge] / np.maximum(slopes[1][edge], 1e-3)), SHARPEST))
    squared = max(1.0 + 1e-3, ratio) ** 2
    return max(0.0, (coarse**2 - squared * fine**2) / (squared - 1))


def _noise(image: NDArray[np.uint8] | Floats, mask: Matte) -> float:
    """Sigma of the grain in levels, of the flattest quarter of what lies within a mask (Immerkaer,
    1996). Not :func:`portrayer.image.tone.noise`, for which JPEG's blocks are noise: they are no
    grain.
    """
    light = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    rough = np.abs(cv2.filter2D(light, cv2.CV_32F, tone.LAPLACIAN))
    size = max(1, len(mask) // tone.BLOCK)
    rough, inside = (
        cv2.resize(one, (size, size), None, 0, 0, cv2.INTER_AREA) for one in (rough, mask)
    )
    found = rough[inside > 0.9]
    return float(np.percentile(found, 25) * np.sqrt(np.pi / 2) / 6) if found.size else 0.0


def _plain(image: NDArray[np.uint8] | Floats, mask: Matte) -> Matte:
    """How much each pixel is like the skin around it, (S, S) 0..1: no brow, eye or lip."""
    small = resize(_levels(image), 2 * SMALL, 2 * SMALL)
    colours = oklab(small)
    weight = resize(np.clip(mask, 0, 1), 2 * SMALL, 2 * SMALL)
    if weight.sum() < 1:
        return np.zeros(mask.shape, np.float32)
    weight = weight * (skin(small, weight) + np.float32(DOUBT))
    alike, scale = weight, -1 / np.square([[APART[0], APART[1], APART[1]]])
    for _ in range(2):  # the mean of everything around first, then of what is like it
        mean = around(colours, weight * alike)
        away = (colours - mean) / np.maximum(mean[..., :1], 0.05)
        away[..., 0] = np.where(away[..., 0] > 0, 0.5, 1) * away[..., 0]  # skin shines
        alike = cv2.exp(cv2.transform(away * away, scale))
    alike = cv2.erode(alike * np.minimum(1, weight), np.ones((3, 3), np.uint8))
    return resize(cv2.blur(alike, (3, 3)), *mask.shape)


def _saturated(image: Image, factor: float) -> Image:
    colours = oklab(image)
    colours[..., 1:] *= np.float32(factor)
    return _levels(rgb(colours))


def _levels(image: NDArray[np.uint8] | Floats) -> Image:
    if image.dtype == np.uint8:
        return cast(Image, image)
    return cv2.convertScaleAbs(np.maximum(image, 0))


def _like(result: Floats, image: Pixels) -> Pixels:
    """Levels as ``image`` has them, rounded or not."""
    levels = _levels(result) if image.dtype == np.uint8 else np.clip(result, 0, 255)
    return cast(Pixels, levels)
