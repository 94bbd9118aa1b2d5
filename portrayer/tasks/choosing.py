"""Models chosen by name: a task's table has the published ones, a user's own is like one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from portrayer.errors import InvalidOption, UnknownModel
from portrayer.models.catalog import own, spec
from portrayer.tasks.options import steps


@dataclass(frozen=True, slots=True)
class Row:
    """A way to do a task by a network. ``model``: what the catalogue calls it."""

    model: str

    @property
    def models(self) -> tuple[str, ...]:
        """All that it needs, by the catalogue's names."""
        return (self.model,)


R = TypeVar("R", bound=Row)


class Names(tuple[str, ...]):
    """The names that a table of rows lists, and, not listed, every model of a user's own that is
    like one of them.
    """

    rows: Mapping[str, Row]

    def __new__(cls, rows: Mapping[str, Row]) -> Names:
        made = super().__new__(cls, rows)
        made.rows = rows
        return made

    def __contains__(self, name: object) -> bool:
        return name in self.rows or _own(self.rows, str(name)) is not None


def row(option: str, rows: Mapping[str, R], name: str) -> R:
    """The row of a name, of a user's own model that of the one it is like.

    :class:`InvalidOption` says which there are.
    """
    found = rows.get(name) or _own(rows, name)
    if found is None:
        raise InvalidOption(f"{option} is {name!r}, it can be {', '.join(rows)}")
    return found


def offered(rows: Mapping[str, R], folder: Path) -> dict[str, R]:
    """The rows there are to choose from: the published, then a user's own in ``folder``."""
    mine = {name: _own(rows, name, folder) for name in own(folder) if name not in rows}
    return {**rows, **{name: found for name, found in mine.items() if found}}


def needed(chosen: object) -> tuple[str, ...]:
    """The models, as the catalogue calls them, that the options of a task or a chain ask for."""
    own = tuple(getattr(chosen, "models", ()))
    inner = [needed(getattr(chosen, step)) for step in steps(type(chosen))]
    return tuple(dict.fromkeys([*own, *(name for names in inner for name in names)]))


def _own(rows: Mapping[str, R], name: str, folder: Path | None = None) -> R | None:
    try:
        like = spec(name, folder).like
    except UnknownModel:
        return None
    alike = (each for each in rows.values() if like and each.model == like)
    return next((replace(each, model=name) for each in alike), None)
