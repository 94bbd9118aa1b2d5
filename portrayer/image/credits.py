"""What is carried from a photo to its result: who made it and when. Never where."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from portrayer.errors import DecodeError, InvalidOption
from portrayer.image import directory
from portrayer.image.directory import Directory

MAX_TEXT = (
    2000  # characters of one credit: a JPEG segment ends at 64 kB, and a name is never this long
)
_HEADER = b"II*\0\x08\0\0\0"
MAX_NOTE = 16_000  # bytes of a note, for the same segment


@dataclass(frozen=True, slots=True)
class Credits:
    """The EXIF fields that survive: ``date`` as "YYYY:MM:DD HH:MM:SS", the others as they are."""

    date: str | None = None
    artist: str | None = None
    copyright: str | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """What an EXIF block says that matters here; ``orientation`` is 1..8."""

    orientation: int = 1
    credits: Credits = Credits()


def parse(exif: bytes) -> Record:
    """Read an EXIF block (a TIFF stream, its "Exif" mark optional). A broken one says nothing."""
    blob = exif.removeprefix(b"Exif\0\0")
    try:
        where, offset = directory.layout(blob)
        return record(directory.read(blob, where, offset, strict=False))
    except DecodeError:
        return Record()


def record(first: Directory) -> Record:
    """The :class:`Record` of a file's first directory and the EXIF directory it points to."""
    try:
        offset = first.number(directory.EXIF, 0)
        sub = directory.read(first.blob, first.layout, offset, strict=False) if offset else first
    except DecodeError:
        sub = first
    turn = first.number(directory.ORIENTATION, 1)
    return Record(
        orientation=turn if turn in range(1, 9) else 1,
        credits=Credits(
            date=_text(sub, directory.DATE_ORIGINAL) or _text(first, directory.DATE),
            artist=_text(first, directory.ARTIST),
            copyright=_text(first, directory.COPYRIGHT),
        ),
    )


def exif(credits: Credits, note: Mapping[str, str]) -> bytes:
    """An EXIF block (TIFF stream); a note becomes JSON in UserComment. b"" for nothing to say.

    Raises :class:`InvalidOption` for a note of more than 16 000 bytes.
    """
    outer = {
        directory.ARTIST: credits.artist,
        directory.COPYRIGHT: credits.copyright,
    }
    main = {tag: (directory.ASCII, _bytes(text)) for tag, text in outer.items() if text}
    sub: dict[int, tuple[int, bytes]] = {}
    if credits.date:
        sub[directory.DATE_ORIGINAL] = (directory.ASCII, _bytes(credits.date))
    if note:
        comment = json.dumps(dict(note)).encode("ascii")
        if len(comment) > MAX_NOTE:
            raise InvalidOption(f"the note is {len(comment)} bytes long; {MAX_NOTE} fit")
        sub[directory.USER_COMMENT] = (directory.UNDEFINED, b"ASCII\0\0\0" + comment)
    if not main and not sub:
        return b""
    start = 8
    if sub:
        main[directory.EXIF] = (directory.LONG, b"\0\0\0\0")
        after = start + len(directory.write(main, start))
        main[directory.EXIF] = (directory.LONG, struct.pack("<I", after))
        return _HEADER + directory.write(main, start) + directory.write(sub, after)
    return _HEADER + directory.write(main, start)


def _text(where: Directory, tag: int) -> str | None:
    raw = where.raw(tag)[: 4 * MAX_TEXT]
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    # EXIF separates the photographer's and the editor's copyright by a NUL
    parts = (" ".join(part.split()) for part in text.split("\0"))
    printable = "".join(c for c in "; ".join(filter(None, parts)) if c.isprintable())
    return printable[:MAX_TEXT] or None


def _bytes(text: str) -> bytes:
    return text[:MAX_TEXT].replace("\0", " ").encode("utf-8") + b"\0"
