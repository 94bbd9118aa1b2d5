"""Receiving a body: whole and counted, or refused in one line with nothing left on the disk."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import shutil
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlencode

import pytest

from portrayer.errors import OutputError
from portrayer.server import upload
from portrayer.server.refusal import DiskFull, UploadTooLarge
from portrayer.server.upload import finished, label, receive

from .forms import (
    LIMITS,
    MULTIPART,
    URLENCODED,
    body,
    file,
    received,
    refused,
    stream,
    text,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "incoming" / "1"


def test_a_form_is_received(folder: Path) -> None:
    """Fields keep their order and number; files lie under the server's names, whole."""
    photos = [b"one", b"", bytes(range(256)) * 3]
    form = received(
        folder,
        body(
            text("task", "matte"),
            file("a.jpg", photos[0]),
            text("steps", "fuse"),
            file("b.jpg", photos[1]),
            text("steps", "é"),
            file("../c.jpg", photos[2], "background"),
        ),
    )
    assert form.fields == {"task": ("matte",), "steps": ("fuse", "é")}
    assert [(one.field, one.name) for one in form.files] == [
        ("files", "a.jpg"),
        ("files", "b.jpg"),
        ("background", "c.jpg"),
    ]
    assert [one.path for one in form.files] == [folder / f"00000{n}" for n in range(3)]
    for one, photo in zip(form.files, photos, strict=True):
        assert one.path.read_bytes() == photo
        assert (one.bytes, one.sha256) == (len(photo), sha256(photo).hexdigest())
    assert sorted(folder.iterdir()) == [one.path for one in form.files]


NAMES = [
    ("photo.jpg", "photo.jpg"),
    ("/etc/passwd", "passwd"),
    ("..\\..\\boot.ini", "boot.ini"),
    ("C:\\photos\\a.jpg", "a.jpg"),
    ("a/b\\c/d.jpg", "d.jpg"),
    ("../", ""),
    ("..", ".."),
    ("a\x00b\r\nc\x1b[31m.jpg", "abc[31m.jpg"),
    ("exe\u202egpj.exe", "exegpj.exe"),
    ("a\u2028b", "ab"),
    ("  spaces .jpg ", "spaces .jpg"),
    ("x" * 300, "x" * 255),
    ("Тест 🧑‍🎨.jpg", "Тест 🧑‍🎨.jpg"),
]


@pytest.mark.parametrize(("name", "shown"), NAMES)
def test_a_label_is_only_shown(name: str, shown: str) -> None:
    """A client's name loses its folders, its line breaks, and what turns text around."""
    assert label(name) == shown


@pytest.mark.parametrize("name", ["../../x.jpg", "..\\x.jpg", "/x.jpg", "C:\\x.jpg", "x.jpg"])
def test_no_name_is_a_path(folder: Path, name: str) -> None:
    """Whatever a file is called, it lies where the server put it."""
    [one] = received(folder, body(file(name, b"x"))).files
    assert one.path == folder / "000000"
    assert one.name == "x.jpg"
    assert [path for path in folder.parent.parent.rglob("*") if path.is_file()] == [one.path]


PHOTO = b"x" * 1000
LARGE: dict[str, tuple[bytes, str, dict[str, int]]] = {
    "a file": (body(file("a", PHOTO + b"x")), MULTIPART, {}),
    "a file alone": (PHOTO + b"x", "image/png", {}),
    "all files": (body(file("a", PHOTO), file("b", PHOTO)), MULTIPART, {"total_bytes": 2000}),
    "many files": (body(file("a", PHOTO), file("b", PHOTO)), MULTIPART, {"files": 1}),
    "an epilogue": (body(text("a", "b")) + PHOTO, MULTIPART, {"total_bytes": 1000}),
    "many fields": (body(text("a", "b"), text("a", "b")), MULTIPART, {"fields": 1}),
    "a field": (body(text("a", "x" * 201)), MULTIPART, {}),
    "a long field": (body(text("image_file_b64", "x" * 4001)), MULTIPART, {}),
    "a JSON field": (json.dumps({"a": "x" * 201}).encode(), "application/json", {}),
    "a urlencoded field": (urlencode({"a": "x" * 201}).encode(), URLENCODED, {}),
    "long fields": (
        body(*[text("image_file_b64", "x" * 4000)] * 2),
        MULTIPART,
        {"fields": 2},
    ),
    "a text": (b"a=" + b"x" * 20_000, URLENCODED, {}),
}


@pytest.mark.parametrize("case", LARGE)
def test_a_byte_too_many_is_refused(folder: Path, case: str) -> None:
    """Too many bytes, files or fields: told as such, and nothing is left behind."""
    content, type, limits = LARGE[case]
    assert isinstance(refused(folder, content, type, **limits), UploadTooLarge)


def test_what_just_fits_is_taken(folder: Path) -> None:
    """Each limit is what may be, not the first that may not."""
    content = body(
        file("a", PHOTO), text("a", "x" * 200), text("image_file_b64", "x" * 4000), file("b", PHOTO)
    )
    form = received(folder, content, files=2, fields=2, total_bytes=len(content))
    assert [one.bytes for one in form.files] == [1000, 1000]
    assert {name: len(value) for name, [value] in form.fields.items()} == {
        "a": 200,
        "image_file_b64": 4000,
    }


def test_no_more_is_read_than_may_be(folder: Path) -> None:
    """An endless body is left at the first byte too many, whatever was promised."""
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        yield file("a", b"x")
        while True:
            taken += 1
            yield b"x" * 1000

    with pytest.raises(UploadTooLarge):
        asyncio.run(receive(endless(), MULTIPART, folder, LIMITS))
    assert taken == 1000
    assert not folder.exists()


def test_an_endless_file_takes_no_disk(folder: Path) -> None:
    """A file that grows beyond its limit is stopped within a block of it."""
    most = 3 * upload.BLOCK
    limits = replace(LIMITS, file_bytes=most, total_bytes=100 * most)
    largest = taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal largest, taken
        while True:
            yield b"x" * 2**16
            taken += 2**16
            largest = max(largest, sum(path.stat().st_size for path in folder.iterdir()))

    with pytest.raises(UploadTooLarge):
        asyncio.run(receive(endless(), "image/png", folder, limits))
    assert upload.BLOCK <= largest <= most
    assert taken <= most + upload.BLOCK
    assert not folder.exists()


def test_the_disk_is_watched_while_it_fills(tmp_path: Path, folder: Path) -> None:
    """What must stay free is looked at with every block, not once."""
    room = 2**28
    if shutil.disk_usage(tmp_path).free < 8 * room or not hasattr(os, "posix_fallocate"):
        pytest.skip("no room to fill")
    limits = replace(
        LIMITS,
        file_bytes=2**30,
        total_bytes=2**30,
        spare_disk=shutil.disk_usage(tmp_path).free - room,
    )
    stored = 0

    async def filling() -> AsyncIterator[bytes]:
        nonlocal stored
        yield b"x" * upload.BLOCK
        yield b"x" * upload.BLOCK
        stored = (folder / "000000").stat().st_size
        with (tmp_path / "other").open("xb") as other:
            os.posix_fallocate(other.fileno(), 0, 2 * room)
        yield b"x" * upload.BLOCK

    with pytest.raises(DiskFull):
        asyncio.run(receive(filling(), "image/png", folder, limits))
    assert stored == 2 * upload.BLOCK
    assert not folder.exists()
    (tmp_path / "other").unlink()


def test_a_full_disk_is_told(folder: Path) -> None:
    """No room at all: nothing is begun."""
    assert isinstance(refused(folder, b"x", "image/png", spare_disk=2**60), DiskFull)


def test_what_another_request_has_stays(folder: Path) -> None:
    """A folder that is there already is neither used nor removed."""
    folder.mkdir(parents=True)
    (folder / "000000").write_bytes(b"theirs")
    with pytest.raises(OutputError):
        received(folder, b"mine", "image/png")
    assert (folder / "000000").read_bytes() == b"theirs"


def test_a_folder_that_cannot_be_made_is_told(folder: Path) -> None:
    """One line, and not a bug's traceback."""
    folder.parent.parent.mkdir(exist_ok=True)
    folder.parent.write_bytes(b"a file where a folder should be")
    assert isinstance(refused(folder, b"x", "image/png"), OutputError)


class Gone(Exception):
    """What the framework raises for a client that left."""


@pytest.mark.parametrize("bytes", [0, 100, upload.BLOCK + 100, 2 * upload.BLOCK])
def test_a_client_that_leaves_takes_all_along(folder: Path, bytes: int) -> None:
    """Wherever the body breaks off, nothing of it stays, and the reason is passed on."""

    async def leaving() -> AsyncIterator[bytes]:
        yield body(text("a", "b"), file("a", b"x"))[:-10] + b"\r\n" + file("b", b"x" * bytes)[:-2]
        assert folder.exists()
        raise Gone

    limits = replace(LIMITS, file_bytes=2**30, total_bytes=2**30)
    with pytest.raises(Gone):
        asyncio.run(receive(leaving(), MULTIPART, folder, limits))
    assert not folder.exists()


@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_who_is_canceled_leaves_nothing(folder: Path, blocks: int) -> None:
    """At any moment, in the midst of a write too, and however often it is canceled."""

    async def main() -> None:
        waiting = asyncio.Event()

        async def halting() -> AsyncIterator[bytes]:
            yield b"x" * blocks * upload.BLOCK
            waiting.set()
            await asyncio.Event().wait()

        limits = replace(LIMITS, file_bytes=2**30, total_bytes=2**30)
        task = asyncio.ensure_future(receive(halting(), "image/png", folder, limits))
        await waiting.wait()
        assert folder.exists()
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not folder.exists()

    asyncio.run(main())


@pytest.mark.parametrize("steps", range(12))
def test_who_is_canceled_early_leaves_nothing(folder: Path, steps: int) -> None:
    """A few turns of the loop after the start, or after the end: nothing, or all of it."""

    async def main() -> None:
        content = [b"x" * upload.BLOCK] * 2
        limits = replace(LIMITS, file_bytes=2**30, total_bytes=2**30)
        task = asyncio.ensure_future(receive(stream(content), "image/png", folder, limits))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert folder.exists() != task.cancelled()

    asyncio.run(main())


def test_the_fingerprint_is_of_what_is_said(folder: Path) -> None:
    """Another boundary, another way of cutting: the same. Another word, name, byte: another."""
    parts = [text("task", "matte"), file("a.jpg", b"one"), file("b.jpg", b"two")]
    others = [
        [text("task", "fuse"), *parts[1:]],
        [text("tasks", "matte"), *parts[1:]],
        [parts[0], file("A.jpg", b"one"), parts[2]],
        [parts[0], file("a.jpg", b"One"), parts[2]],
        [parts[0], file("a.jpg", b"one", "photo"), parts[2]],
        [parts[0], parts[2], parts[1]],
        parts[:2],
        [*parts, text("task", "matte")],
    ]
    places = (folder.parent / str(number) for number in range(20))
    first = received(next(places), body(*parts)).fingerprint
    renamed = body(*parts).replace(b"--edge", b"--rim")
    assert received(next(places), renamed, "multipart/form-data; boundary=rim").fingerprint == first
    prints = [received(next(places), body(*other)).fingerprint for other in others]
    assert len({first, *prints}) == 1 + len(others)


def test_the_loop_goes_on_meanwhile(folder: Path) -> None:
    """Writing and hashing are a thread's: the loop turns many times while a body is received."""

    async def main() -> int:
        turns = 0

        async def turning() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        limits = replace(LIMITS, file_bytes=2**30, total_bytes=2**30)
        beside = asyncio.create_task(turning())
        await receive(stream([b"x" * 8 * upload.BLOCK]), "image/png", folder, limits)
        beside.cancel()
        return turns

    assert asyncio.run(main()) > 100


def test_a_failure_after_the_end_is_no_bug(caplog: pytest.LogCaptureFixture) -> None:
    """What goes wrong in a thread that nobody wants any more is not logged as a bug."""

    async def main() -> None:
        begun, go = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def fails() -> None:
            loop.call_soon_threadsafe(begun.set)
            go.wait()
            raise LookupError

        task = asyncio.create_task(finished(fails, stop=go.set))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        del task
        gc.collect()

    asyncio.run(main())
    assert not caplog.records
