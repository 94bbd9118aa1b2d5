"""``portrayer models``: what there is, under which licence, and the models that a user brings."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
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
    help="List the models: task, size, licence, where they are. Bring others.",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Name = Annotated[str, typer.Argument(help="which model, as `portrayer models` lists it")]
Names = Annotated[list[str], typer.Argument(help="which models, as `portrayer models` lists them")]
Json = Annotated[bool, typer.Option("--json", help="print the list as JSON")]
Yes = Annotated[bool, typer.Option("--yes", help="accept the licences")]


@app.callback(invoke_without_command=True)
def models(context: typer.Context, as_json: Json = False) -> None:
    if context.invoked_subcommand is None:
        listing(as_json)
    elif as_json:
        raise InputError("--json is for the list of models alone")


@app.command("list", help="List the models, as without a command.")
def listing(as_json: Json = False) -> None:
    from portrayer.cli import show

    listed = [row(spec) for spec in _specs()]
    if as_json:
        print(json.dumps(listed, indent=2))
    else:
        show.table(listed)


@app.command(
    help="Install a model from a file: a published one, or your own (--name).",
    context_settings={"allow_extra_args": True},  # `add NAME FILE` says --like NAME
)
def add(
    context: typer.Context,
    file: Annotated[str, typer.Argument(help=".onnx, .safetensors or .pth, read without its code")],
    like: Annotated[
        str, typer.Option(help="which model it is, or with --name which one it is used like")
    ] = "",
    name: Annotated[str, typer.Option(help="what your own model is to be called")] = "",
    task: Annotated[str, typer.Option(help="what it is for: matte, enhance or fuse")] = "",
    yes: Yes = False,
) -> None:
    from portrayer.models import installed
    from portrayer.models.catalog import following
    from portrayer.settings import load

    *before, last = file, *context.args
    if len(before) + bool(like) != 1:
        raise InputError("say which model it is: `portrayer models add FILE --like NAME`")
    spec, path = _spec(like or before[0]), Path(last)
    if task not in ("", spec.task):
        raise InputError(f"{spec.name} is for {spec.task!r}, and not for {task!r}")
    if spec.like or name not in ("", spec.name):
        spec = following(spec, _free(name or spec.name), path, load().models)
    _told(spec, installed.add(spec, path, consented=_consented(spec, yes)))


@app.command(help="Fetch models, with those they need, from where they are published.")
def pull(
    names: Names,
    yes: Yes = False,
    mirror: Annotated[
        str | None, typer.Option(help="address that is asked first, in place of https://HOST")
    ] = None,
    proxy: Annotated[str | None, typer.Option(help="proxy to fetch by")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="fetch nothing")] = False,
) -> None:
    from portrayer.models import installed
    from portrayer.settings import load

    net = load(mirror=mirror, proxy=proxy, offline=offline or None)
    specs = _with_needs(names)
    agreed = [_consented(spec, yes) for spec in specs]  # before anything is fetched
    for spec, accepted in zip(specs, agreed, strict=True):
        with _bar(spec) as progress:
            receipt = installed.pull(spec, consented=accepted, progress=progress, net=net)
        _told(spec, receipt)


@app.command(help="Say what a model's licence is, and whether you have accepted it.")
def licence(name: Name) -> None:
    from portrayer.cli import show
    from portrayer.models import installed

    spec = _spec(name)
    weights, known = spec.weights, installed.installed(spec)
    accepted = (known.consented if known else "") or ("not yet" if weights.consent else "")
    show.pairs(
        {
            "name": spec.name,
            "licence": weights.licence,
            "commercial_use": _commercial(spec),
            "accepted": accepted,
            "origin": weights.origin,
            "needs": ", ".join(_needs(spec)),
            "fetched_from": ", ".join(weights.urls),
            "sha256": weights.sha256 or (known.source_sha256 if known else ""),
            "md5": weights.md5,
        }
    )


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

    installed, where, size, verified = "no", "-", spec.weights.bytes, "-"
    try:
        path = weights.locate(spec.weights)
        installed, where, size = "yes", str(path), path.stat().st_size
        weights.verify(spec.weights)
        verified = "yes"
    except PortrayerError as error:
        if installed == "yes" or spec.weights.shipped:
            verified = f"no: {error}"
        else:
            where = f"`portrayer models pull {spec.name}`"
    return {
        "name": spec.name,
        "task": spec.task,
        "size": show(size),
        "licence": spec.weights.licence,
        "commercial": _commercial(spec),
        "installed": installed,
        "where": where,
        "verified": verified,
    }


def _specs() -> list[ModelSpec]:
    from portrayer.models.catalog import CATALOG, own
    from portrayer.settings import load

    folder = load().models
    return [_spec(name, folder) for name in (*CATALOG, *own(folder))]


def _spec(name: str, folder: Path | None = None) -> ModelSpec:
    from portrayer.models.catalog import spec
    from portrayer.settings import load

    return spec(name, folder or load().models)


def _free(name: str) -> str:
    """The name, once no task calls a network of its own so: that would be the one chosen by it."""
    from portrayer.tasks import TASKS, choosing
    from portrayer.tasks.options import options

    for task in TASKS.values():
        for option in options(task.options):
            if isinstance(option.choices, choosing.Names) and name in option.choices.rows:
                what = f"{name!r} is taken: it is a {option.name} of {task.name}"
                raise InputError(f"{what}; give your own model another name")
    return name


def _needs(spec: ModelSpec) -> tuple[str, ...]:
    from portrayer.models.catalog import NEEDS

    return NEEDS.get(spec.like or spec.name, ())


def _with_needs(names: Sequence[str]) -> list[ModelSpec]:
    """These models and those they do not work without; what the latter add is told."""
    from portrayer.engine.memory import show
    from portrayer.models import installed

    wanted: dict[str, ModelSpec] = {}
    for spec in map(_spec, names):
        needed = list(map(_spec, _needs(spec)))
        absent = [each for each in needed if installed.installed(each) is None]
        more = [f"{each.name} ({show(each.weights.bytes)})" for each in absent]
        if more:
            print(f"{spec.name} ({show(spec.weights.bytes)}) needs {' and '.join(more)}")
        wanted |= {each.name: each for each in (spec, *needed)}
    return list(wanted.values())


def _commercial(spec: ModelSpec) -> str:
    """Whether the licence lets one earn with it; of a user's own model nobody here knows."""
    return "-" if spec.like else "yes" if spec.weights.commercial else "no"


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
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(spec.name, total=spec.weights.bytes)
        yield lambda here, total: bar.update(task, completed=here, total=total or None)


def _told(spec: ModelSpec, receipt: Receipt) -> None:
    from portrayer.engine.memory import show

    print(
        f"{spec.name} is installed ({show(receipt.bytes)}), "
        f"from {receipt.source}, sha256 {receipt.source_sha256}"
    )
