"""Command-line flags derived from a task's option dataclass."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import typer

from portrayer.cli.late import Command
from portrayer.tasks.options import Option, options


def task_flags(cls: type, group: str) -> Callable[[Command], Command]:
    """Give a command one flag for each option of ``cls``; it gets those given as ``options``."""
    known = tuple(options(cls))

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def wrapped(**given: Any) -> Any:
            values = {o.name: given.pop(o.field) for o in known}
            chosen = {name: value for name, value in values.items() if value is not None}
            return command(**given, options=chosen)

        own = inspect.signature(command, eval_str=True).parameters.values()
        parameters = [p for p in own if p.name != "options"]
        parameters += [_parameter(o, group) for o in known]
        setattr(wrapped, "__signature__", inspect.Signature(parameters))  # noqa: B010
        return wrapped

    return decorate


def _parameter(o: Option, group: str) -> inspect.Parameter:
    flag = f"--{o.name}/--no-{o.name}" if o.type is bool else f"--{o.name}"
    default = typer.Option(None, flag, help=_help(o), rich_help_panel=group, show_default=False)
    # Ranges are checked where they are declared, so that flags, HTTP and Python say the same.
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(o.field, kind, default=default, annotation=o.type | None)


def _help(o: Option) -> str:
    notes = []
    if o.choices:
        notes.append(", ".join(o.choices))
    elif o.ge is not None and o.le is not None:
        notes.append(f"{o.ge:g} to {o.le:g}{' ' + o.unit if o.unit else ''}")
    shown = {True: "on", False: "off"}.get(o.default, o.default) if o.type is bool else o.default
    notes.append(f"default {shown:g}" if isinstance(shown, float) else f"default {shown}")
    return f"{o.help} [{'; '.join(notes)}]"
