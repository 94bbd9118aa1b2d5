"""Photos and results by their place: a path on this machine, or a URL.

fsspec and a store's own package are imported when the first URL of that store is seen.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portrayer.errors import InputError, OutputError
from portrayer.image import files
from portrayer.storage import objects, web
from portrayer.storage.places import (
    WEB,
    Place,
    absolute,
    is_url,
    join,
    key_of,
    matte_of,
    name,
    of_web,
    parent,
    place,
    said,
    scheme_of,
    suffix,
    within,
)
from portrayer.storage.reasons import told

__all__ = [
    "Entry",
    "Place",
    "absolute",
    "check",
    "entry",
    "is_url",
    "join",
    "matte_of",
    "name",
    "of_web",
    "parent",
    "place",
    "read",
    "said",
    "signature",
    "suffix",
    "walk",
    "within",
    "write",
]

LONGEST = 1024  # bytes of a key, in all of these stores

# What changes with an object's content, by the names that the stores' packages have for it.
STAMPS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "updated", "last_modified", "created")


@dataclass(frozen=True, slots=True)
class Entry:
    """An object: its URL, its bytes, and a text that changes with them; "" where none is told."""

    place: str
    size: int
    stamp: str

    @property
    def signature(self) -> str:
        """Tells one content from another, without reading it."""
        return f"{self.size}-{self.stamp}"


def check(place: Place, *, output: bool = False) -> None:
    """Whether this installation can use a URL; nothing is asked of the store yet.

    Raises :class:`InputError`: the scheme is not known, its extra is missing, no bucket is named,
    or results were to go to the web.
    """
    scheme = scheme_of(place)
    there = ", ".join(f"{each}://" for each in objects.STORES if each != "memory")
    if scheme in WEB and output:
        raise InputError(f"results cannot go to {scheme}://: name a folder, or one of {there}")
    if scheme in WEB:
        return web.check(str(place))
    if not is_url(place):
        return
    if scheme not in objects.STORES:
        raise InputError(f"{place}: use a path, https:// or one of {there}")
    if not key_of(place).partition("/")[0]:
        raise InputError(f"{place} names no bucket: say {scheme}://BUCKET/FOLDER/")
    with told(place, "used", InputError):
        objects.store(scheme)


def read(place: Place) -> bytes:
    """The bytes of a photo.

    Raises :class:`InputError` where it cannot be read, with the reason; :class:`CapacityError`
    where its store does not answer now.
    """
    with told(place, "read", InputError):
        check(place)
        if scheme_of(place) in WEB:
            return web.fetched(str(place))
        if is_url(place):
            return bytes(objects.store(scheme_of(place)).cat_file(key_of(place)))
        return Path(place).read_bytes()


def write(place: Place, blob: bytes | memoryview) -> None:
    """Write ``blob``, replacing what is there: whoever reads finds the old content or the new one.

    A path gets a temporary name that is moved into place. A store gets one put, or parts that
    become an object when all have arrived. Raises :class:`OutputError`, and as :func:`read`.
    """
    if not is_url(place):
        return files.write(Path(place), blob)
    check(place, output=True)
    with told(place, "written", OutputError):
        key = key_of(place)
        try:
            length = len(key.partition("/")[2].encode())
        except UnicodeEncodeError as error:  # this one's own fault, and no other's
            raise InputError(f"{str(place)!r} cannot be written: its name is not text") from error
        if length > LONGEST:
            raise OSError(errno.ENAMETOOLONG, "its name is too long")
        objects.store(scheme_of(place)).pipe_file(key, bytes(blob))


def walk(root: str) -> Iterator[Entry]:
    """The objects below a URL, as its store lists them; hidden names are left out.

    They are sorted by the bytes of their keys, and asked for as they are taken: of s3:// a page is
    held at a time, of the others what lies in one folder. Raises as :func:`read`.
    """
    check(root)
    if scheme_of(root) in WEB:
        raise InputError(f"{said(root)}: the web has no folders, name its photos one by one")
    scheme, top = scheme_of(root), key_of(root).rstrip("/")
    with told(root, "listed", InputError):
        for key, found in objects.listing(scheme, top):
            parts = key[len(top) :].split("/")
            if parts[-1] and not any(part.startswith(".") for part in parts):
                yield _entry(f"{scheme}://{key}", found)


def entry(place: str) -> Entry:
    """One object, by one request. Raises as :func:`read`.

    Of the web it is not told whether it is there: much of it answers nothing but the photo.
    """
    check(place)
    with told(place, "read", InputError):
        if scheme_of(place) in WEB:
            size, stamp = web.looked(place)
            return _entry(place, {"size": size, "ETag": stamp})
        found = objects.store(scheme_of(place)).info(key_of(place))
        if found["type"] != "file":
            raise IsADirectoryError(errno.EISDIR, "it is a folder, end its name with a /")
        return _entry(place, found)


def signature(*places: Place) -> str:
    """Tells one content of files from another, without reading them.

    "" where one is a path at which nothing is. Raises as :func:`read` for a URL.
    """
    try:
        return "+".join(map(_signature, places))
    except OSError:
        return ""


def _signature(place: Place) -> str:
    if is_url(place):
        return entry(str(place)).signature
    state = Path(place).stat()
    return f"{state.st_size}-{state.st_mtime_ns}"


def _entry(place: str, found: Mapping[str, Any]) -> Entry:
    stamp = next((found[each] for each in STAMPS if found.get(each)), "")
    moment = getattr(stamp, "timestamp", None)  # a date in one answer, a number in another
    return Entry(place, int(found["size"]), str(moment() if moment else stamp).strip('"'))
