"""The commands. Heavy imports wait inside them, so that ``--help`` answers at once."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

import portrayer
from portrayer.cli.flags import task_flags
from portrayer.errors import InputError
from portrayer.tasks import TASKS

app = typer.Typer(
    name="portrayer",
    help="Cut out, restore and fuse portraits: one photo or a folder of ten thousand.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Device = Annotated[Optional[str], typer.Option(help="auto, cpu, cuda, cuda:0,1 or mps", show_default=False)]  # noqa: UP045
Precision = Annotated[Optional[str], typer.Option(help="auto, float32, bfloat16 or float16", show_default=False)]  # noqa: UP045
Memory = Annotated[Optional[str], typer.Option(help="host memory that may be used: 4GiB, 60%", show_default=False)]  # noqa: UP045
GpuMemory = Annotated[Optional[str], typer.Option(help="memory of each GPU that may be used", show_default=False)]  # noqa: UP045
Json = Annotated[bool, typer.Option("--json", help="print one JSON object")]


@app.callback(invoke_without_command=True)
def portrayer_(version: Annotated[bool, typer.Option("--version", help="print the version")] = False) -> None:
    if version:
        print(portrayer.__version__)
        raise typer.Exit


@app.command(help=TASKS["matte"].help + ".")
@task_flags(TASKS["matte"].options, "matting")
def matte(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help="photos, folders, or - for stdin")],
    out: Annotated[str, typer.Option("--out", "-o", metavar="OUT", help="folder, file, or - for stdout")] = "",
    preset: Annotated[str, typer.Option(help="a named set of options, or a .toml file (see `presets`)")] = "",
    watch: Annotated[bool, typer.Option("--watch", help="go on with new photos until stopped")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="try failed photos again")] = False,
    device: Device = None,
    precision: Precision = None,
    memory: Memory = None,
    gpu_memory: GpuMemory = None,
    require_gpu: Annotated[bool, typer.Option("--require-gpu", help="fail instead of running on the CPU")] = False,
    workers: Annotated[Optional[int], typer.Option(help="photos worked on at once", show_default=False)] = None,  # noqa: UP045
    max_pixels: Annotated[Optional[int], typer.Option(help="refuse larger photos", show_default=False)] = None,  # noqa: UP045
    as_json: Json = False,
    *,
    options: dict[str, Any],
) -> int:
    from portrayer.cli import work
    from portrayer.settings import load
    from portrayer.tasks import presets
    from portrayer.tasks.options import read

    settings = load(
        device=device,
        precision=precision,
        memory=memory,
        gpu_memory=gpu_memory,
        require_gpu=require_gpu or None,
        workers=workers,
        max_pixels=max_pixels,
    )
    options = presets.applied(preset, "matte", options, settings.presets)
    read(TASKS["matte"].options, options)  # a wrong option is told before anything is loaded
    if "-" in inputs:
        if len(inputs) > 1 or watch:
            raise InputError("- (stdin) stands alone")
        return work.stream("matte", options, settings, out or "-")
    if not out:
        raise InputError("say where the results go: -o FOLDER (or -o FILE for one photo)")
    request = work.Request("matte", options, [Path(i) for i in inputs], Path(out), watch, retry_failed)
    return work.folder(request, settings, as_json)


@app.command(help="List the models: task, size, licence, where they come from.")
def models(as_json: Json = False) -> None:
    from portrayer.cli import show
    from portrayer.models.catalog import CATALOG

    rows = [show.model_row(spec) for spec in CATALOG.values()]
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        show.table(rows)


@app.command(help="Say what was found, which device is used and why, and what would be faster.")
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
    known = [sets.preset(n, own) for n in [*sets.PRESETS, *(n for n in own if n not in sets.PRESETS)]]
    show.table([{"name": p.name, "task": p.task, "help": p.help, "options": ", ".join(f"{k} {v}" for k, v in p.options.items())} for p in known])


@app.command(help="Cut out two sample portraits and show how fast this machine is.")
def demo(
    out: Annotated[Path, typer.Option(help="where the results go")] = Path("out"),
    device: Device = None,
    precision: Precision = None,
) -> None:
    from portrayer.cli.demo import run
    from portrayer.settings import load

    run(out, load(device=device, precision=precision))
