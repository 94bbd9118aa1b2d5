"""What a body is made of: a form of parts, a urlencoded one, a JSON object, a file alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qsl

from python_multipart import multipart

from portrayer.server.refusal import InvalidRequest, UploadTooLarge

if TYPE_CHECKING:
    from portrayer.server.upload import Intake, Limits

PLAIN = frozenset({b"", b"7bit", b"8bit", b"binary"})  # transfer encodings that change nothing

Pairs = Iterable[tuple[bytes, bytes]]  # UTF-8, or not


class Reader(Protocol):
    """Takes a body, or a part of one, piece by piece."""

    def write(self, piece: bytes) -> None: ...

    def end(self) -> None:
        """All of it was there."""


def reader(content_type: str, intake: Intake) -> Reader:
    """What reads a body of this type and tells ``intake`` of its fields and files.

    Raises :class:`InvalidRequest`, as does what it returns, for a body that cannot be read.
    """
    with _readable():
        kind, said = multipart.parse_options_header(content_type)
        most = 2 * intake.limits.text_bytes  # with what quotes and percent signs add
        match kind.decode("latin-1").split("/"):
            case "multipart", "form-data" if said.get(b"boundary"):
                return _Multipart(intake, said[b"boundary"])
            case "application", "x-www-form-urlencoded":
                return _Text(intake, "the form", most, _pairs)
            case "application", "json":
                return _Text(intake, "the JSON", most, _members)
            case ("application", "octet-stream") | ("image", _):
                return intake.file()
    asked = "send multipart/form-data with its boundary, a urlencoded form, JSON or a picture"
    raise InvalidRequest(f"a body of type {content_type[:80]!r} is not read here: {asked}")


class _Text:
    """Text, in memory; ``read`` makes names and values of it once all of it, ``most`` bytes at
    most, is there.
    """

    def __init__(
        self, intake: Intake, called: str, most: int, read: Callable[[bytes, Limits], Pairs]
    ) -> None:
        self._intake, self._called, self._most, self._read = intake, called, most, read
        self._text = bytearray()

    def write(self, piece: bytes) -> None:
        if len(self._text) + len(piece) > self._most:
            raise UploadTooLarge(f"{self._called} has more than {self._most} bytes")
        self._text += piece

    def end(self) -> None:
        with _readable():
            for name, value in self._read(bytes(self._text), self._intake.limits):
                self._intake.text(name, value)


class _Multipart:
    """multipart/form-data (RFC 7578)."""

    def __init__(self, intake: Intake, boundary: bytes) -> None:
        self._intake, self._parts = intake, 0
        self._part: Reader = intake.file()
        self._headers: dict[bytes, bytes] = {}
        self._name, self._value = bytearray(), bytearray()
        calls: multipart.MultipartCallbacks = {
            "on_header_field": lambda block, a, b: self._name.extend(block[a:b]),
            "on_header_value": lambda block, a, b: self._value.extend(block[a:b]),
            "on_header_end": self._header,
            "on_headers_finished": self._headed,
            "on_part_data": lambda block, a, b: self._part.write(block[a:b]),
            "on_part_end": lambda: self._part.end(),
        }
        self._parser = multipart.MultipartParser(boundary, calls)

    def write(self, piece: bytes) -> None:
        with _readable():
            self._parser.write(piece)

    def end(self) -> None:
        if self._parser.state != multipart.MultipartState.END:
            raise InvalidRequest("the body ends too early")

    def _header(self) -> None:
        self._headers[bytes(self._name).lower()] = bytes(self._value)
        self._name, self._value = bytearray(), bytearray()

    def _headed(self) -> None:
        """All headers of a part have come: they say what it is."""
        limits, headers, self._headers = self._intake.limits, self._headers, {}
        self._parts += 1
        if self._parts > limits.fields + limits.files:
            raise UploadTooLarge("the request has too many parts")
        kind, said = multipart.parse_options_header(headers.get(b"content-disposition"))
        media, _ = multipart.parse_options_header(headers.get(b"content-type"))
        name, file = said.get(b"name"), said.get(b"filename")
        if kind != b"form-data" or not name:
            raise InvalidRequest("a part of the body has no name")
        if media.startswith(b"multipart/"):
            raise InvalidRequest("a part of the body has parts itself")
        if headers.get(b"content-transfer-encoding", b"").strip().lower() not in PLAIN:
            raise InvalidRequest("a part of the body is encoded: send it as it is")
        field = name.decode()
        if file is None and not media.startswith((b"image/", b"application/octet-stream")):
            called, most = f"the field {field[:40]!r}", limits.of(field)
            self._part = _Text(self._intake, called, most, lambda value, _: [(name, value)])
        else:
            self._part = self._intake.file(field, (file or b"").decode("utf-8", "replace"))


def _pairs(body: bytes, limits: Limits) -> Pairs:
    """Of ``a=1&b=2``."""
    pairs = parse_qsl(body.decode(), True, errors="strict", max_num_fields=limits.fields)
    return ((name.encode(), value.encode()) for name, value in pairs)


def _members(body: bytes, limits: Limits) -> Pairs:
    """Of ``{"a": 1, "b": [2, 3]}``."""
    # Read, small values take many times their text's memory.
    if sum(map(body.count, (b",", b"[", b"{"))) > limits.field_bytes:
        raise UploadTooLarge("the request has too many values")
    members = json.loads(body.decode())
    if not isinstance(members, dict):
        raise InvalidRequest("the body is no JSON object")
    for name, value in members.items():
        for each in value if isinstance(value, list) else [value]:
            if each is not None:
                text = each if isinstance(each, str) else json.dumps(each, allow_nan=False)
                yield name.encode(), text.encode()


@contextmanager
def _readable() -> Iterator[None]:
    """What a parser says against a body is the client's to mend."""
    try:
        yield
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"the body is broken ({str(error)[:120]})") from error
