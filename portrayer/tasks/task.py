"""What a task is: a plain function, and what the rest of the house must know of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from portrayer.errors import InputError
from portrayer.tasks.options import option
from portrayer.types import Face, Image, Matte

Given = TypeVar("Given")
Made = TypeVar("Made")


class Infer(Protocol):
    """The border: blocks until the engine has run N samples through the model.

    ``samples``: (N, S, S, 3) uint8, None for a model that takes vectors alone; ``vectors``: (N,
    width) float32 for one that takes a vector a sample.
    """

    def __call__(
        self,
        model: str,
        samples: NDArray[np.uint8] | None,
        vectors: NDArray[np.float32] | None = None,
        /,
    ) -> NDArray[np.float32]: ...


@dataclass(frozen=True, slots=True)
class Product:
    """What a task made.

    ``image``: (H, W, 3) RGB, (H, W, 4) RGBA or (H, W) grey, uint8; ``matte``: (H, W) float32 0..1.
    ``faces``: those that were found, in pixels of the photo; None where none were looked for.
    ``mark``: what made a synthetic picture, for its file to say (see :class:`Mark` in
    ``image/credits``); None for one that is not.
    """

    image: Image
    matte: Matte | None = None
    faces: tuple[Face, ...] | None = None
    mark: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Encoding:
    """Options every task shares: how the result is written."""

    max_side: int = option(
        0, "long side the result is limited to; 0 keeps the photo's own", ge=0, le=32_000, unit="px"
    )
    format: str = option("png", "file format of the result", choices=("png", "webp", "jpeg"))
    quality: int = option(92, "of lossy formats; 100 makes webp lossless", ge=1, le=100)

    @property
    def enough(self) -> int:
        """Pixels of the last input's long side, beyond which nothing is gained; 0: all there are
        are looked at.
        """
        return self.max_side

    @property
    def final(self) -> str:
        """Why no other task can take the result, in words; empty where one can: an opaque picture
        (H, W, 3) of the photo, no larger than it.
        """
        return ""


@dataclass(frozen=True, slots=True)
class Task:
    """One row of the table of tasks, or several in a row (see ``chain``).

    ``inputs``: what each input image is, last the one whose frame the result has; ``options``: a
    dataclass; ``run``: (images, options, infer) to a product; ``memory``: (options, pixels of the
    last input) to the host bytes at the peak, beside the other inputs.
    """

    name: str
    help: str
    inputs: tuple[str, ...]
    models: tuple[str, ...]
    options: type[Any]
    run: Callable[[Sequence[Image], Any, Infer], Product]
    memory: Callable[[Any, int], int]

    def each(self, make: Callable[[Given], Made], inputs: Sequence[Given]) -> list[Made]:
        """``make`` of each input; where there are several, an error says which it is about."""
        made = []
        for name, given in zip(self.inputs, inputs, strict=True):
            try:
                made.append(make(given))
            except InputError as error:
                if len(inputs) == 1:
                    raise
                raise type(error)(f"{name}: {error.reason}") from error.__cause__
        return made
