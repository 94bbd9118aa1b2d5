"""Commands that are put together when they are called: ``--help`` lists them without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand

Command = Callable[..., Any]

CONTEXT = {"help_option_names": ["-h", "--help"]}


class Late(TyperCommand):
    """Stands for a command in the list of commands. ``made``: its function."""

    def __init__(self, name: str, help: str, made: Callable[[], Command]) -> None:
        super().__init__(name, help=help)
        self._made = made

    def make_context(self, *arguments: Any, **extra: Any) -> Any:
        """Where a call of the command begins; from here on it is the command itself."""
        app = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=CONTEXT)
        app.command(self.name, help=self.help)(self._made())
        return typer.main.get_command(app).make_context(*arguments, **extra)
