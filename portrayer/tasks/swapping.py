"""Faces drawn anew: a network says who the source is, another draws the target's face as theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from portrayer.image.faces import Matrix, align
from portrayer.models.catalog import NEEDS, spec
from portrayer.tasks.choosing import Row
from portrayer.tasks.faces import FACES, PORTION, aligned, portions
from portrayer.tasks.task import Infer
from portrayer.types import Face, Image

RECOGNISED = "arcface"  # the template of the recogniser's crops

Vectors = NDArray[np.float32]
"""Who faces show, (N, D): near to each other in direction for the same person."""


@dataclass(frozen=True, slots=True)
class Swapper(Row):
    """A network that draws an aligned face as another person's, and the template it wants.

    It hears of that person by a vector; see :data:`NEEDS` for what makes it.
    """

    template: str

    @property
    def needs(self) -> tuple[str, ...]:
        """The recogniser, then what converts its vectors, in turn."""
        return NEEDS[spec(self.model).like or self.model]

    @property
    def models(self) -> tuple[str, ...]:
        """See :attr:`Row.models`."""
        return (self.model, *self.needs)


SWAPPERS: Mapping[str, Swapper] = {
    "inswapper-128": Swapper("inswapper-128", "arcface-128"),
    "ghost": Swapper("ghost", "arcface-112-v1"),
    "simswap": Swapper("simswap", "arcface-112-v1"),
}


def memory(swapper: Swapper) -> int:
    """Host bytes that :func:`swapped` holds at its peak for :data:`FACES` faces."""
    return PORTION + 6 * FACES * spec(swapper.model).side ** 2


def swapped(
    source: Image,
    giver: Face,
    target: Image,
    takers: Sequence[Face],
    swapper: Swapper,
    infer: Infer,
) -> list[tuple[Image, Matrix]]:
    """The faces of ``target`` (H, W, 3) drawn as the one of ``source``: crops (S, S, 3), each with
    the matrix (2, 3) from photo to crop, in as few requests as memory allows.
    """
    vector = identities([(source, giver)], swapper, infer)
    for converter in swapper.needs[1:]:
        vector = infer(converter, None, vector)
    side = spec(swapper.model).side
    crops, matrices = aligned(target, takers, swapper.template, side)
    drawn: list[Image] = []
    for before in portions(crops):
        made = infer(swapper.model, before, np.repeat(vector, len(before), 0))
        drawn += [np.rint(255 * one).astype(np.uint8) for one in made]
    return list(zip(drawn, matrices, strict=True))


def identities(faces: Sequence[tuple[Image, Face]], swapper: Swapper, infer: Infer) -> Vectors:
    """Who the faces show, each in a photo (H, W, 3), by the swapper's recogniser: one request."""
    recogniser = swapper.needs[0]
    side = spec(recogniser).side
    crops = [align(photo, face.points, RECOGNISED, side)[0] for photo, face in faces]
    return infer(recogniser, np.stack(crops))


def likeness(one: NDArray[np.float32], others: Vectors) -> NDArray[np.float32]:
    """How like one vector (D,) each of others (N, D) is: cosines, (N,)."""
    size = np.linalg.norm(one) * np.linalg.norm(others, axis=1)
    return np.asarray(others @ one / np.maximum(size, 1e-12), np.float32)
