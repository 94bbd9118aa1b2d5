"""The commands. Heavy imports wait inside them, so that ``--help`` answers at once."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

import portrayer
from portrayer.cli import models
from portrayer.cli.late import CONTEXT, Command, Late
from portrayer.cli.machine import Device, Json, Precision
from portrayer.cli.serve import serve

app = typer.Typer(
    name="portrayer",
    help="Cut out, restore and fuse portraits: one photo or a folder of ten thousand.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=CONTEXT,
)

HELP: dict[str, str] = {
    "matte": "Cut people out of photos.",
    "enhance": "Restore old, blurred, noisy or over-compressed portraits.",
    "fuse": "Fuse a source's face into target photos.",
    "bench": "Measure speed and memory on this machine.",
}
"""Commands that are put together when they are called; asking the tasks for their words would take
as long as all the rest of ``--help``.
"""


@app.callback(invoke_without_command=True)
def portrayer_(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="print the version")] = False,
) -> None:
    if version:
        print(portrayer.__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help(), file=sys.stderr)
        raise typer.Exit(2)


app.add_typer(models.app, name="models")
app.command(
    help="Serve the HTTP API; photos that are sent are queued, and none is lost.",
    short_help="Serve the HTTP API.",
)(serve)


@app.command(
    help="Say what was found, which device is used and why, and what would be faster.",
    short_help="Say what was found and which device is used.",
)
def doctor(device: Device = None, precision: Precision = None, as_json: Json = False) -> int:
    from portrayer.cli import show
    from portrayer.settings import load

    report = show.diagnosis(load(device=device, precision=precision))
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        show.pairs(report)
    return 0 if report["ready"] else 3


@app.command(help="List the presets, or print one as a TOML file to share.")
def presets(name: Annotated[str, typer.Argument(help="print this one")] = "") -> None:
    from portrayer.cli import show
    from portrayer.settings import load
    from portrayer.tasks import presets as sets

    own = load().presets
    if name:
        sys.stdout.write(sets.preset(name, own).to_toml())
        return
    show.table([show.preset_row(sets.preset(each, own)) for each in {**sets.PRESETS, **own}])


@app.command(
    help="Cut out, restore and fuse two sample portraits; show how fast this machine is.",
    short_help="Try it on two portraits; show how fast this is.",
)
def demo(
    out: Annotated[Path, typer.Option(help="where the results go")] = Path("out"),
    device: Device = None,
    precision: Precision = None,
) -> None:
    from portrayer.cli.demo import run
    from portrayer.settings import load

    run(out, load(device=device, precision=precision))


def commands() -> TyperGroup:
    """All commands, as one."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    late = {name: Late(name, text, partial(_made, name)) for name, text in HELP.items()}
    group.commands = {**late, **group.commands}
    return group


def _made(name: str) -> Command:
    if name == "bench":
        from portrayer.cli.bench import bench

        return bench
    from portrayer.cli.task import command
    from portrayer.tasks import task

    return command(task(name))
