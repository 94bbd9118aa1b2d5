"""Chains: several tasks in a row, the picture handed on in memory, never encoded in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, make_dataclass, replace
from functools import partial
from typing import Any

from portrayer.errors import InvalidOption
from portrayer.tasks.options import steps
from portrayer.tasks.task import Infer, Product, Task
from portrayer.types import Image

AND = "+"  # between the names of the steps


class Steps:
    """Options of a chain: those of each step in a field of its name.

    What is asked of the file that is written is asked of the last step.
    """

    def __post_init__(self) -> None:
        *before, _ = steps(type(self))
        for step in before:
            why = getattr(self, step).final
            if why:
                raise InvalidOption(f"{step}: {why}, which only the last step can say")

    @property
    def last(self) -> Any:
        """The last step's options."""
        *_, name = steps(type(self))
        return getattr(self, name)

    @property
    def enough(self) -> int:
        """See :attr:`Encoding.enough`."""
        first, *_ = steps(type(self))
        return int(getattr(self, first).enough)

    @property
    def max_side(self) -> int:
        return int(self.last.max_side)

    @property
    def format(self) -> str:
        return str(self.last.format)

    @property
    def quality(self) -> int:
        return int(self.last.quality)

    @property
    def output(self) -> str:
        return str(getattr(self.last, "output", ""))


def chain(rows: Sequence[Task]) -> Task:
    """One task of several, each of which works on what the one before has made.

    Raises :class:`InvalidOption` where one comes twice, or one of several inputs comes later.
    """
    first, *later = rows
    names = [row.name for row in rows]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise InvalidOption(f"a chain has each task once, {twice} is there again")
    for row in later:
        if len(row.inputs) > 1:
            raise InvalidOption(f"{row.name} takes {', '.join(row.inputs)}: it can only come first")
    return Task(
        name=AND.join(names),
        help=", then ".join([first.help, *(row.help[0].lower() + row.help[1:] for row in later)]),
        inputs=first.inputs,
        models=tuple(dict.fromkeys(model for row in rows for model in row.models)),
        options=make_dataclass(
            "".join(name.title() for name in names),
            [(row.name, row.options, field(default=row.options())) for row in rows],
            bases=(Steps,),
            frozen=True,
        ),
        run=partial(run, rows),
        memory=partial(memory, rows),
    )


def run(rows: Sequence[Task], images: Sequence[Image], options: Any, infer: Infer) -> Product:
    """Step by step: image and matte are the last one's; faces are the last that were looked for, in
    pixels of what that step was given; whatever made the picture synthetic stays told.
    """
    first, *later = rows
    product = first.run(images, getattr(options, first.name), infer)
    for row in later:
        product = replace(product, matte=None)  # the last one's is meant: this makes room for it
        made = row.run([product.image], getattr(options, row.name), infer)
        faces = product.faces if made.faces is None else made.faces
        product = replace(made, faces=faces, mark=made.mark or product.mark)
    return product


def memory(rows: Sequence[Task], options: Any, pixels: int) -> int:
    """Host bytes at the peak of the step that needs most; later ones have the photo beside them."""
    first, *later = rows
    return max(
        first.memory(getattr(options, first.name), pixels),
        *(3 * pixels + row.memory(getattr(options, row.name), pixels) for row in later),
    )
