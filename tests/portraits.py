"""Portraits that come with other packages, for tests where a real photo matters."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import matplotlib.cbook
import numpy as np
from skimage.data import astronaut as photo

from portrayer.image.geometry import limit
from portrayer.types import Image


@lru_cache
def astronaut() -> Image:
    """A portrait, (256, 256, 3)."""
    return limit(np.asarray(photo(), np.uint8), 256)  # type: ignore[no-untyped-call]


@lru_cache
def admiral() -> bytes:
    """A portrait as a JPEG file."""
    return Path(
        str(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    ).read_bytes()
