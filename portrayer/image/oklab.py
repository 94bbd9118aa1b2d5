"""OKLab: lightness and two colour axes that look evenly spaced (Ottosson, 2020)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# "A perceptual color space for image processing", B. Ottosson, 2020: linear sRGB to cones, the
# cones' cube roots to lightness and colour; and the ways back.
TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
FROM_CONES, FROM_LAB = np.linalg.inv(TO_CONES), np.linalg.inv(TO_LAB)

TOE = 0.04045, 0.0031308  # sRGB is straight below: as encoded, and as light


def oklab(image: NDArray[np.uint8] | Floats) -> Floats:
    """sRGB (H, W, 3) in levels 0..255, uint8 or float32, as (H, W, 3) float32: lightness 0..1,
    green to red and blue to yellow, within about -.4..+.4.
    """
    if image.dtype == np.uint8:
        light = cv2.LUT(image, LINEAR)
    else:
        light = linear(np.clip(image * np.float32(1 / 255), 0, 1))
    return cv2.transform(np.cbrt(cv2.transform(light, TO_CONES)), TO_LAB)


def rgb(lab: Floats) -> Floats:
    """The inverse of :func:`oklab`: (H, W, 3) float32 in levels 0..255, not rounded; colours that
    a screen cannot show are clipped.
    """
    cones = cv2.transform(lab, FROM_LAB)
    light = cv2.transform(cones * cones * cones, FROM_CONES)
    np.sqrt(np.maximum(light, 0, out=light), out=light)
    steps = cv2.multiply(light, (STEPS,) * 4, dtype=cv2.CV_16U)  # rounded, and clipped
    return LEVELS.take(steps, mode="clip")


def linear(encoded: Floats) -> Floats:
    """sRGB 0..1 as light 0..1 (IEC 61966-2-1)."""
    bent = cv2.pow((encoded + np.float32(0.055)) * np.float32(1 / 1.055), 2.4).reshape(
        encoded.shape
    )
    return np.where(encoded > TOE[0], bent, encoded * np.float32(1 / 12.92))


def srgb(light: Floats) -> Floats:
    """The inverse of :func:`linear`."""
    bent = 1.055 * light ** np.float32(1 / 2.4) - 0.055
    return np.where(light > TOE[1], bent, light * np.float32(12.92))


LINEAR = linear(np.linspace(0, 1, 256, dtype=np.float32))
STEPS = 2**16 - 1  # of light's square root: evenly, in the dark there were too few
LEVELS = 255 * srgb(np.linspace(0, 1, STEPS + 1, dtype=np.float32) ** 2)
