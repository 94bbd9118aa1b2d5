"""See people: networks that cut out, and their mattes at the photo's own size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from portrayer.image import matte as mattes
from portrayer.image.geometry import Fit, crop, fit, resize
from portrayer.models.catalog import spec
from portrayer.tasks.choosing import Row
from portrayer.tasks.task import Infer
from portrayer.types import Image, Matte


def squash(image: Image, side: int) -> tuple[Image, Fit]:
    """``image`` (H, W, 3) as a square (side, side, 3), its shape lost; and what
    :func:`~portrayer.image.geometry.unfit` needs to come back.
    """
    height, width = image.shape[:2]
    less = resize(image, min(height, side), min(width, side))  # what shrinks is averaged first
    return resize(less, side, side), Fit(height, width, (0, 0, side, side))


FITS: Mapping[str, Callable[[Image, int], tuple[Image, Fit]]] = {"letterbox": fit, "squash": squash}


@dataclass(frozen=True, slots=True)
class Cutter(Row):
    """A network that cuts people out, and how it wants to be shown a photo: a name in :data:`FITS`.

    ``modest``: it says its doubts, which have to be decided. The matte of one that decides for
    itself is made ten times worse by that, and twice by the wider filter that draws a modest one's
    edges (medians over 15 true mattes, shown at 1024 pixels).
    """

    fitted: str = "squash"
    modest: bool = False


CUTTERS: Mapping[str, Cutter] = {
    "lite": Cutter("portrait-matting", "letterbox", modest=True),
    "u2net": Cutter("u2net"),
    "u2netp": Cutter("u2netp"),
    "u2net-human": Cutter("u2net-human"),
    "isnet-general": Cutter("isnet-general"),
    "birefnet-general": Cutter("birefnet-general"),
    "birefnet-general-lite": Cutter("birefnet-general-lite"),
    "birefnet-portrait": Cutter("birefnet-portrait"),
    "modnet": Cutter("modnet"),
}


def estimate(
    image: Image, cutter: Cutter, infer: Infer, *, looks: int = 1, edges: bool = True
) -> tuple[Matte, Image]:
    """The matte (H, W) of a photo, and the photo at the model's size.

    ``looks``: 1 or 2. ``edges``: whether the photo's own are drawn, beyond the model's size.

    A second look is at the subject alone, larger, where it leaves room in the frame; else at the
    mirror image. What both looks say is averaged.
    """
    small, first = look(image, cutter, infer)
    box = mattes.subject(first, *image.shape[:2]) if looks > 1 else None
    if looks > 1 and box is None:
        first = mean(first, look(image, cutter, infer, mirrored=True)[1])
    matte = drawn(image, small, first, cutter, edges)
    if box is not None:
        part = np.ascontiguousarray(image[box])
        near, second = look(part, cutter, infer)
        again = resize(resize(first, *image.shape[:2])[box], *second.shape)
        matte[box] = drawn(part, near, mean(again, second), cutter, edges)
    return matte, small


def look(
    image: Image, cutter: Cutter, infer: Infer, *, mirrored: bool = False
) -> tuple[Image, Matte]:
    """One forward: the photo at the model's size, without bars, and its matte there."""
    square, where = FITS[cutter.fitted](image, spec(cutter.model).side)
    way = slice(None, None, -1 if mirrored else 1)
    answer = infer(cutter.model, np.ascontiguousarray(square[None, :, way]))[0]
    return crop(square, where), crop(answer[:, way], where)


def mean(one: Matte, other: Matte) -> Matte:
    """Halfway between two mattes of the same photo."""
    return (one + other) * np.float32(0.5)


def drawn(image: Image, small: Image, rough: Matte, cutter: Cutter, edges: bool) -> Matte:
    """A matte of the model's size at the photo's own, with the photo's edges."""
    sure = mattes.drop_islands(rough)
    if cutter.modest:
        sure = mattes.settle(mattes.fill_doubts(sure))
    if not edges:
        return grown(sure, *image.shape[:2])
    return mattes.refine(image, small, sure) if cutter.modest else close(image, small, sure)


def close(image: Image, small: Image, matte: Matte) -> Matte:
    """A matte that is right at the model's size, at the photo's: no edge moves by more than that
    size leaves open, and none where the photo has no finer ones.
    """
    height, width = image.shape[:2]
    if max(height, width) <= max(matte.shape):
        return grown(matte, height, width)
    return mattes.refine(image, small, matte, radius=1, eps=1e-5)


def grown(matte: Matte, height: int, width: int) -> Matte:
    """A matte at (height, width), never the one that was given, which may be the network's."""
    full: Matte = resize(matte, height, width)
    return full.copy() if full is matte else full
