"""Options, declared once: a dataclass field with its range, unit and help.

Everything else is derived from it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, get_type_hints

from portrayer.errors import InvalidOption

O = TypeVar("O")  # noqa: E741
TRUE, FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off"})


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a task: what a flag, a form control or a schema needs to know."""

    name: str  # with hyphens, as users write it
    field: str
    type: type
    default: Any
    help: str
    ge: float | None
    le: float | None
    unit: str
    choices: tuple[str, ...]


def option(
    default: Any,
    help: str,
    *,
    ge: float | None = None,
    le: float | None = None,
    unit: str = "",
    choices: tuple[str, ...] = (),
) -> Any:
    """A dataclass field that is an option."""
    return field(
        default=default,
        metadata={"help": help, "ge": ge, "le": le, "unit": unit, "choices": choices},
    )


def options(cls: type) -> Iterator[Option]:
    """The options of an option dataclass, in order."""
    types = get_type_hints(cls)
    for f in dataclasses.fields(cls):
        name = f.name.replace("_", "-")
        yield Option(name=name, field=f.name, type=types[f.name], default=f.default, **f.metadata)


def read(cls: type[O], values: Mapping[str, Any]) -> O:
    """An option dataclass from names and values, as flags and forms give them.

    Names with hyphens or underscores; values typed, or as text.

    Raises :class:`InvalidOption` naming the option, its value and what is allowed.
    """
    known = {o.field: o for o in options(cls)}
    given = {}
    for name, value in values.items():
        o = known.get(name.replace("-", "_"))
        if o is None:
            there = ", ".join(k.name for k in known.values())
            raise InvalidOption(f"no option is called {name!r} (there are: {there})")
        given[o.field] = _value(o, value)
    try:
        return cls(**given)
    except ValueError as error:
        raise InvalidOption(str(error)) from error


def schema(cls: type) -> dict[str, Any]:
    """JSON schema (draft 2020-12) of an option dataclass."""
    kinds = {int: "integer", float: "number", bool: "boolean", str: "string"}
    properties: dict[str, Any] = {}
    for o in options(cls):
        entry = {"type": kinds[o.type], "default": o.default, "description": o.help}
        rules = {
            "minimum": o.ge,
            "maximum": o.le,
            "unit": o.unit or None,
            "enum": list(o.choices) or None,
        }
        properties[o.name] = entry | {key: rule for key, rule in rules.items() if rule is not None}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _value(o: Option, value: Any) -> Any:
    said = f"{o.name} is {value!r}"
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
