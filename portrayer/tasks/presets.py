"""Named sets of options: those that come with Portrayer, and one's own from TOML."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portrayer.errors import InvalidOption
from portrayer.settings import read_toml
from portrayer.tasks.chain import AND
from portrayer.tasks.options import parted

PERSONAL = frozenset({"consent"})  # one's own word: no preset gives it, others may have written it


@dataclass(frozen=True, slots=True)
class Preset:
    """Options of a task under a name."""

    name: str
    task: str
    options: Mapping[str, Any] = field(default_factory=dict)
    help: str = ""

    def to_toml(self) -> str:
        """A file that :func:`load` reads back."""
        table = {"name": self.name, "task": self.task, "help": self.help}
        lines = [_line(*row) for row in table.items()]
        lines += ["", "[options]", *(_line(*row) for row in self.options.items())]
        return "\n".join(lines) + "\n"


def _id_photo(name: str, background: str) -> Preset:
    look = {"background": background, "alpha-threshold": 18, "erode": 2, "feather": 1.5}
    return Preset(name, "matte", look, f"ID photo on {background}")


PRESETS: Mapping[str, Preset] = {
    preset.name: preset
    for preset in (
        _id_photo("id-photo", "white"),
        _id_photo("id-photo-blue", "blue"),
        _id_photo("id-photo-red", "red"),
        Preset(
            "product", "matte", {"alpha-threshold": 10, "erode": 1}, "product shot, transparent"
        ),
        Preset(
            "social",
            "matte",
            {"alpha-threshold": 8, "erode": 0.5, "feather": 2},
            "avatar for social media, transparent",
        ),
        Preset(
            "complex",
            "matte",
            {"alpha-threshold": 25, "erode": 2, "feather": 3},
            "complex background, transparent",
        ),
        Preset("fast", "enhance", {"max-side": 1280}, "quick: at most 1280 px, as JPEG"),
        Preset(
            "old-photo",
            "enhance",
            {"mode": "strong", "denoise": 60, "contrast": 0.05},
            "scans and prints: grain and scratches of time",
        ),
        Preset(
            "retouch",
            "enhance",
            {"mode": "natural", "strength": 70, "denoise": 20, "skin-protect": 60},
            "a good portrait, a little clearer, skin kept",
        ),
    )
}


def preset(
    name: str, own: Mapping[str, Mapping[str, Any]] | None = None, *, files: bool = True
) -> Preset:
    """The preset of this name: one's own first, then the built-in ones, then, with ``files``, a
    TOML file.
    """
    if own and name in own:
        return _read(own[name], name)
    if name in PRESETS:
        return PRESETS[name]
    if files and name.endswith(".toml"):
        return load(Path(name))
    there = [*PRESETS, *(own or {}), *(["or a .toml file"] if files else [])]
    raise InvalidOption(f"no preset is called {name!r} (there are: {', '.join(there)})")


def applied(
    name: str,
    task: str,
    options: Mapping[str, Any],
    own: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """A preset's options under ``options``, which win; no name, no preset.

    Raises :class:`InvalidOption` for a preset that is not for ``task``.
    """
    return _under(options, task, preset(name, own) if name else None)


def chosen(
    task: str,
    values: Mapping[str, Any],
    preset: str = "",
    own: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """What ``read`` of the options takes: ``values`` of a task or a chain over named presets.

    ``preset`` goes to the task, of a chain to the step that it is for. Among the values, "preset"
    names one for the task or the step it stands with, and goes before that. By name alone: no file
    is opened. Raises :class:`InvalidOption`.
    """
    steps = task.split(AND)
    usual = _named(preset, own) if preset else None
    if usual and usual.task not in steps:
        raise InvalidOption(f"preset {preset!r} is for the task {usual.task!r}, not {task!r}")

    def over(step: str, given: dict[str, Any]) -> dict[str, Any]:
        name = given.pop("preset", "")
        if name:
            return _under(given, step, _named(name, own))
        return _under(given, step, usual if usual and usual.task == step else None)

    if len(steps) == 1:
        return over(task, dict(values))
    rest, inner = parted(values, steps)
    return rest | {step: made for step, given in inner.items() if (made := over(step, given))}


def load(path: Path) -> Preset:
    """A preset from a TOML file; :class:`InvalidOption` where it is none."""
    return _read(read_toml(path), path.stem)


def _named(name: Any, own: Mapping[str, Mapping[str, Any]] | None) -> Preset:
    if not isinstance(name, str):
        raise InvalidOption("preset takes a name")
    return preset(name, own, files=False)


def _under(options: Mapping[str, Any], task: str, preset: Preset | None) -> dict[str, Any]:
    given = {key.replace("_", "-"): value for key, value in options.items()}
    if preset is None:
        return given
    if preset.task != task:
        raise InvalidOption(f"preset {preset.name!r} is for the task {preset.task!r}, not {task!r}")
    there = {key.replace("_", "-"): value for key, value in preset.options.items()}
    return {key: value for key, value in there.items() if key not in PERSONAL} | given


def _read(table: Mapping[str, Any], name: str) -> Preset:
    unknown = set(table) - {"name", "task", "help", "options"}
    if unknown or not isinstance(table.get("options", {}), Mapping):
        wrong = ", ".join(map(repr, sorted(unknown))) or "options of another kind"
        may = "name, task, help and a table [options]"
        raise InvalidOption(f"preset {name!r} may hold {may}, not {wrong}")
    return Preset(
        name=str(table.get("name", name)),
        task=str(table.get("task", "matte")),
        options=dict(table.get("options", {})),
        help=str(table.get("help", "")),
    )


def _line(name: str, value: Any) -> str:
    """A line of TOML. Its strings are escaped like JSON's, and DEL as well."""
    key = name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _quoted(name)
    kinds = {bool: lambda v: str(v).lower(), str: _quoted}
    return f"{key} = {kinds.get(type(value), repr)(value)}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
