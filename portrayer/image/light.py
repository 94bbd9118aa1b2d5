"""The tone of a face's skin and the light on it, in OKLab, and one face with those of another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from portrayer.image import tone
from portrayer.image.geometry import resize
from portrayer.image.oklab import oklab
from portrayer.types import Image

Floats = NDArray[np.float32]
Planes = Sequence[Floats]

SMALL = 64  # pixels a side at which tone and light are measured
LIGHT = 1 / 9  # of the side: sigma of what is light, and no feature of a face
GENTLE, COLOURED = 0.85, 0.7  # of the light's power and of its colour are taken over
DIM, BRIGHT = 0.45, 1.6  # the least and the most that light changes lightness

SPREAD = 0.7, 1.4  # colours are drawn together or apart by this much at most
FAINT = 0.008, 0.018  # OKLab: a photo whose colours are this far apart has none, or all of them
FEW = 0.003  # OKLab: a spread that says nothing
DOUBT = 0.02  # the share in skin of a pixel that has no colour of skin: it counts where none has
FEATURE = 0.4  # of the skin's change, for what is no skin: eyes and teeth stay white
LEAST = np.array([0.04, 0.012, 0.012], np.float32)  # OKLab: skin is not all of one colour


@dataclass(frozen=True, slots=True, eq=False)
class Tone:
    """A face's skin in OKLab: its ``middle`` (3,), how far apart its colours are, and how
    ``colourful``, 0..1, all of the face is; the ``gain`` (h, w) of lightness and the ``shift``
    (h, w, 2) of colours by which light moves it from there.
    """

    middle: Floats
    spread: float
    colourful: float
    gain: Floats
    shift: Floats

    def light(self, height: int, width: int) -> Planes:
        """The gain and both shifts, (height, width) each."""
        return cv2.split(resize(cv2.merge([self.gain, *cv2.split(self.shift)]), height, width))


def lit(colours: Floats, weight: Floats) -> Tone:
    """The tone of what has weight (h, w) in OKLab ``colours`` (h, w, 3)."""
    middle = _median(colours, weight)
    mean = around(colours, weight)
    usual = np.maximum(_median(mean, weight), (0.01, -1, -1)).astype(np.float32)
    ratio = np.maximum(mean[..., :1], 0.01) / usual[0]
    fine = colours[..., 1:] - mean[..., 1:]
    spread = float(_median(np.hypot(fine[..., :1], fine[..., 1:]), weight)[0])
    away = (colours[..., 1:] - middle[1:])[weight > DOUBT / 2]
    apart = float(np.percentile(np.hypot(away[:, 0], away[:, 1]), 95)) if len(away) else 0.0
    colourful = float(np.clip((apart - FAINT[0]) / (FAINT[1] - FAINT[0]), 0, 1))
    shift = (COLOURED * (mean[..., 1:] - ratio * usual[1:])).astype(np.float32)
    return Tone(middle, spread, colourful, np.clip(cv2.pow(ratio, GENTLE), DIM, BRIGHT), shift)


def relit(planes: Planes, falls: Planes, way: int) -> Planes:
    """OKLab's three (h, w) in the light that ``falls``, (h, w) as :meth:`Tone.light` gives it, or
    ``way`` -1, out of it.

    In more light a colour keeps its proportions, which in OKLab makes it so much longer.
    """
    gain, *shift = falls
    light, *colour = planes
    if way < 0:
        colour = [(one - more) / gain for one, more in zip(colour, shift, strict=True)]
        return [light / gain, *colour]
    return [light * gain, *(one * gain + more for one, more in zip(colour, shift, strict=True))]


def toned(planes: Planes, ours: Tone, theirs: Tone) -> Planes:
    """OKLab's three (h, w) of a face with the middle and spread of another's skin; what is no skin
    changes less.
    """
    ratio = (theirs.spread + FEW) / (ours.spread + FEW)
    scale = float(np.clip(ratio, *SPREAD)) * theirs.colourful
    here, there = (min(max(0.01, float(one.middle[0])), 0.99) for one in (ours, theirs))
    ab, goal = ([float(x) for x in one.middle[1:]] for one in (ours, theirs))
    long, longer = (max(1e-3, float(np.hypot(x, y))) for x, y in (ab, goal))
    light, *colour = planes
    # In more light a colour keeps its proportions: what the skin has, if it is as light as this.
    away = [one - light * (mine / here) for one, mine in zip(colour, ab, strict=True)]
    far = (away[0] * away[0] + away[1] * away[1]) * (-0.5 / (3 * ours.spread + 0.02) ** 2)
    skin = FEATURE + (1 - FEATURE) * np.exp(far)
    # Below the middle in proportion: what is dark stays dark. Above it as it is, up to white.
    low = np.minimum(light, here) * (there / here)
    high = np.maximum(light - here, 0) * min(1.0, (1 - there) / (1 - here))
    # Made darker, what is no skin stays lighter than that; lighter than white there is nothing.
    after = low + high if there >= here else light + skin * (low + high - light)
    # What is paler than the skin is so by the same share of the other one's colour.
    paler = np.minimum(away[0] * (ab[0] / long) + away[1] * (ab[1] / long), 0)
    paler *= min(scale, longer / long) - scale
    skin = 1 - (1 - skin) * scale  # where a photo has no colours, eyes have none
    plain, full = (1 - skin) * light, skin * after
    for one, mine, other in zip(away, ab, goal, strict=True):
        one *= scale
        one += paler * (mine / long)
        one += plain * (mine / here)
        one += full * (other / there)
    return [after, *away]


def skin(image: Image, weight: Floats) -> Floats:
    """How much each pixel (h, w) is skin: its colour, or being like most of the face."""
    colours = oklab(image)
    away = colours - _median(colours, weight)
    spread = 1.5 * _median(np.abs(away), weight) + LEAST
    alike = np.exp(-np.square(away / spread).sum(-1) / 6)
    return np.maximum(tone.skin(image), alike).astype(np.float32)


def around(colours: Floats, weight: Floats) -> Floats:
    """The mean of colours around each pixel, of those that have weight (normalised convolution)."""
    sigma = LIGHT * len(weight)
    total = cv2.GaussianBlur(colours * weight[..., None], (0, 0), sigma)
    # Far from all that has weight, the mean of everything.
    mean = (colours * weight[..., None]).sum((0, 1)) / weight.sum()
    few = np.float32(1e-3)
    return (total + few * mean) / (cv2.GaussianBlur(weight, (0, 0), sigma) + few)[..., None]


def low(values: Floats) -> Floats:
    """What of (S, S[, C]) is light, and no feature of a face."""
    side = len(values)
    small = resize(values, min(side, SMALL), min(side, SMALL))
    return resize(cv2.GaussianBlur(small, (0, 0), LIGHT * len(small)), side, side)


def _median(values: Floats, weight: Floats) -> Floats:
    """(C,) of (h, w, C), weighted by (h, w)."""
    some = np.flatnonzero(weight)
    flat, weights = values.reshape(-1, values.shape[-1])[some], weight.ravel()[some]
    order = np.argsort(flat, axis=0)
    reached = np.cumsum(weights[order], axis=0)
    at = (reached < reached[-1] / 2).sum(0)
    return np.take_along_axis(flat, np.take_along_axis(order, at[None], 0), 0)[0]
