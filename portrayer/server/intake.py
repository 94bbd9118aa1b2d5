"""From a request's bytes to files on the shelf, and from there to a job in the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from fastapi import Request

from portrayer.image.codec import FORMATS
from portrayer.jobs.record import Job
from portrayer.jobs.store import Store
from portrayer.server.shelf import Shelf
from portrayer.server.upload import Form, Limits, receive, writing
from portrayer.server.wishes import Wish
from portrayer.settings import Server

FIELDS, FIELD = 256, 1 << 16  # text fields of a form, and bytes of one


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request that was received whole. ``id``: the name of its folder, and of its job."""

    id: str
    form: Form


@asynccontextmanager
async def received(
    request: Request,
    shelf: Shelf,
    server: Server,
    files: int,
    long_fields: Mapping[str, int] | None = None,
) -> AsyncIterator[Arrival]:
    """The form of a request, its files on the disk; they are gone afterwards unless kept.

    ``files``: how many it may bring. ``long_fields``: bytes of text fields that may be longer than
    others.
    """
    await asyncio.to_thread(shelf.check)
    id = uuid4().hex
    limits = Limits(
        file_bytes=server.max_upload,
        total_bytes=server.max_request,
        files=files,
        fields=FIELDS,
        field_bytes=FIELD,
        long_fields=long_fields or {},
        spare_disk=server.spare_disk,
    )
    content_type = request.headers.get("content-type", "")
    try:
        form = await receive(request.stream(), content_type, shelf.incoming(id), limits)
        yield Arrival(id, form)
    finally:
        await asyncio.to_thread(shelf.forget, id)


def put(store: Store, shelf: Shelf, arrival: Arrival, asked: Wish, key: str | None) -> Job:
    """A request as a job, on the disk and in the ledger when this returns.

    With a ``key`` that came before: the job it belongs to; :class:`KeyReused` for another request,
    such as the same form for another task.
    """
    id = arrival.id
    suffix = FORMATS[asked.chosen.format].suffix
    rows = [
        (
            str(shelf.photo(id, photo.path.name)),
            str(shelf.result(id, f"{photo.path.stem}{suffix}")),
            photo.sha256[:16],
            photo.name,
        )
        for photo in asked.photos
    ]
    options = _moved(asked.wish, str(shelf.incoming(id)), str(shelf.photos(id)))
    try:
        with writing():
            shelf.keep(id)
        job = store.put(
            asked.task.name,
            options,
            rows,
            id=id,
            priority=asked.priority,
            name=asked.name or _called(asked),
            key=key,
            fingerprint=f"{asked.task.name} {arrival.form.fingerprint}",
        )
    except BaseException:
        shelf.drop(id)
        raise
    if job.id != id:
        shelf.drop(id)
    return job


def _moved(options: Mapping[str, Any], old: str, new: str) -> dict[str, Any]:
    """Options with the paths of files that move from ``old`` to ``new``."""
    return {
        name: value.replace(old, new, 1) if isinstance(value, str) else value
        for name, value in options.items()
    }


def _called(asked: Wish) -> str:
    """A job's name where the client gave none."""
    first, more = asked.photos[0].name, len(asked.photos) - 1
    return f"{first} +{more}" if more else first
