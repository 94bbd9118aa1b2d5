"""Photos or results at URLs: listed, named and put into the ledger a page at a time.

A bucket may hold millions: nothing here holds more than a page of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from portrayer.cli.ledger import Ledger
from portrayer.cli.request import Photo, Request, find, is_folder, listed
from portrayer.image import files
from portrayer.jobs.names import assign, spot
from portrayer.jobs.record import State
from portrayer.storage import absolute, is_url

PAGE = 1000  # photos named and put at once: as many as a store lists at once


def prepare(store: Ledger, requests: Sequence[Request], ending: str) -> None:
    """Settle what the last run left, and put what is to be done into the ledger.

    A result at a URL that was taken away is not made again: nothing is asked for each.
    """
    barred = _read_here(store, requests)
    for request in requests:
        job, output = request.job, request.output or Path()
        store.recover(job)
        if not is_url(output):
            _again(store, request)
        photos = listed(request)
        while page := list(islice(photos, PAGE)):
            _put(store, request, page, ending, barred)
        if request.retry_failed:
            store.retry(job)
        if not is_url(output):
            for folder in {Path(item.target).parent for item in store.items(job)}:
                files.sweep(folder)


def _put(
    store: Ledger, request: Request, photos: Sequence[Photo], ending: str, barred: set[str]
) -> None:
    """A page of photos into the ledger: new and changed ones are queued."""
    places = [photo.place for photo in photos]
    named = {str(absolute(place)) for place in request.inputs or ()}
    made = set(store.held(places)) - named  # what was named is meant, even if it is a result
    marks = {photo.place: photo.signature for photo in photos}
    rows = (
        (source, target, marks[source])
        for source, target in assign(
            [(place, relative) for place, relative, _ in photos if place not in made],
            absolute(request.output or Path()),
            ending,
            known=store.known(request.job, places),
            held=store.held,
            barred=barred,
        )
    )
    store.put(request.task, request.wish, rows, id=request.job)


def _again(store: Ledger, request: Request) -> None:
    """Queue anew what was done, and is not on the disk any more."""
    lost: Iterator[tuple[str, str, str]] = (
        (item.source, item.target, "")  # no file's signature is ""
        for item in store.items(request.job, State.DONE)
        if not Path(item.target).exists()
    )
    while page := list(islice(lost, PAGE)):
        store.put(request.task, request.wish, page, id=request.job)


def _read_here(store: Ledger, requests: Sequence[Request]) -> set[str]:
    """Where the photos lie that results may meet: on one machine with them, or named one by one."""
    barred: set[str] = set()
    for request in requests:
        here = not is_url(request.output or Path())
        found = (str(path) for path, _ in (find(request) if here else ()))
        while page := list(islice(found, PAGE)):
            barred.update(map(spot, set(page) - set(store.held(page))))
        named = (absolute(place) for place in request.inputs or () if not is_folder(place))
        barred.update(spot(str(place)) for place in (*request.ahead, *named))
    return barred
