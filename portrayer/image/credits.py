"""What is carried from a photo to its result: who made it and when, and what is synthetic in it.

Never where.
"""

from __future__ import annotations

import html
import json
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from portrayer.errors import DecodeError, InvalidOption
from portrayer.image import directory
from portrayer.image.directory import Directory

MAX_TEXT = (
    2000  # characters of one credit: a JPEG segment ends at 64 kB, and a name is never this long
)
_HEADER = b"II*\0\x08\0\0\0"
MAX_NOTE = 16_000  # bytes of a note, for the same segment
MAX_PACKET = 1 << 20  # bytes of an XMP packet that are looked at
_XMP = 700  # the tag of a TIFF's XMP packet

# IPTC's words for it: https://cv.iptc.org/newscodes/digitalsourcetype/
_SOURCES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_KIND = "compositeWithTrainedAlgorithmicMedia"
_PACKET = f"""\
<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about=""
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:portrayer="urn:portrayer:mark/">
<Iptc4xmpExt:DigitalSourceType>{_SOURCES}{_KIND}</Iptc4xmpExt:DigitalSourceType>
<xmp:CreatorTool>{{tool}}</xmp:CreatorTool>
<portrayer:parameters>{{parameters}}</portrayer:parameters>
</rdf:Description>
</rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""

_SYNTHETIC = {_SOURCES + kind for kind in (_KIND, "trainedAlgorithmicMedia")}


@dataclass(frozen=True, slots=True)
class Mark:
    """That a picture is in part synthetic: made by a trained network or out of other photos.

    ``tool``: the program and its version. ``parameters``: what it was told, by name.
    """

    tool: str
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Credits:
    """What survives: ``date`` as "YYYY:MM:DD HH:MM:SS", artist and copyright as EXIF has them.

    ``mark``: None for a picture that nobody has called synthetic.
    """

    date: str | None = None
    artist: str | None = None
    copyright: str | None = None
    mark: Mark | None = None


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
            mark=_mark(first.raw(_XMP)),
        ),
    )


def marked(record: Record, xmp: bytes) -> Record:
    """The record, with the :class:`Mark` that an XMP packet holds. All else in it is let go."""
    mark = _mark(xmp)
    return replace(record, credits=replace(record.credits, mark=mark)) if mark else record


def of_result(inputs: Sequence[Credits], parameters: Mapping[str, str] | None) -> Credits:
    """The credits of a picture made of others, the last of which lent the frame.

    ``parameters``: of what made it synthetic; None where nothing did. A mark that an input
    already had stays then.
    """
    before = next((credits.mark for credits in reversed(inputs) if credits.mark), None)
    mark = before if parameters is None else Mark(_program(), dict(parameters))
    return replace(inputs[-1], mark=mark)


def xmp(credits: Credits) -> bytes:
    """An XMP packet with the mark, at most 40 kB; b"" without one.

    Parameters of more than 16 000 bytes are left out: the mark itself is always written.
    """
    if credits.mark is None:
        return b""
    parameters = html.escape(json.dumps(dict(credits.mark.parameters)), quote=False)
    if len(parameters) > MAX_NOTE:
        parameters = "{}"
    tool = html.escape(credits.mark.tool[:MAX_TEXT], quote=False)
    return _PACKET.format(tool=tool, parameters=parameters).encode("utf-8", "replace")


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


def _mark(packet: bytes) -> Mark | None:
    """The mark in an XMP packet; None without one. What is broken beside it is left out."""
    sources = _values(packet, "Iptc4xmpExt:DigitalSourceType")
    if _SYNTHETIC.isdisjoint(source.strip().replace("https:", "http:") for source in sources):
        return None
    tool = next(_values(packet, "xmp:CreatorTool"), "")
    try:
        parameters = json.loads(next(_values(packet, "portrayer:parameters"), "{}"))
        if not all(type(text) is str for text in parameters.values()):
            parameters = {}
    except (ValueError, AttributeError, RecursionError):
        parameters = {}
    shown = "".join(c for c in " ".join(tool.split()) if c.isprintable())
    return Mark(shown[:MAX_TEXT], parameters)


def _values(packet: bytes, name: str) -> Iterator[str]:
    """The texts of an XMP property: of elements, attributes and resources, as its writer likes.

    By a pattern: the packet need not be whole, and there is no parser to be attacked.
    """
    attribute = rb"""\s*=\s*(?:"([^"<]*)"|'([^'<]*)')"""
    pattern = rb"%s(?:>([^<]*)|(?:\s+rdf:resource)?%s)" % (name.encode(), attribute)
    for found in re.finditer(pattern, packet[:MAX_PACKET]):
        yield html.unescape(found[found.lastindex or 0].decode("utf-8", "replace"))


@cache
def _program() -> str:
    # Imported here: it takes a while, and --help does not ask.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"Portrayer {version('portrayer')}"
    except PackageNotFoundError:  # run from a folder, never installed
        return "Portrayer"


def _bytes(text: str) -> bytes:
    return text[:MAX_TEXT].replace("\0", " ").encode("utf-8") + b"\0"
