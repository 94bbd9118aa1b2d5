"""What a task is: a plain function, and what the rest of the house must know of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from portrayer.tasks.options import option
from portrayer.types import Face, Image, Matte

Infer: TypeAlias = Callable[[str, NDArray[np.uint8]], NDArray[np.float32]]
"""infer(model, samples): blocks until the engine has run (N, S, S, 3) uint8 through the model."""


@dataclass(frozen=True, slots=True)
class Product:
    """What a task made.

    ``image``: (H, W, 3) RGB, (H, W, 4) RGBA or (H, W) grey, uint8; ``matte``: (H, W) float32 0..1.
    ``faces``: those that were found, in pixels of the photo; None where none were looked for.
    """

    image: Image
    matte: Matte | None = None
    faces: tuple[Face, ...] | None = None


@dataclass(frozen=True)
class Encoding:
    """Options every task shares: how the result is written."""

    max_side: int = option(
        0, "long side the result is limited to; 0 keeps the photo's own", ge=0, le=32_000, unit="px"
    )
    format: str = option("png", "file format of the result", choices=("png", "webp", "jpeg"))
    quality: int = option(92, "of lossy formats; 100 makes webp lossless", ge=1, le=100)


@dataclass(frozen=True, slots=True)
class Task:
    """One row of the table of tasks.

    ``inputs``: what each input image is; ``options``: a dataclass; ``run``: (images, options,
    infer) to a product; ``memory``: (options, pixels of an input) to the host bytes at the peak.
    """

    name: str
    help: str
    inputs: tuple[str, ...]
    models: tuple[str, ...]
    options: type[Any]
    run: Callable[[Sequence[Image], Any, Infer], Product]
    memory: Callable[[Any, int], int]
