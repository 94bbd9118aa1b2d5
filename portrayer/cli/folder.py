"""Photos into a folder, over its ledger: stopped at any moment, it goes on where it was."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Container, Iterator, Sequence
from itertools import islice
from pathlib import Path

from portrayer.cli import remote
from portrayer.cli.backend import employed
from portrayer.cli.ledger import Ledger, ledger_of
from portrayer.cli.request import Entry, Request, find, listed
from portrayer.cli.show import Bar, Tally, told
from portrayer.engine.cores import cores
from portrayer.errors import InputError, OutputError
from portrayer.image import files
from portrayer.image.codec import FORMATS
from portrayer.jobs.names import fold, plan
from portrayer.jobs.record import State
from portrayer.jobs.runner import Event, Runner
from portrayer.jobs.store import Store
from portrayer.settings import Settings
from portrayer.storage import Place, absolute, is_url, name, said, signature
from portrayer.tasks import TASKS
from portrayer.tasks.choosing import needed
from portrayer.tasks.options import read

SETTLE = 1.0  # seconds in which a watched file must not have changed


def run(requests: Sequence[Request], settings: Settings, as_json: bool, cluster: str = "") -> int:
    """Do what was asked for; exit code 0 when all are done, 1 when some failed.

    ``requests`` differ in their photos alone, and are a job each. ``cluster``: where the work is
    done, if not here.
    """
    watch, output = requests[0].watch, requests[0].output or Path()
    jobs = [request.job for request in requests]
    photos = cores() if watch else sum(1 for _ in islice(_listed(requests), cores()))
    if not photos:
        named = (said(place) for request in requests for place in request.inputs or ())
        raise InputError(f"no photos in {', '.join(named)}")
    # What works first: a setting it cannot work with leaves no trace in the folder.
    models = needed(read(TASKS[requests[0].task].options, requests[0].options))
    with employed(settings, cluster, models, photos) as (backend, figures):
        _check_writable(output)
        ledger = ledger_of(output)
        if is_url(output) and not as_json:
            print(f"the ledger of {output} is {ledger}", file=sys.stderr)
        with Ledger(ledger) as store, store.own():
            _prepare(store, requests)
            before = store.counts(*jobs)
            tally = Tally(before, time.perf_counter())
            with Bar(figures, hidden=as_json) as bar:

                def settled(event: Event) -> None:
                    tally.add(event)
                    bar.update(event)

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
            report = tally.report(store.counts(*jobs), failed, figures(now=True), output)
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        told(report)
    return 1 if failed else 0


def _listed(requests: Sequence[Request]) -> Iterator[object]:
    """All their photos."""
    return (photo for request in requests for photo in listed(request))


def _found(store: Ledger, requests: Sequence[Request]) -> list[list[Entry]]:
    """The photos of each request, which are kept."""
    found = [list(find(request)) for request in requests]
    store.keep(str(path) for request in requests for path in request.ahead)
    store.keep(str(path) for photos in found for path, _ in photos)
    return found


def _prepare(store: Ledger, requests: Sequence[Request]) -> None:
    """Settle what the last run left, and put what is to be done into the ledger."""
    if any(request.far for request in requests):
        return remote.prepare(store, requests, _ending(requests[0]))
    folders = {Path(requests[0].output or Path())}
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
    ending = _ending(request)
    taken = _taken(store, request, photos, ending) | store.targets(job)
    rows = (
        # no file's signature is ""
        (str(source), str(target), "" if anew else signature(*ahead, source))
        for source, target in plan(photos, Path(request.output or Path()), ending, taken)
        if chosen is None or str(source) in chosen
    )
    store.put(request.task, request.wish, rows, id=job)
    store.made(job)


def _ending(request: Request) -> str:
    """The end of its results' names: the photos beside, and the format's."""
    beside = "".join(f"--{Path(name(place)).stem}" for place in request.beside.values())
    return beside + FORMATS[read(TASKS[request.task].options, request.options).format].suffix


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
    named = {str(absolute(place)) for place in request.inputs or ()}
    barred |= (own & store.results) - named
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
    """What failed and why; a file that was taken away meanwhile is nobody's concern any more."""
    beside = {each: said(place) for each, place in request.beside.items()}
    return [
        {"file": said(item.source), **beside, "code": item.error.code, "reason": item.error.reason}
        for item in store.items(request.job, State.FAILED)
        if item.error and (is_url(item.source) or os.path.lexists(item.source))
    ]


def _check_writable(place: Place) -> None:
    if is_url(place):  # the first result tells: a probe would stay where nothing may be removed
        return
    output = Path(place)
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output} is a file, many results need a folder")
    probe = output / ".portrayer" / "probe"
    files.write(probe, b"")
    probe.unlink(missing_ok=True)
