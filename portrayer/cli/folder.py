"""Photos into a folder, over the ledger in it: stopped at any moment, it goes on where it was."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Container, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from portrayer.cli.request import Entry, Request, find, signature
from portrayer.cli.show import Bar, Tally, told
from portrayer.errors import InputError, OutputError
from portrayer.image import files
from portrayer.image.codec import FORMATS
from portrayer.jobs.backend import LocalBackend
from portrayer.jobs.child import Child
from portrayer.jobs.names import fold, plan
from portrayer.jobs.record import State
from portrayer.jobs.runner import Event, Runner
from portrayer.jobs.store import Store
from portrayer.settings import Settings
from portrayer.tasks import TASKS
from portrayer.tasks.options import read

if TYPE_CHECKING:
    from portrayer.pipeline import Pipeline

LEDGER = Path(".portrayer") / "jobs.sqlite"
SETTLE = 1.0  # seconds in which a watched file must not have changed


class Ledger(Store):
    """A folder's ledger, and the names that are taken in it.

    ``results``: what any job writes, as far as it was :meth:`made` known. ``names``: of results,
    and of photos that are read: nothing is written over either.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.results: set[str] = set()
        self.names: dict[str, str] = {}

    def made(self, job: str) -> None:
        """Remember what a job writes."""
        targets = set(self.targets(job).values())
        self.results |= targets
        self.keep(targets)

    def keep(self, paths: Iterable[str]) -> None:
        """Remember photos that are read."""
        self.names |= {path: fold(os.path.basename(path)) for path in paths}


def run(requests: Sequence[Request], settings: Settings, as_json: bool) -> int:
    """Do what was asked for; exit code 0 when all are done, 1 when some failed.

    ``requests`` differ in their photos alone, and are a job each.
    """
    watch, output = requests[0].watch, requests[0].output or Path()
    jobs = [request.job for request in requests]
    if not watch and not any(True for request in requests for _ in find(request)):
        named = (str(path) for request in requests for path in request.inputs or ())
        raise InputError(f"no photos in {', '.join(named)}")
    from portrayer.studio import Studio

    # The studio first: a setting it cannot work with leaves no trace in the folder.
    with Studio(settings) as studio:
        _check_writable(output)
        apart = Child(partial(_pipeline, settings))
        with Ledger(output / LEDGER) as store, store.own(), apart:
            _prepare(store, requests)
            before = store.counts(*jobs)
            tally = Tally(before, time.perf_counter())
            with Bar(studio.pipeline, hidden=as_json) as bar:

                def settled(event: Event) -> None:
                    tally.add(event)
                    bar.update(event)

                backend = LocalBackend(studio.pipeline, apart)
                runner = Runner(store, backend, on_event=settled)
                bar.start(before)
                try:
                    if watch:
                        _watch(store, requests, runner, bar)
                    runner.run(*jobs)
                except KeyboardInterrupt:
                    if not watch:
                        raise
            failed = [failure for request in requests for failure in _failures(store, request)]
            report = tally.report(store.counts(*jobs), failed, studio.pipeline, output)
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        told(report)
    return 1 if failed else 0


def _pipeline(settings: Settings) -> Pipeline:
    """One like the studio's, in a process of its own."""
    from portrayer.studio import Studio

    return Studio(settings).pipeline


def _found(store: Ledger, requests: Sequence[Request]) -> list[list[Entry]]:
    """The photos of each request, which are kept."""
    found = [list(find(request)) for request in requests]
    store.keep(str(path) for request in requests for path in request.ahead)
    store.keep(str(path) for photos in found for path, _ in photos)
    return found


def _prepare(store: Ledger, requests: Sequence[Request]) -> None:
    """Settle what the last run left, and put what is to be done into the ledger."""
    folders = {requests[0].output or Path()}
    for each in store.jobs():
        store.made(each.id)
    for request, photos in zip(requests, _found(store, requests), strict=True):
        job = request.job
        store.recover(job)
        done = store.items(job, State.DONE)
        lost = {item.source for item in done if not Path(item.target).exists()}
        if lost or request.watch:
            _put(store, request, photos, lost, anew=True)
        if not request.watch:
            _put(store, request, photos)
        if request.retry_failed:
            store.retry(job)
        folders |= {Path(target).parent for target in store.targets(job).values()}
    for folder in folders:
        files.sweep(folder)


def _put(
    store: Ledger,
    request: Request,
    photos: Sequence[Entry],
    chosen: Container[str] | None = None,
    *,
    anew: bool = False,
) -> None:
    """Photos into the ledger: new and changed ones are queued.

    ``photos``: all there are, for names depend on neighbours. ``chosen``: the sources that are
    meant, None for all. ``anew``: queue them whatever the ledger says.
    """
    job, ahead = request.job, request.ahead
    ending = FORMATS[read(TASKS[request.task].options, request.options).format].suffix
    ending = "".join(f"--{path.stem}" for path in request.beside.values()) + ending
    taken = _taken(store, request, photos, ending) | store.targets(job)
    rows = (
        # no file's signature is ""
        (str(source), str(target), "" if anew else signature(*ahead, source))
        for source, target in plan(photos, request.output or Path(), ending, taken)
        if chosen is None or str(source) in chosen
    )
    store.put(request.task, request.wish, rows, id=job)
    store.made(job)


def _taken(store: Ledger, request: Request, photos: Sequence[Entry], ending: str) -> dict[str, str]:
    """What :func:`plan` must leave to others: names that it might give, and their results.

    Only those that matter to these ``photos``, for there may be thousands of jobs.
    """
    own = {str(path) for path, _ in photos}
    stems = {fold(stem) for path, _ in photos for stem in (path.stem, path.name)}
    end = fold(ending)

    def rivals(name: str) -> bool:
        stem = name.removesuffix(end)
        return stem != name and (stem in stems or stem.rpartition("-")[0] in stems)

    barred = {path for path, name in store.names.items() if rivals(name)} - own
    # What was named is meant, even if it is the result of another job.
    barred |= (own & store.results).difference(map(os.path.abspath, request.inputs or ()))
    return {path: path for path in barred}


def _watch(store: Ledger, requests: Sequence[Request], runner: Runner, bar: Bar) -> None:
    """New photos as they come, once they have stopped growing; ends with Ctrl-C."""
    jobs = [request.job for request in requests]
    seen: dict[tuple[str, str], str] = {}
    put: dict[tuple[str, str], str] = {}
    while True:
        now: dict[tuple[str, str], str] = {}
        for request, photos in zip(requests, _found(store, requests), strict=True):
            job, ahead = request.job, request.ahead
            marks = {(job, str(path)): signature(*ahead, path) for path, _ in photos}
            still = {key: mark for key, mark in marks.items() if mark and seen.get(key) == mark}
            fresh = {key: mark for key, mark in still.items() if put.get(key) != mark}
            if fresh:
                _put(store, request, photos, {path for _, path in fresh})
                put |= fresh
            now |= marks
        counts = store.counts(*jobs)
        if counts.queued:
            bar.start(counts)
            runner.run(*jobs)
        seen = now
        time.sleep(SETTLE)


def _failures(store: Store, request: Request) -> list[dict[str, str]]:
    """What failed and why; a photo that was taken away meanwhile is nobody's concern any more."""
    beside = {name: str(path) for name, path in request.beside.items()}
    return [
        {"file": item.source, **beside, "code": item.error.code, "reason": item.error.reason}
        for item in store.items(request.job, State.FAILED)
        if item.error and os.path.lexists(item.source)
    ]


def _check_writable(output: Path) -> None:
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output} is a file, many results need a folder")
    probe = output / ".portrayer" / "probe"
    files.write(probe, b"")
    probe.unlink(missing_ok=True)
