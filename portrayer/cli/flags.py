"""Command-line flags derived from a task's option dataclass."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Optional

import typer

from portrayer.tasks.options import Option, options


def task_flags(cls: type, group: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command one flag for each option of ``cls``; it receives those that were given as ``options``."""
    known = tuple(options(cls))

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def wrapped(**given: Any) -> Any:
            chosen = {o.name: value for o in known if (value := given.pop(o.field)) is not None}
            return command(**given, options=chosen)

        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "options"]
        wrapped.__signature__ = inspect.Signature([*own, *(_parameter(o, group) for o in known)])  # type: ignore[attr-defined]
        return wrapped

    return decorate


def _parameter(o: Option, group: str) -> inspect.Parameter:
    flag = f"--{o.name}/--no-{o.name}" if o.type is bool else f"--{o.name}"
    default = typer.Option(None, flag, help=_help(o), rich_help_panel=group, show_default=False)
    # Ranges are checked where they are declared, so that flags, HTTP and Python say the same.
    return inspect.Parameter(o.field, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Optional[o.type])  # noqa: UP045


def _help(o: Option) -> str:
    notes = []
    if o.choices:
        notes.append(", ".join(o.choices))
    elif o.ge is not None and o.le is not None:
        notes.append(f"{o.ge:g} to {o.le:g}{' ' + o.unit if o.unit else ''}")
    shown = {True: "on", False: "off"}.get(o.default, o.default) if o.type is bool else o.default
    notes.append(f"default {shown:g}" if isinstance(shown, float) else f"default {shown}")
    return f"{o.help} [{'; '.join(notes)}]"
