"""The command of a task: ``portrayer matte photos/ -o cut/``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from portrayer.cli.consent import OPTION, STATEMENT
from portrayer.cli.flags import task_flags
from portrayer.cli.late import Command
from portrayer.cli.machine import (
    Cluster,
    Device,
    GpuMemory,
    Json,
    Memory,
    Precision,
    RequireGpu,
    Workers,
)
from portrayer.errors import InputError, InvalidOption
from portrayer.tasks.task import Task


def task_inputs(task: Task) -> Callable[[Command], Command]:
    """Give a command the arguments for the inputs of its task: for several, --pairs as well.

    Consent, where the task wants it, is spelt --yes.
    """
    photos = typer.Argument(
        metavar=" ".join(task.inputs).upper(),
        help=f"photos; as {task.inputs[-1]} also folders, URLs, or - for stdin",
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


def command(task: Task) -> Command:
    """What runs a task, with a flag for each of its options."""

    @task_inputs(task)
    @task_flags(task.options, task.name)
    def run(
        inputs: Annotated[
            list[str],
            typer.Argument(metavar="INPUT...", help="photos, folders, URLs, or - for stdin"),
        ],
        out: Annotated[
            str,
            typer.Option("--out", "-o", metavar="OUT", help="folder, file, URL, or - for stdout"),
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
        cluster: Cluster = "",
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
        from portrayer.jobs.grid import checked
        from portrayer.settings import load
        from portrayer.storage import place
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
        cluster = cluster and checked(cluster)
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
        output, alone = None if out == "-" else place(out), len(asked) == 1
        requests = [
            Request(task.name, wish, photos, output, watch, retry_failed, beside, alone)
            for beside, photos in asked
        ]
        if cluster and requests[0].single:
            raise InvalidOption("--cluster is for many photos: name a folder with -o")
        if word:
            consent.ask(yes)
        if requests[0].single:
            return photo.run(requests[0], settings, as_json)
        return folder.run(requests, settings, as_json, cluster)

    return run
