"""A task over what was named on the command line: stdin, one photo, or folders over the ledger."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portrayer.cli.show import Bar, Tally, told
from portrayer.errors import InputError, OutputError
from portrayer.image import files
from portrayer.image.codec import FORMATS
from portrayer.jobs.backend import LocalBackend
from portrayer.jobs.names import plan
from portrayer.jobs.runner import Event, Runner
from portrayer.jobs.store import State, Store
from portrayer.settings import Settings
from portrayer.tasks import TASKS
from portrayer.tasks.options import read

LEDGER = Path(".portrayer") / "jobs.sqlite"
# What a folder is searched for. The last row cannot be read; it is tried all the same, so that the reason is told.
ENDINGS = frozenset(
    ".jpg .jpeg .jpe .jfif .png .webp .bmp .dib .tif .tiff"
    " .gif .heic .heif .avif .jxl .jp2".split()
)
SETTLE = 1.0  # seconds in which a watched file must not have changed

Entry = tuple[Path, Path]
"""A photo and the folder its place in the tree is counted from."""


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for on the command line."""

    task: str
    options: Mapping[str, Any]
    inputs: list[Path]
    output: Path
    watch: bool
    retry_failed: bool


def stream(task: str, options: Mapping[str, Any], settings: Settings, output: str) -> int:
    """stdin to stdout (or a file)."""
    from portrayer.studio import Studio

    blob = sys.stdin.buffer.read()
    with Studio(settings) as studio:
        result = studio.pipeline.run(task, [blob], options)
        if output == "-":
            sys.stdout.buffer.write(result.encode())
            sys.stdout.buffer.flush()
        else:
            result.save(output)
    return 0


def folder(request: Request, settings: Settings, as_json: bool) -> int:
    """Photos and folders to one photo or a folder; exit code 0 when all are done, 1 when some failed."""
    for path in request.inputs:
        if not path.exists():
            raise InputError(f"{path} does not exist")
    if _one_file(request):
        return _single(request, settings, as_json)
    if not request.watch and next(find(request), None) is None:
        raise InputError(f"no photos in {', '.join(map(str, request.inputs))}")
    _check_writable(request.output)
    from portrayer.studio import Studio

    with Store(request.output / LEDGER) as store, store.own():
        files.sweep(request.output)
        job = request.task
        _put(store, job, request, find(request))
        store.recover(job)
        if request.retry_failed:
            store.retry(job)
        with Studio(settings) as studio:
            tally = Tally(store.counts(job), time.perf_counter())
            with Bar(studio.pipeline, hidden=as_json) as bar:

                def settled(event: Event) -> None:
                    tally.add(event)
                    bar.update(event)

                runner = Runner(store, LocalBackend(studio.pipeline), on_event=settled)
                bar.start(store.counts(job))
                try:
                    counts = runner.run(job)
                    if request.watch:
                        _watch(store, job, request, runner, bar)
                except KeyboardInterrupt:
                    if not request.watch:
                        raise
                    counts = store.counts(job)
            failures = [
                {"file": i.source, "code": i.error.code if i.error else "", "reason": i.error.reason if i.error else ""}
                for i in store.items(job, State.FAILED)
            ]
            report = tally.report(store.counts(job), failures, studio.pipeline, request.output)
        if as_json:
            print(json.dumps(report, indent=2))
        else:
            told(report)
    return 1 if counts.failed else 0


def find(request: Request) -> Iterator[Entry]:
    """Photos among the inputs: files as named, folders searched through, hidden names and the output left out."""
    output = request.output.resolve()
    for named in request.inputs:
        if named.is_file():
            yield named, named.parent
            continue
        for at, folders, names in os.walk(named):
            here = Path(at)
            folders[:] = sorted(f for f in folders if not f.startswith(".") and (here / f).resolve() != output)
            for name in sorted(names):
                if not name.startswith(".") and Path(name).suffix.lower() in ENDINGS:
                    yield here / name, named


def signature(path: Path) -> str:
    """Tells one content of a file from another, without reading it."""
    stat = path.stat()
    return f"{stat.st_size}-{stat.st_mtime_ns}"


def _put(store: Store, job: str, request: Request, entries: Iterator[Entry]) -> None:
    options = {name.replace("_", "-"): value for name, value in request.options.items()}
    chosen = read(TASKS[request.task].options, options)
    ending = FORMATS["png" if chosen.output == "matte" and chosen.format == "png" else chosen.format].suffix
    sources = ((path.absolute(), root.absolute()) for path, root in entries)
    planned = plan(sources, request.output.absolute(), ending, store.targets(job))
    store.put(
        request.task,
        options,
        ((str(source), str(target), signature(source)) for source, target in planned),
        id=job,
    )


def _watch(store: Store, job: str, request: Request, runner: Runner, bar: Bar) -> None:
    """New photos as they come, once they have stopped growing; ends with Ctrl-C."""
    seen: dict[Path, str] = {}
    while True:
        time.sleep(SETTLE)
        now = {}
        for path, root in find(request):
            try:
                now[path] = (signature(path), root)
            except OSError:
                continue  # gone between listing and looking
        still = [(path, root) for path, (mark, root) in now.items() if seen.get(path) == mark]
        seen = {path: mark for path, (mark, _) in now.items()}
        before = store.counts(job).total
        _put(store, job, request, iter(still))
        counts = store.counts(job)
        if counts.queued or counts.total != before:
            bar.start(counts)
            runner.run(job)


def _one_file(request: Request) -> bool:
    """One photo to one named file, rather than into a folder."""
    return (
        len(request.inputs) == 1
        and request.inputs[0].is_file()
        and not request.watch
        and not request.output.is_dir()
        and request.output.suffix.lower() in {f.suffix for f in FORMATS.values()} | {".jpeg"}
    )


def _single(request: Request, settings: Settings, as_json: bool) -> int:
    from portrayer.studio import Studio

    [source] = request.inputs
    if request.output.resolve() == source.resolve():
        raise InputError(f"{source} would be overwritten by its own result: name another output")
    with Studio(settings) as studio:
        start = time.perf_counter()
        result = studio.pipeline.run(request.task, [source], request.options)
        result.save(request.output)
        seconds = time.perf_counter() - start
    if as_json:
        row = {"done": 1, "failed": [], "images_per_second": round(1 / seconds, 3), "device": result.device}
        print(json.dumps(row | {"precision": result.precision, "stage_seconds": result.timings}, indent=2))
    else:
        print(f"{request.output}  ({seconds:.2f} s, {result.device}, {result.precision})")
    return 0


def _check_writable(output: Path) -> None:
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output} is a file, many results need a folder")
    probe = output / ".portrayer" / "probe"
    files.write(probe, b"")
    probe.unlink()
