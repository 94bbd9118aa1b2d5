"""Image file directories: the tag tables that TIFF files are made of and that EXIF borrows."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from portrayer.errors import DecodeError

MAX_ENTRIES = 1024

ORIENTATION = 0x0112
DATE = 0x0132
ARTIST = 0x013B
COPYRIGHT = 0x8298
EXIF = 0x8769
DATE_ORIGINAL = 0x9003
USER_COMMENT = 0x9286

ASCII, LONG, UNDEFINED = 2, 4, 7

# value type -> numpy dtype of one number; rationals and text are read as bytes
_DTYPES = {1: "u1", 2: "u1", 3: "u2", 4: "u4", 5: "u8", 6: "i1", 7: "u1", 8: "i2", 9: "i4"}
_DTYPES |= {10: "u8", 11: "f4", 12: "f8", 13: "u4", 16: "u8", 17: "i8", 18: "u8"}
_NUMBERS = frozenset({1, 3, 4, 6, 7, 8, 9, 13, 16, 17, 18})


@dataclass(frozen=True, slots=True)
class Layout:
    """How one dialect writes a directory: the struct codes of its counts and offsets."""

    order: str
    entries: str
    offset: str

    @property
    def slot(self) -> int:
        """Bytes of a value kept inside its entry."""
        return struct.calcsize(self.offset)


LAYOUTS: Mapping[bytes, Layout] = {
    b"II*\0": Layout("<", "<H", "<I"),
    b"MM\0*": Layout(">", ">H", ">I"),
    b"II+\0": Layout("<", "<Q", "<Q"),
    b"MM\0+": Layout(">", ">Q", ">Q"),
}


@dataclass(frozen=True, slots=True)
class Entry:
    kind: int
    count: int
    start: int


@dataclass(frozen=True, slots=True)
class Directory:
    """Where each tag's values lie in ``blob``; ``next``: the following one's offset or 0."""

    blob: bytes
    layout: Layout
    entries: Mapping[int, Entry]
    next: int

    def numbers(self, tag: int) -> NDArray[np.int64]:
        """(N,) whole numbers of ``tag``; empty when it is absent or not made of whole numbers."""
        entry = self.entries.get(tag)
        if entry is None or entry.kind not in _NUMBERS:
            return np.empty(0, np.int64)
        dtype = np.dtype(self.layout.order + _DTYPES[entry.kind])
        return np.frombuffer(self.blob, dtype, entry.count, entry.start).astype(np.int64)

    def number(self, tag: int, default: int) -> int:
        """The first number of ``tag``."""
        numbers = self.numbers(tag)
        return int(numbers[0]) if len(numbers) else default

    def raw(self, tag: int) -> bytes:
        """The bytes of ``tag``; empty when it is absent."""
        entry = self.entries.get(tag)
        if entry is None:
            return b""
        return self.blob[entry.start : entry.start + entry.count * _width(entry.kind)]


def layout(blob: bytes) -> tuple[Layout, int]:
    """The dialect of a TIFF stream and the offset of its first directory.

    Raises :class:`DecodeError` when the stream does not begin as TIFF does.
    """
    found = LAYOUTS.get(blob[:4])
    if found is None:
        raise DecodeError("the directory has no TIFF header")
    at = 4 if found.slot == 4 else 8
    return found, int(_unpack(found.offset, blob, at))


def read(blob: bytes, where: Layout, offset: int, *, strict: bool) -> Directory:
    """The directory at ``offset``.

    ``strict``: a value outside ``blob`` raises :class:`DecodeError`; otherwise it is left out.
    """
    count = int(_unpack(where.entries, blob, offset))
    if count > MAX_ENTRIES:
        raise DecodeError(f"a directory claims {count} entries")
    at = offset + struct.calcsize(where.entries)
    size = 4 + 2 * where.slot
    entries: dict[int, Entry] = {}
    for position in range(at, at + count * size, size):
        tag = int(_unpack(where.order + "H", blob, position))
        kind = int(_unpack(where.order + "H", blob, position + 2))
        number = int(_unpack(where.offset, blob, position + 4))
        start = position + 4 + where.slot
        length = number * _width(kind)
        if length > where.slot:
            start = int(_unpack(where.offset, blob, start))
        if not length:
            continue
        if start + length > len(blob):
            if strict:
                raise DecodeError("the file is truncated: a directory points past its end")
            continue
        entries[tag] = Entry(kind, number, start)
    end = at + count * size
    following = int(_unpack(where.offset, blob, end)) if strict else 0
    return Directory(blob, where, entries, following)


def write(entries: Mapping[int, tuple[int, bytes]], base: int) -> bytes:
    """A little-endian directory to lie at ``base``, of {tag: (type, value bytes)}."""
    ordered = sorted(entries.items())
    tail = base + 2 + 12 * len(ordered) + 4
    head, values = struct.pack("<H", len(ordered)), b""
    for tag, (kind, value) in ordered:
        slot = value.ljust(4, b"\0")
        if len(value) > 4:
            slot = struct.pack("<I", tail + len(values))
            values += value + b"\0" * (len(value) % 2)
        head += struct.pack("<HHI", tag, kind, len(value) // _width(kind)) + slot
    return head + struct.pack("<I", 0) + values


def _width(kind: int) -> int:
    return np.dtype(_DTYPES[kind]).itemsize if kind in _DTYPES else 0


def _unpack(code: str, blob: bytes, at: int) -> int:
    try:
        return int(struct.unpack_from(code, blob, at)[0])
    except (struct.error, OverflowError) as error:
        raise DecodeError("the file is truncated inside a directory") from error
