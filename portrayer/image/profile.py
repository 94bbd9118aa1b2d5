"""Colour: an embedded ICC profile to sRGB."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import cast

import cv2
import numpy as np
from PIL import Image as Pillow
from PIL import ImageCms

from portrayer.image.source import MAX_PROFILE, Mode, Raster, strips
from portrayer.types import Image

_MODES: dict[str, Mode] = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}
# what a profile for one mode may be applied to: grey pictures with an RGB profile are common
_ACCEPTS: dict[Mode, tuple[Mode, ...]] = {"L": ("L",), "RGB": ("L", "RGB"), "CMYK": ("CMYK",)}


@dataclass(frozen=True, slots=True)
class Conversion:
    """A profile's way to sRGB, for pictures of ``mode``."""

    mode: Mode
    transform: ImageCms.ImageCmsTransform


def is_srgb(icc: bytes) -> bool:
    """Whether there is nothing to convert: no profile, a broken one, or sRGB by whatever name."""
    return conversion(icc) is None


@lru_cache(maxsize=8)
def conversion(icc: bytes) -> Conversion | None:
    """The conversion of an ICC profile to sRGB; None for a broken profile or when not needed."""
    if not icc or len(icc) > MAX_PROFILE:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(BytesIO(icc))
        mode = _MODES[profile.profile.xcolor_space.strip()]
        transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")
        found = Conversion(mode, transform)
        return None if _changes_nothing(found) else found
    except Exception:  # a profile is foreign bytes, and a photo without one is still a photo
        return None


def to_rgb(raster: Raster, icc: bytes) -> Image:
    """The raster as sRGB, (H, W, 3) RGB or (H, W, 4) RGBA uint8. May reuse its pixels."""
    colour = cast(Mode, raster.mode.removesuffix("A"))
    found = conversion(icc)
    if found is not None and colour not in _ACCEPTS[found.mode]:
        found = None
    if found is None and colour == "RGB":
        return raster.pixels
    if found is None and raster.mode == "L":
        return cast(Image, cv2.cvtColor(raster.pixels, cv2.COLOR_GRAY2RGB))
    height, width = raster.pixels.shape[:2]
    alpha = raster.mode != colour
    result = np.empty((height, width, 4 if alpha else 3), np.uint8)
    for rows in strips(height, width):
        part = raster.pixels[rows]
        if alpha:
            result[rows, :, 3] = part[..., -1]
            part = part[..., 0] if colour == "L" else part[..., :-1]
        result[rows, :, :3] = _strip(np.ascontiguousarray(part), colour, found)
    return result


def _strip(part: Image, mode: Mode, found: Conversion | None) -> Image:
    # frombuffer, because fromarray cannot tell CMYK from RGBA
    picture = Pillow.frombuffer(mode, (part.shape[1], part.shape[0]), part, "raw", mode, 0, 1)
    if found is None:
        return np.asarray(picture.convert("RGB"))
    if mode != found.mode:
        picture = picture.convert(found.mode)
    return np.asarray(found.transform.apply(picture))


def _changes_nothing(found: Conversion) -> bool:
    """Measured on a lattice of colours, since profiles equal to sRGB go by many names."""
    if found.mode != "RGB":
        return False
    steps = np.arange(0, 256, 17, dtype=np.uint8)
    lattice = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    moved = _strip(np.ascontiguousarray(lattice), "RGB", found)
    return bool(np.abs(moved.astype(np.int16) - lattice).max() <= 2)
