"""The commands. Heavy imports wait inside them, so that ``--help`` answers at once."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

import portrayer
from portrayer.cli.flags import task_flags
from portrayer.errors import InputError
from portrayer.tasks import TASKS

app = typer.Typer(
    name="portrayer",
    help="Cut out, restore and fuse portraits: one photo or a folder of ten thousand.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Device = Annotated[
    str | None, typer.Option(help="auto, cpu, cuda, cuda:0,1 or mps", show_default=False)
]
Precision = Annotated[
    str | None, typer.Option(help="auto, float32, bfloat16 or float16", show_default=False)
]
Memory = Annotated[
    str | None, typer.Option(help="host memory that may be used: 4GiB, 60%", show_default=False)
]
GpuMemory = Annotated[
    str | None, typer.Option(help="memory of each GPU that may be used", show_default=False)
]
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


@app.command(help=TASKS["matte"].help + ".")
@task_flags(TASKS["matte"].options, "matting")
def matte(
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT...", help="photos, folders, or - for stdin")
    ],
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="OUT", help="folder, file, or - for stdout")
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
    require_gpu: Annotated[
        bool, typer.Option("--require-gpu", help="fail instead of running on the CPU")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(help="photos worked on at once", show_default=False)
    ] = None,
    max_pixels: Annotated[
        int | None, typer.Option(help="refuse larger photos", show_default=False)
    ] = None,
    as_json: Json = False,
    *,
    options: dict[str, Any],
) -> int:
    from portrayer.cli import folder, photo
    from portrayer.cli.request import Request, essential
    from portrayer.settings import load
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
    # A wrong option is told before anything is loaded.
    wish = essential("matte", applied(preset, "matte", options, settings.presets))
    if "-" in inputs and len(inputs) > 1:
        raise InputError("- (stdin) stands alone")
    stdin = inputs == ["-"]
    out = out or ("-" if stdin else "")
    if not out:
        raise InputError("say where the results go: -o FOLDER (or -o FILE for one photo)")
    request = Request(
        "matte",
        wish,
        None if stdin else [Path(name) for name in inputs],
        None if out == "-" else Path(out),
        watch,
        retry_failed,
    )
    run = photo.run if request.single else folder.run
    return run(request, settings, as_json)


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
    show.table([show.preset_row(sets.preset(each, own)) for each in {**sets.PRESETS, **own}])


@app.command(help="Cut out two sample portraits and show how fast this machine is.")
def demo(
    out: Annotated[Path, typer.Option(help="where the results go")] = Path("out"),
    device: Device = None,
    precision: Precision = None,
) -> None:
    from portrayer.cli.demo import run
    from portrayer.settings import load

    run(out, load(device=device, precision=precision))
