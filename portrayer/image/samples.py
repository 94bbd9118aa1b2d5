"""Two portraits to try things on: they come with other packages, and are free for every use."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from portrayer.errors import InputError
from portrayer.image import codec


@cache
def portraits() -> dict[str, bytes]:
    """The portraits by name, as files that can be decoded.

    Raises :class:`InputError` where those packages are not installed.
    """
    try:
        import matplotlib.cbook
        import skimage.data
    except ImportError:
        raise InputError(
            "the sample portraits come with other packages: pip install 'portrayer[demo]'"
        ) from None
    hopper = matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    photographs: Any = skimage.data  # published half typed
    return {
        "astronaut": codec.encode(photographs.astronaut(), "png"),
        "grace_hopper": Path(str(hopper)).read_bytes(),
    }
