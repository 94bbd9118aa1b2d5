"""The commands. Heavy imports wait inside them, so that ``--help`` answers at once."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

import portrayer
from portrayer.cli import models
from portrayer.cli.consent import OPTION, STATEMENT
from portrayer.cli.flags import Command, task_flags
from portrayer.cli.machine import Device, GpuMemory, Memory, Precision, RequireGpu, Workers
from portrayer.cli.serve import serve
from portrayer.errors import InputError
from portrayer.tasks import TASKS
from portrayer.tasks.task import Task

app = typer.Typer(
    name="portrayer",
    help="Cut out, restore and fuse portraits: one photo or a folder of ten thousand.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="print one JSON object")]


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


def task_inputs(task: Task) -> Callable[[Command], Command]:
    """Give a command the arguments for the inputs of its task: for several, --pairs as well.

    Consent, where the task wants it, is spelt --yes.
    """
    photos = typer.Argument(
        metavar=" ".join(task.inputs).upper(),
        help=f"photos; as {task.inputs[-1]} also folders, or - for stdin",
        show_default=False,
    )
    changes: dict[str, dict[str, Any]] = {
        OPTION: {"default": typer.Option(None, "--yes", help=f'"{STATEMENT}"')}
    }
    several = len(task.inputs) > 1
    if several:
        changes["inputs"] = {"annotation": Annotated[list[str] | None, photos], "default": None}

    def decorate(command: Command) -> Command:
        own = inspect.signature(command).parameters
        kept = [p for p in own.values() if several or p.name != "pairs"]
        kept = [p.replace(**changes.get(p.name, {})) for p in kept]
        setattr(command, "__signature__", inspect.Signature(kept))  # noqa: B010
        return command

    return decorate


def task_command(task: Task) -> None:
    """Give a task its command, with a flag for each of its options."""

    @app.command(task.name, help=task.help + ".")
    @task_inputs(task)
    @task_flags(task.options, task.name)
    def command(
        inputs: Annotated[
            list[str], typer.Argument(metavar="INPUT...", help="photos, folders, or - for stdin")
        ],
        out: Annotated[
            str, typer.Option("--out", "-o", metavar="OUT", help="folder, file, or - for stdout")
        ] = "",
        pairs: Annotated[
            str,
            typer.Option(metavar="FILE", help="a CSV file with a row of photos for each result"),
        ] = "",
        preset: Annotated[
            str, typer.Option(help="a named set of options, or a .toml file (see `presets`)")
        ] = "",
        watch: Annotated[
            bool, typer.Option("--watch", help="go on with new photos until stopped")
        ] = False,
        retry_failed: Annotated[
            bool, typer.Option("--retry-failed", help="try failed photos again")
        ] = False,
        device: Device = None,
        precision: Precision = None,
        memory: Memory = None,
        gpu_memory: GpuMemory = None,
        require_gpu: RequireGpu = False,
        workers: Workers = None,
        max_pixels: Annotated[
            int | None, typer.Option(help="refuse larger photos", show_default=False)
        ] = None,
        as_json: Json = False,
        *,
        options: dict[str, Any],
    ) -> int:
        from portrayer.cli import consent, folder, photo
        from portrayer.cli.pairs import groups
        from portrayer.cli.request import Request
        from portrayer.settings import load
        from portrayer.tasks.options import essential, read
        from portrayer.tasks.presets import applied

        settings = load(
            device=device,
            precision=precision,
            memory=memory,
            gpu_memory=gpu_memory,
            require_gpu=require_gpu or None,
            workers=workers,
            max_pixels=max_pixels,
        )
        # Nobody's word can be given by a preset, which others may have written.
        yes = options.pop(OPTION, False)
        word = {OPTION: True} if consent.wanted(task.options) else {}
        # A wrong option is told before anything is loaded.
        values = applied(preset, task.name, options, settings.presets) | word
        wish = essential(read(task.options, values))
        asked = groups(task.inputs, inputs or (), pairs)
        stdin = any(photos is None for _, photos in asked)
        out = out or ("-" if stdin else "")
        if not out:
            raise InputError("say where the results go: -o FOLDER (or -o FILE for one photo)")
        output, alone = None if out == "-" else Path(out), len(asked) == 1
        requests = [
            Request(task.name, wish, photos, output, watch, retry_failed, beside, alone)
            for beside, photos in asked
        ]
        if word:
            consent.ask(yes)
        if requests[0].single:
            return photo.run(requests[0], settings, as_json)
        return folder.run(requests, settings, as_json)


for _task in TASKS.values():
    task_command(_task)

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
