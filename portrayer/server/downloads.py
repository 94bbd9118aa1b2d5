"""What is downloaded: files under names for people, held while they are sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import quote

from fastapi import Response
from starlette.types import Receive, Scope, Send

from portrayer.errors import DecodeError, NotReady
from portrayer.image import files, sniff
from portrayer.jobs.record import Item, State
from portrayer.jobs.store import Store
from portrayer.server import archive
from portrayer.server.views import why

HEAD = 4096  # bytes in which a picture says what it is


class Held(Response):
    """An answer that lets go of what it was given once it is sent, or broken off."""

    def __init__(self, answer: Response, hold: AbstractContextManager[object]) -> None:
        super().__init__()
        self._answer, self._hold = answer, hold

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._hold:
            await self._answer(scope, receive, send)


def result(item: Item) -> Path:
    """Where a finished photo lies; :class:`NotReady` where there is none."""
    if item.state is not State.DONE:
        raise NotReady(f"photo {item.id} is {item.state}: it has no result")
    return Path(item.target)


def matte(item: Item) -> Path:
    """Where the matte beside a finished photo lies; :class:`NotReady` where there is none."""
    result(item)
    path = files.matte_of(Path(item.target))
    if not path.is_file():
        raise NotReady(f"photo {item.id} has no matte beside it: output=both makes one")
    return path


def called(item: Item) -> str:
    """The name a result is saved under."""
    return _named(item, Path(item.target).suffix)


def matte_called(item: Item) -> str:
    """The name the matte beside it is saved under."""
    return _named(item, files.MATTE)


def sent(item: Item) -> str:
    """The name a photo is saved under as it was sent."""
    return item.label or "photo"


def results(store: Store, job: str) -> tuple[int, Iterator[bytes]]:
    """A job's ZIP: its length in bytes, and the bytes. :class:`NotReady` where nothing is done."""
    done = list(store.items(job, State.DONE))
    failed = list(store.items(job, State.FAILED))
    if not done:
        raise NotReady(f"nothing of job {job} is done")
    made = [(item.label, Path(item.target)) for item in done]
    rows = [(label, path.suffix, path) for label, path in made]
    beside = ((label, files.matte_of(path)) for label, path in made)
    rows += [(label, files.MATTE, path) for label, path in beside if path.is_file()]
    names = archive.names([(label, end) for label, end, _ in rows])
    entries = zip(names, (path for *_, path in rows), strict=True)
    lines = (f"{item.label}: {failure.reason}" for item in failed if (failure := why(item)))
    return archive.stream(entries, {"failed.txt": "\n".join([*lines, ""])} if failed else {})


def disposition(name: str, mime: str = "") -> str:
    """Content-Disposition of a file that is to be called ``name``, whatever is in it (RFC 6266)."""
    kind = "inline" if mime.startswith("image/") else "attachment"
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in name)
    encoded = quote(name.encode("utf-8", "replace"), safe="")
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{encoded}"


def mime(path: Path) -> str:
    """What a file is by its own first bytes; :class:`NotReady` where it is gone."""
    try:
        with path.open("rb") as file:
            return f"image/{sniff.sniff(file.read(HEAD))}"
    except DecodeError:
        return "application/octet-stream"
    except OSError as error:
        raise NotReady("this photo's files are gone") from error


def _named(item: Item, suffix: str) -> str:
    [name] = archive.names([(item.label, suffix)])
    return name
