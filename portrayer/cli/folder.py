"""Photos into a folder, over the ledger in it: stopped at any moment, it goes on where it was."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Container, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from portrayer.cli.request import Entry, Request, find, signature
from portrayer.cli.show import Bar, Tally, told
from portrayer.errors import InputError, OutputError
from portrayer.image import files
from portrayer.image.codec import FORMATS
from portrayer.jobs.backend import LocalBackend
from portrayer.jobs.names import plan
from portrayer.jobs.runner import Child, Event, Runner
from portrayer.jobs.store import State, Store
from portrayer.settings import Settings
from portrayer.tasks import TASKS
from portrayer.tasks.options import read

if TYPE_CHECKING:
    from portrayer.pipeline import Pipeline

LEDGER = Path(".portrayer") / "jobs.sqlite"
SETTLE = 1.0  # seconds in which a watched file must not have changed


def run(request: Request, settings: Settings, as_json: bool) -> int:
    """Do what was asked for; exit code 0 when all are done, 1 when some failed."""
    job, output = request.task, request.output or Path()
    if not request.watch and next(find(request), None) is None:
        raise InputError(f"no photos in {', '.join(map(str, request.inputs or ()))}")
    from portrayer.studio import Studio

    # The studio first: a setting it cannot work with leaves no trace in the folder.
    with Studio(settings) as studio:
        _check_writable(output)
        apart = Child(partial(_pipeline, settings))
        with Store(output / LEDGER) as store, store.own(), apart:
            _prepare(store, request)
            tally = Tally(store.counts(job), time.perf_counter())
            with Bar(studio.pipeline, hidden=as_json) as bar:

                def settled(event: Event) -> None:
                    tally.add(event)
                    bar.update(event)

                backend = LocalBackend(studio.pipeline, apart)
                runner = Runner(store, backend, on_event=settled)
                bar.start(store.counts(job))
                try:
                    if request.watch:
                        _watch(store, request, runner, bar)
                    runner.run(job)
                except KeyboardInterrupt:
                    if not request.watch:
                        raise
            failed = _failures(store, job)
            report = tally.report(store.counts(job), failed, studio.pipeline, output)
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        told(report)
    return 1 if failed else 0


def _pipeline(settings: Settings) -> Pipeline:
    """One like the studio's, in a process of its own."""
    from portrayer.studio import Studio

    return Studio(settings).pipeline


def _prepare(store: Store, request: Request) -> None:
    """Settle what the last run left, and put what is to be done into the ledger."""
    job = request.task
    store.recover(job)
    done = store.items(job, State.DONE)
    lost = {item.source for item in done if not Path(item.target).exists()}
    photos = list(find(request))
    _put(store, request, photos, lost, anew=True)
    if not request.watch:
        _put(store, request, photos)
    if request.retry_failed:
        store.retry(job)
    folders = {Path(target).parent for target in store.targets(job).values()}
    for folder in folders | {request.output or Path()}:
        files.sweep(folder)


def _put(
    store: Store,
    request: Request,
    photos: Iterable[Entry],
    chosen: Container[str] | None = None,
    *,
    anew: bool = False,
) -> None:
    """Photos into the ledger: new and changed ones are queued.

    ``photos``: all there are, for names depend on neighbours. ``chosen``: the sources that are
    meant, None for all. ``anew``: queue them whatever the ledger says.
    """
    job = request.task
    ending = FORMATS[read(TASKS[job].options, request.options).format].suffix
    planned = plan(photos, request.output or Path(), ending, store.targets(job))
    rows = (
        (str(source), str(target), "" if anew else signature(source))  # no file's signature is ""
        for source, target in planned
        if chosen is None or str(source) in chosen
    )
    store.put(request.task, request.options, rows, id=job)


def _watch(store: Store, request: Request, runner: Runner, bar: Bar) -> None:
    """New photos as they come, once they have stopped growing; ends with Ctrl-C."""
    seen: dict[str, str] = {}
    put: dict[str, str] = {}
    while True:
        photos = list(find(request))
        now = {str(path): signature(path) for path, _ in photos}
        still = {path: mark for path, mark in now.items() if mark and seen.get(path) == mark}
        fresh = {path: mark for path, mark in still.items() if put.get(path) != mark}
        if fresh:
            _put(store, request, photos, fresh)
            put |= fresh
        counts = store.counts(request.task)
        if counts.queued:
            bar.start(counts)
            runner.run(request.task)
        seen = now
        time.sleep(SETTLE)


def _failures(store: Store, job: str) -> list[dict[str, str]]:
    """What failed and why; a photo that was taken away meanwhile is nobody's concern any more."""
    return [
        {"file": item.source, "code": item.error.code, "reason": item.error.reason}
        for item in store.items(job, State.FAILED)
        if item.error and os.path.lexists(item.source)
    ]


def _check_writable(output: Path) -> None:
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output} is a file, many results need a folder")
    probe = output / ".portrayer" / "probe"
    files.write(probe, b"")
    probe.unlink(missing_ok=True)
