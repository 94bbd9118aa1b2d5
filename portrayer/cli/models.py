"""``portrayer models``: what there is, and the models that a user brings."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from portrayer.errors import InputError, PortrayerError

if TYPE_CHECKING:
    from portrayer.models.receipt import Receipt
    from portrayer.models.spec import ModelSpec
    from portrayer.models.weights import Progress

app = typer.Typer(
    help="List the models: task, size, licence, where they are. Bring your own.",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Name = Annotated[str, typer.Argument(help="which model, as `portrayer models` lists it")]
Yes = Annotated[bool, typer.Option("--yes", help="accept the model's licence")]


@app.callback(invoke_without_command=True)
def models(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="print the list as JSON")] = False,
) -> None:
    from portrayer.cli import show

    if context.invoked_subcommand is not None:
        if as_json:
            raise InputError("--json is for the list of models alone")
        return
    listed = [row(spec) for spec in _specs()]
    if as_json:
        print(json.dumps(listed, indent=2))
    else:
        show.table(listed)


@app.command(help="Install a model from a safetensors or torch file of yours.")
def add(
    name: Name,
    file: Annotated[Path, typer.Argument(help=".safetensors, .pth or .pt, read without its code")],
    yes: Yes = False,
) -> None:
    from portrayer.models import installed

    spec = _spec(name)
    _told(spec, installed.add(spec, file, consented=_consented(spec, yes)))


@app.command(help="Fetch a model from where it is published, and install it.")
def pull(name: Name, yes: Yes = False) -> None:
    from portrayer.models import installed

    spec = _spec(name)
    agreed = _consented(spec, yes)
    with _bar(spec) as progress:
        receipt = installed.pull(spec, consented=agreed, progress=progress)
    _told(spec, receipt)


@app.command(help="Delete a model that was brought.")
def remove(name: Name) -> None:
    from portrayer.models import installed

    installed.remove(_spec(name))
    print(f"{name} is removed")


@app.command(help="Check every installed model against its sha256.")
def verify() -> int:
    from portrayer.cli import show

    listed = [found for found in map(row, _specs()) if found["installed"] == "yes"]
    show.table([{key: found[key] for key in ("name", "where", "verified")} for found in listed])
    return 0 if all(found["verified"] == "yes" for found in listed) else 3


def row(spec: ModelSpec) -> dict[str, Any]:
    """One model as a row: whether it is here, where, and whether it is what it should be."""
    from portrayer.engine.memory import show
    from portrayer.models import weights

    installed, where, size, verified = "no", "-", spec.weights.bytes, "yes"
    try:
        path = weights.locate(spec.weights)
        installed, where, size = "yes", str(path), path.stat().st_size
        weights.verify(spec.weights)
    except PortrayerError as error:
        verified = f"no: {error}"
    return {
        "name": spec.name,
        "task": spec.task,
        "size": show(size),
        "licence": spec.weights.licence,
        "installed": installed,
        "where": where,
        "verified": verified,
    }


def _specs() -> list[ModelSpec]:
    from portrayer.models.catalog import CATALOG
    from portrayer.settings import load

    folder = load().models
    return [_spec(name, folder) for name in CATALOG]


def _spec(name: str, folder: Path | None = None) -> ModelSpec:
    from portrayer.models.catalog import spec
    from portrayer.settings import load

    return spec(name, folder or load().models)


def _consented(spec: ModelSpec, yes: bool) -> bool:
    """Whether the user accepts the licence: asked once, and only where somebody can answer."""
    from portrayer.models import installed

    if yes or not installed.unanswered(spec):
        return yes
    terms = f"{spec.name} is {spec.weights.licence}, from {spec.weights.origin}"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InputError(f"{terms}: say --yes to accept this licence")
    print(f"{terms}.\nType yes to accept this licence: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() != "yes":
        raise InputError(f"the licence of {spec.name} was not accepted, nothing was changed")
    return True


@contextmanager
def _bar(spec: ModelSpec) -> Iterator[Progress]:
    """A progress bar on stderr, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (BarColumn(), DownloadColumn(binary_units=True), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=spec.weights.bytes)
        yield lambda here, total: bar.update(task, completed=here, total=total or None)


def _told(spec: ModelSpec, receipt: Receipt) -> None:
    from portrayer.engine.memory import show

    print(
        f"{spec.name} is installed ({show(receipt.bytes)}), "
        f"from {receipt.source}, sha256 {receipt.source_sha256}"
    )
