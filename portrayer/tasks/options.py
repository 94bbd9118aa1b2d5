"""Options, declared once: a dataclass field with its range, unit and help.

Everything else is derived from it. A field that is an option dataclass itself is a step with
options of its own, given as a mapping under its name or as ``step.option``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, is_dataclass, replace
from functools import cache
from operator import attrgetter
from typing import Any, TypeVar, get_type_hints

from portrayer.errors import InvalidOption

O = TypeVar("O")  # noqa: E741
TRUE, FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off"})


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a task: what a flag, a form control or a schema needs to know.

    ``words``: some texts that it knows. ``picture``: what stands before the path in a text that
    names a picture; None where none can be named.
    """

    name: str  # with hyphens, as users write it; a step's stands before it, with a dot
    field: str
    type: type
    default: Any
    help: str
    ge: float | None
    le: float | None
    unit: str
    choices: tuple[str, ...]
    words: tuple[str, ...]
    picture: str | None

    def path(self, value: Any) -> str | None:
        """The path of the picture that a value names; None for a word, or a colour (``#``...).

        Goes by the text alone: whether anything lies there is not looked at.
        """
        text = str(value)
        if self.picture is None or text in self.words or text.startswith("#"):
            return None
        return text.removeprefix(self.picture) if text.startswith(self.picture) else None


def option(
    default: Any,
    help: str,
    *,
    ge: float | None = None,
    le: float | None = None,
    unit: str = "",
    choices: tuple[str, ...] = (),
    words: tuple[str, ...] = (),
    picture: str | None = None,
) -> Any:
    """A dataclass field that is an option."""
    rules = {"ge": ge, "le": le, "unit": unit, "choices": choices}
    return field(
        default=default, metadata={"help": help, **rules, "words": words, "picture": picture}
    )


def options(cls: type) -> tuple[Option, ...]:
    """The options of an option dataclass, in order, those of its steps among them."""
    return _declared(cls)[0]


def steps(cls: type) -> Mapping[str, type]:
    """The fields of an option dataclass that are option dataclasses themselves, in order."""
    return _declared(cls)[1]


def read(cls: type[O], values: Mapping[str, Any]) -> O:
    """An option dataclass from names and values, as flags and forms give them.

    Names with hyphens or underscores; values typed, or as text.

    Raises :class:`InvalidOption` naming the option, its value and what is allowed.
    """
    own, inner = parted(values, steps(cls))
    known = _known(cls)
    given: dict[str, Any] = {}
    for name, value in own.items():
        o = known.get(_field(name))
        if o is None:
            there = ", ".join([*(k.name for k in known.values()), *steps(cls)])
            raise InvalidOption(f"no option is called {name!r} (there are: {there})")
        given[o.field] = _value(o, value)
    for step, kind in steps(cls).items():
        try:
            given[step] = read(kind, inner[step])
        except InvalidOption as error:
            raise InvalidOption(f"{step}: {error.reason}") from error
    try:
        return cls(**given)
    except ValueError as error:
        raise InvalidOption(str(error)) from error


def values(chosen: object) -> dict[str, Any]:
    """What :func:`read` makes this option dataclass of: every option by its name."""
    return {o.name: attrgetter(o.field)(chosen) for o in options(type(chosen))}


def essential(chosen: object) -> dict[str, Any]:
    """Of :func:`values`, those that differ from the defaults: one wish, however it was written."""
    default = {o.name: o.default for o in options(type(chosen))}
    return {name: value for name, value in values(chosen).items() if value != default[name]}


def pictures(cls: type, values: Mapping[str, Any]) -> dict[str, str]:
    """The paths of the pictures that ``values`` of an option dataclass name, by option.

    Values as :func:`read` takes them. No disk is touched, and nothing else is checked.
    """
    own, inner = parted(values, steps(cls))
    known = _known(cls)
    found = {}
    for name, value in own.items():
        o = known.get(_field(name))
        path = None if o is None else o.path(_single(o, value))
        if o is not None and path is not None:
            found[o.name] = path
    for step, kind in steps(cls).items():
        found |= {f"{step}.{name}": path for name, path in pictures(kind, inner[step]).items()}
    return found


def parted(
    values: Mapping[str, Any], names: Collection[str]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Values of one's own, and those of the steps of these ``names``, by step.

    Raises :class:`InvalidOption` for a step that is given anything but options.
    """
    own: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = {name: {} for name in names}
    for name, value in values.items():
        step, dot, rest = name.partition(".")
        if step not in inner:
            own[name] = value
        elif dot:
            inner[step][rest] = value
        elif isinstance(value, Mapping):
            inner[step] |= value
        else:
            raise InvalidOption(f"{step} takes options by their names")
    return own, inner


def schema(cls: type) -> dict[str, Any]:
    """JSON schema (draft 2020-12) of an option dataclass.

    ``unit``, and ``picture`` (true, or the text before a picture's path) are our own words.
    """
    properties = {o.name: _rules(o) for o in _known(cls).values()}
    properties |= {step: schema(kind) for step, kind in steps(cls).items()}
    return {"type": "object", "additionalProperties": False, "properties": properties}


@cache
def _declared(cls: Any) -> tuple[tuple[Option, ...], Mapping[str, type]]:
    types = get_type_hints(cls)
    found: list[Option] = []
    inner: dict[str, type] = {}
    for f in dataclasses.fields(cls):
        kind = types[f.name]
        if is_dataclass(kind):
            inner[f.name] = step = types[f.name]
            for o in options(step):
                at, name = f"{f.name}.{o.field}", f"{f.name}.{o.name}"
                found.append(replace(o, name=name, field=at))
        else:
            found.append(Option(f.name.replace("_", "-"), f.name, kind, f.default, **f.metadata))
    return tuple(found), inner


def _known(cls: type) -> dict[str, Option]:
    """One's own options, by field."""
    return {o.field: o for o in options(cls) if "." not in o.field}


def _field(name: str) -> str:
    return name.replace("-", "_")


def _rules(o: Option) -> dict[str, Any]:
    kinds = {int: "integer", float: "number", bool: "boolean", str: "string"}
    rules = {
        "minimum": o.ge,
        "maximum": o.le,
        "unit": o.unit or None,
        "enum": list(o.choices) or None,
        "examples": list(o.words) or None,
        "picture": True if o.picture == "" else o.picture,
    }
    entry = {"type": kinds[o.type], "default": o.default, "description": o.help}
    return entry | {key: rule for key, rule in rules.items() if rule is not None}


def _single(o: Option, value: Any) -> Any:
    # Said of its kind alone: what JSON nests deeply enough cannot even be shown.
    if isinstance(value, Collection) and not isinstance(value, str):
        raise InvalidOption(f"{o.name} takes one value, not a {type(value).__name__}")
    return value


def _value(o: Option, value: Any) -> Any:
    said = f"{o.name} is {_single(o, value)!r}"
    if o.type is bool:
        text = str(value).lower()
        if text not in TRUE | FALSE:
            raise InvalidOption(f"{said}, it can be yes or no")
        return text in TRUE
    if o.type in (int, float):
        try:
            number = o.type(value)
            # What int() would round is not a whole number; neither is True.
            sound = number == float(value) and math.isfinite(number)
        except (TypeError, ValueError, OverflowError):
            sound = False
        if not sound or isinstance(value, bool):
            kind = "a whole number" if o.type is int else "a number"
            raise InvalidOption(f"{said}, it must be {kind}")
        if (o.ge is not None and number < o.ge) or (o.le is not None and number > o.le):
            low, high = (f"{bound:g}" if bound is not None else "any" for bound in (o.ge, o.le))
            unit = f" {o.unit}" if o.unit else ""
            raise InvalidOption(f"{said}, it can be {low} to {high}{unit}")
        return number
    text = str(value)
    if o.choices and text not in o.choices:
        raise InvalidOption(f"{said}, it can be {', '.join(o.choices)}")
    return text
