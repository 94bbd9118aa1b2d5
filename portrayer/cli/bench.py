"""``portrayer bench``: how fast, in how much memory, and what stands in the way."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from portrayer.cli.consent import STATEMENT
from portrayer.cli.machine import Device, GpuMemory, Json, Memory, Precision, RequireGpu, Workers
from portrayer.errors import InvalidOption, UnknownTask
from portrayer.tasks import TASKS

if TYPE_CHECKING:
    from portrayer.bench.figures import Report
    from portrayer.bench.measure import Tell
    from portrayer.bench.tables import Table

PARTS = ("latency", "memory", "throughput", "end-to-end", "levers")
MOST = 1024  # samples in a batch, and replicas
SIDES = range(64, 16_385)  # pixels


def bench(
    task: Annotated[str, typer.Option(help=", ".join(TASKS))] = "matte",
    photos: Annotated[
        Path | None, typer.Option(help="a folder of photos; else some are made", show_default=False)
    ] = None,
    images: Annotated[int, typer.Option(min=2, help="photos of a run end to end")] = 60,
    batch: Annotated[str, typer.Option(help="samples in a forward")] = "1,2,4,8,16,32",
    resolution: Annotated[
        str, typer.Option(help="of photos; the largest is run end to end")
    ] = "800x800,1200x1200,1920x1080",
    replicas: Annotated[str, typer.Option(help="replicas; of GPUs, as many as are used")] = "1,2",
    only: Annotated[
        str, typer.Option(metavar="PARTS", help=f"some of {','.join(PARTS)}", show_default=False)
    ] = ",".join(PARTS),
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="a chart as well", show_default=False)
    ] = None,
    device: Device = None,
    precision: Precision = None,
    memory: Memory = None,
    gpu_memory: GpuMemory = None,
    hard_cap: Annotated[
        bool, typer.Option("--hard-cap", help="the GPU's allocator itself keeps to --gpu-memory")
    ] = False,
    require_gpu: RequireGpu = False,
    workers: Workers = None,
    yes: Annotated[
        bool, typer.Option("--yes", help=f'of faces in --photos, to fuse: "{STATEMENT}"')
    ] = False,
    as_json: Json = False,
) -> None:
    if task not in TASKS:
        raise UnknownTask(f"no task is called {task!r} (there are: {', '.join(TASKS)})")
    batches, counts = numbers("batch", batch), numbers("replicas", replicas)
    sizes, parts = sizes_of(resolution), parts_of(only)
    if plot is not None and plot.suffix.lower() != ".png":
        raise InvalidOption(f"plot is {str(plot)!r}: name a .png file")
    from portrayer.cli import consent
    from portrayer.settings import load

    settings = load(
        device=device,
        precision=precision,
        memory=memory,
        gpu_memory=gpu_memory,
        require_gpu=require_gpu or None,
        workers=workers,
    )
    if photos is not None and consent.wanted(TASKS[task].options):
        consent.ask(yes)
    from portrayer.bench import chart
    from portrayer.bench.measure import Plan, measure
    from portrayer.bench.rig import Setup
    from portrayer.image import files

    if plot is not None:
        chart.check()
    setup = Setup(settings, hard=hard_cap)
    plan = Plan(setup, task, photos, images, batches, sizes, counts, parts)
    with telling() as tell:
        report = measure(plan, tell)
    if plot is not None:
        files.write(plot, chart.draw(report))
    told(report, as_json)


def numbers(name: str, text: str) -> tuple[int, ...]:
    """The numbers of ``1,2,4``, each once; :class:`InvalidOption` for anything else."""
    found = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch("[0-9]{1,4}", part) and 1 <= int(part) <= MOST for part in found):
        raise InvalidOption(f"{name} is {text!r}: write numbers of 1 to {MOST}, as in 1,2,4")
    return tuple(dict.fromkeys(map(int, found)))


def sizes_of(text: str) -> tuple[tuple[int, int], ...]:
    """Widths and heights of ``800x800,1920x1080``; :class:`InvalidOption` for anything else."""
    found = [re.fullmatch("([0-9]{1,5})x([0-9]{1,5})", part.strip()) for part in text.split(",")]
    sizes = [(int(size[1]), int(size[2])) for size in found if size]
    if len(sizes) < len(found) or not all(side in SIDES for size in sizes for side in size):
        ways = f"WIDTHxHEIGHT of {SIDES[0]} to {SIDES[-1]}, as in 800x800,1920x1080"
        raise InvalidOption(f"resolution is {text!r}: write {ways}")
    return tuple(dict.fromkeys(sizes))


def parts_of(text: str) -> tuple[str, ...]:
    """The parts that are meant; :class:`InvalidOption` for one that does not exist."""
    found = tuple(part.strip() for part in text.split(","))
    if not set(found) <= set(PARTS):
        raise InvalidOption(f"only is {text!r}: say some of {','.join(PARTS)}")
    return found


@contextmanager
def telling() -> Iterator[Tell]:
    """What is being measured, on a terminal's stderr while it is."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda line: None
        return
    with console.status("") as status:
        yield lambda line: status.update(line)


def told(report: Report, as_json: bool) -> None:
    """The report: one JSON object, tables on a terminal, Markdown for everyone else."""
    from dataclasses import asdict

    from portrayer.bench.tables import on, tables

    if as_json:
        print(json.dumps(asdict(report), indent=2))
        return
    shown = rich if sys.stdout.isatty() else markdown
    print(on(report.machine))
    for table in tables(report):
        shown(table)


def markdown(table: Table) -> None:
    """As documents have it."""
    rule = ["---"] + ["---:"] * (len(table.heads) - 1)
    print(f"\n**{table.title}**\n")
    for row in (table.heads, rule, *table.rows):
        print(f"| {' | '.join(row)} |")


def rich(table: Table) -> None:
    """As a terminal has it."""
    from rich.console import Console
    from rich.table import Table as Drawn

    drawn = Drawn(title=table.title, title_justify="left")
    for number, head in enumerate(table.heads):
        drawn.add_column(head, justify="right" if number else "left")
    for row in table.rows:
        drawn.add_row(*row)
    Console().print(drawn)
