"""Bodies of requests as clients send them, and what becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portrayer.errors import CapacityError, InputError, PortrayerError
from portrayer.server.upload import Form, Limits, receive

LIMITS = Limits(
    file_bytes=1000,
    total_bytes=1_000_000,
    files=20,
    fields=20,
    field_bytes=200,
    long_fields={"image_file_b64": 4000},
)
MULTIPART = "multipart/form-data; boundary=edge"
URLENCODED = "application/x-www-form-urlencoded"


def part(said: str | bytes, content: bytes, *headers: bytes) -> bytes:
    lines = [b"Content-Disposition: form-data" + (said.encode() if isinstance(said, str) else said)]
    return b"--edge\r\n" + b"\r\n".join([*lines, *headers]) + b"\r\n\r\n" + content + b"\r\n"


def file(name: str, content: bytes, field: str = "files") -> bytes:
    said = f'; name="{field}"; filename="{name}"'
    return part(said, content, b"Content-Type: image/jpeg")


def text(name: str, value: str) -> bytes:
    return part(f'; name="{name}"', value.encode())


def body(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--edge--\r\n"


async def stream(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def received(
    folder: Path, content: bytes | Sequence[bytes], type: str = MULTIPART, **limits: Any
) -> Form:
    chunks = [content] if isinstance(content, bytes) else content
    return asyncio.run(receive(stream(chunks), type, folder, replace(LIMITS, **limits)))


def refused(folder: Path, content: bytes, type: str = MULTIPART, **limits: Any) -> PortrayerError:
    """The error, which is one line; nothing is left."""
    with pytest.raises((InputError, CapacityError)) as caught:
        received(folder, content, type, **limits)
    assert not folder.exists()
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).isprintable()
    return caught.value
