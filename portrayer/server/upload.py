"""A request's body to fields and files: streamed to disk, counted, hashed; gone on any error."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from portrayer.errors import OutputError
from portrayer.image import files
from portrayer.server.bodies import reader
from portrayer.server.refusal import DiskFull, UploadTooLarge

BLOCK = 2**20  # bytes that a thread parses, hashes and writes at a time
FULL = 16  # text fields that may be as long as one may be: more is memory that no request needs
UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")  # and what turns text around

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may bring.

    ``files``, ``fields``: how many; ``field_bytes``: of each text field but the ``long_fields``,
    which have their own; ``spare_disk``: bytes that stay free on the folder's disk.
    """

    file_bytes: int
    total_bytes: int
    files: int
    fields: int
    field_bytes: int
    long_fields: Mapping[str, int] = field(default_factory=dict)
    spare_disk: int = 0

    def of(self, field: str) -> int:
        """Bytes of this text field."""
        return self.long_fields.get(field, self.field_bytes)

    @property
    def text_bytes(self) -> int:
        """Of all text fields together: they are held in memory."""
        return min(self.fields, FULL) * self.field_bytes + sum(self.long_fields.values())


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that came. ``name``: what the client calls it, to be shown and never to be opened."""

    field: str
    name: str
    path: Path
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Form:
    """A request's body, whole: text by field, and files in the order they came."""

    fields: Mapping[str, tuple[str, ...]]
    files: tuple[Upload, ...]

    @property
    def fingerprint(self) -> str:
        """A sha256 over all that was said: the same request has the same, however it was cut."""
        files = [(file.field, file.name, file.sha256) for file in self.files]
        return sha256(json.dumps([list(self.fields.items()), files]).encode()).hexdigest()


async def receive(
    stream: AsyncIterator[bytes], content_type: str, folder: Path, limits: Limits
) -> Form:
    """Read ``stream`` to its end; files go to ``folder/000000``, ``000001``, ..., and are synced.

    The folder is made, and gone again on any error, as when the caller is canceled. Parsing,
    hashing and writing are a thread's. Read are a multipart form, a urlencoded one, a JSON object
    (lists become several values, objects JSON text, null nothing), one file alone (field "").

    Raises:
        InvalidRequest: another type of body, or one that is broken.
        UploadTooLarge: more than ``limits`` allow.
        DiskFull, OutputError: it cannot be kept.
    """
    intake, waiting, total = Intake(folder, limits), bytearray(), 0
    body = reader(content_type, intake)
    try:
        await finished(intake.make)
        async for chunk in stream:
            total += len(chunk)
            if total > limits.total_bytes:
                raise UploadTooLarge(f"the request has more than {limits.total_bytes} bytes")
            waiting += chunk
            while len(waiting) >= BLOCK:  # the same blocks however it was sent
                await finished(body.write, bytes(waiting[:BLOCK]))
                del waiting[:BLOCK]
        if waiting:
            await finished(body.write, bytes(waiting))
        await finished(body.end)
        return await finished(intake.form)
    except BaseException:
        await finished(intake.discard)
        raise


async def finished(
    call: Callable[..., T], *arguments: Any, stop: Callable[[], None] = lambda: None
) -> T:
    """``call`` in a thread. Who is canceled waits for its end, which ``stop`` may hasten."""
    running = asyncio.get_running_loop().run_in_executor(None, call, *arguments)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop()
        while not running.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        running.exception()  # looked at, else the log has it as a bug
        raise


def label(name: str) -> str:
    """What a client calls a file, fit to be shown: no folders, one line, 255 characters at most."""
    return re.split(r"[/\\]", UNSEEN.sub("", name))[-1].strip()[:255]


@contextmanager
def writing() -> Iterator[None]:
    """What the disk says against a file, as an error of the server's own."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull("the server's disk is full") from error
        reason = error.strerror or type(error).__name__
        raise OutputError(f"the upload cannot be kept ({reason})") from error


class Intake:
    """What has come so far of one request. All of it blocks, and is for one thread at a time."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder, self.limits = folder, limits
        self.files: list[Upload] = []
        self.open: BinaryIO | None = None
        self._made, self._text, self._count = False, 0, 0
        self._fields: dict[str, list[str]] = {}

    def make(self) -> None:
        """The folder, a new one: what another request has is not for this one to remove."""
        with writing():
            self.folder.mkdir(parents=True)
        self._made = True

    def file(self, field: str = "", name: str = "") -> _File:
        """A file is coming."""
        return _File(self, field, label(name))

    def text(self, name: bytes, value: bytes) -> None:
        """A text field has come; :class:`UnicodeError` where it is no text."""
        limits, field = self.limits, name.decode()
        self._count += 1
        self._text += len(value)
        if self._count > limits.fields:
            raise UploadTooLarge(f"the request has more than {limits.fields} fields")
        if len(value) > limits.of(field):
            raise UploadTooLarge(f"the field {field[:40]!r} has more than {limits.of(field)} bytes")
        if self._text > limits.text_bytes:
            raise UploadTooLarge(f"the request has more than {limits.text_bytes} bytes of text")
        self._fields.setdefault(field, []).append(value.decode())

    def form(self) -> Form:
        """All of it, once it is certain to outlast a power cut."""
        files.settle(self.folder)
        fields = {name: tuple(values) for name, values in self._fields.items()}
        return Form(fields, tuple(self.files))

    def discard(self) -> None:
        """Leave nothing behind."""
        if self.open is not None:
            with suppress(OSError):  # what it still held back does not fit either
                self.open.close()
        if self._made:
            shutil.rmtree(self.folder, ignore_errors=True)


class _File:
    """A file, on the disk from its first byte on."""

    def __init__(self, intake: Intake, field: str, name: str) -> None:
        self._intake, self._field, self._name = intake, field, name
        self._path, self._bytes, self._hash = intake.folder, 0, sha256()

    def write(self, piece: bytes) -> None:
        folder, limits = self._intake.folder, self._intake.limits
        self._bytes += len(piece)
        if self._bytes > limits.file_bytes:
            raise UploadTooLarge(f"a file has more than {limits.file_bytes} bytes")
        with writing():
            if shutil.disk_usage(folder).free < limits.spare_disk + len(piece):
                raise DiskFull("the server's disk is full")
            self._opened().write(piece)
        self._hash.update(piece)

    def end(self) -> None:
        if not (self._bytes or self._name):  # what a browser sends for an input that was left empty
            return
        with writing(), self._opened() as file:
            file.flush()
            os.fsync(file.fileno())
        self._intake.open = None
        digest = self._hash.hexdigest()
        self._intake.files.append(Upload(self._field, self._name, self._path, self._bytes, digest))

    def _opened(self) -> BinaryIO:
        intake, number = self._intake, len(self._intake.files)
        if intake.open is None:
            if number == intake.limits.files:
                raise UploadTooLarge(f"the request has more than {number} files")
            self._path = intake.folder / f"{number:06d}"
            intake.open = self._path.open("xb")
        return intake.open
