"""Receiving a body: whole and counted, or refused in one line with nothing left on the disk."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
import tracemalloc
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portrayer.errors import CapacityError, InputError, OutputError, PortrayerError
from portrayer.server import upload
from portrayer.server.refusal import DiskFull, InvalidRequest, UploadTooLarge
from portrayer.server.upload import Form, Limits, label, receive

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


BODIES = [
    (URLENCODED, b"a=1&b=x+y%C3%A9&a=&c=\xc3\xa9", {"a": ("1", ""), "b": ("x yé",), "c": ("é",)}),
    (URLENCODED, b"", {}),
    (f"{URLENCODED}; charset=utf-8", b"a=1", {"a": ("1",)}),
    ("application/json", b"{}", {}),
    (
        "Application/JSON",
        json.dumps(
            {"a": "x", "b": 2, "c": 0.5, "d": True, "e": None, "f": ["x", 1, None], "g": []}
        ).encode(),
        {"a": ("x",), "b": ("2",), "c": ("0.5",), "d": ("true",), "f": ("x", "1")},
    ),
    ("application/json", b'{"o": {"k": [1, "2"]}}', {"o": ('{"k": [1, "2"]}',)}),
]


@pytest.mark.parametrize(("type", "content", "fields"), BODIES)
def test_text_is_received(
    folder: Path, type: str, content: bytes, fields: dict[str, tuple[str, ...]]
) -> None:
    """A urlencoded form and a JSON object give the fields that a multipart form would."""
    form = received(folder, content, type)
    assert (form.fields, form.files) == (fields, ())
    parts = [text(name, value) for name, values in fields.items() for value in values]
    assert received(folder.parent / "2", body(*parts)) == form


@pytest.mark.parametrize("type", ["image/jpeg", "IMAGE/x-anything", "application/octet-stream"])
def test_a_file_alone_is_received(folder: Path, type: str) -> None:
    """A raw body is one file in the field without a name; an empty one is none."""
    [one] = received(folder, b"\xff\xd8photo", type).files
    assert (one.field, one.name, one.path.read_bytes()) == ("", "", b"\xff\xd8photo")
    assert received(folder.parent / "2", b"", type) == Form({}, ())


def test_an_input_left_empty_is_left_out(folder: Path) -> None:
    """What a browser sends for it counts as no file; one that has a name or bytes does."""
    form = received(folder, body(file("", b""), file("", b"x"), file("y", b"")), files=2)
    assert [(one.name, one.bytes) for one in form.files] == [("", 1), ("y", 0)]


def test_a_picture_without_a_name_is_a_file(folder: Path) -> None:
    """Some clients say what a part is and not what it is called."""
    photo = part('; name="files"', b"\xff\xd8", b"Content-Type: image/jpeg")
    [one] = received(folder, body(photo)).files
    assert (one.field, one.name, one.bytes) == ("files", "", 2)


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


def test_a_name_that_is_no_utf8_is_shown_as_far_as_it_goes(folder: Path) -> None:
    """An old disk's name costs nobody a job."""
    said = b'; name="files"; filename="caf\xe9.jpg"'
    [one] = received(folder, body(part(said, b"x"))).files
    assert one.name == "caf\ufffd.jpg"


HOSTILE = {
    "no boundary": (b"", "multipart/form-data"),
    "an empty boundary": (b"----\r\n", "multipart/form-data; boundary="),
    "a boundary without end": (b"", "multipart/form-data; boundary=" + "x" * 5000),
    "a type that is none": (b"", "\u20ac; boundary=edge"),
    "no type": (b"x", ""),
    "another type": (b"x", "text/html"),
    "another multipart": (b"", "multipart/mixed; boundary=edge"),
    "nothing": (b"", MULTIPART),
    "no end": (file("a.jpg", b"x"), MULTIPART),
    "cut within a head": (file("a.jpg", b"x" * 100)[:40], MULTIPART),
    "cut within a file": (file("a.jpg", b"x" * 500)[:-80], MULTIPART),
    "another boundary": (body(text("a", "b")).replace(b"edge", b"rim"), MULTIPART),
    "no multipart at all": (b"\xff\xd8\xff\xe0" * 100, MULTIPART),
    "a part without a disposition": (b"--edge\r\nX: y\r\n\r\nz\r\n--edge--\r\n", MULTIPART),
    "a part without a head": (b"--edge\r\n\r\nz\r\n--edge--\r\n", MULTIPART),
    "a part without a name": (body(part('; filename="a"', b"x")), MULTIPART),
    "a part with an empty name": (body(part('; name=""', b"x")), MULTIPART),
    "an attachment": (body(part("", b"x").replace(b"form-data", b"attachment")), MULTIPART),
    "a field's name that is no UTF-8": (body(part(b'; name="\xff"', b"x")), MULTIPART),
    "a file's field, no UTF-8": (
        body(part(b'; name="\xff"; filename="a"', b"x")),
        MULTIPART,
    ),
    "a value that is no UTF-8": (body(part('; name="a"', b"\xff")), MULTIPART),
    "a form in a form": (
        body(part('; name="a"', b"x", b"Content-Type: multipart/mixed; boundary=in")),
        MULTIPART,
    ),
    "base64": (body(part('; name="a"', b"eA==", b"Content-Transfer-Encoding: base64")), MULTIPART),
    "a header bomb": (body(part('; name="a"', b"x", *[b"X: y"] * 5000)), MULTIPART),
    "a long header": (body(part('; name="a"', b"x", b"X: " + b"y" * 90_000)), MULTIPART),
    "a long header's name": (body(part('; name="a"', b"x", b"X" * 90_000 + b": y")), MULTIPART),
    "a header without a colon": (body(part('; name="a"', b"x", b"X")), MULTIPART),
    "10,000 tiny parts": (body(*[text("a", "b")] * 10_000), MULTIPART),
    "10,000 empty inputs": (body(*[file("", b"")] * 10_000), MULTIPART),
    "10,000 tiny pairs": (b"&".join([b"a=b"] * 10_000), URLENCODED),
    "10,000 separators": (b"&" * 10_000, URLENCODED),
    "pairs that are no UTF-8": (b"a=%FF", URLENCODED),
    "raw pairs that are no UTF-8": (b"a=\xff", URLENCODED),
    "no JSON": (b"{", "application/json"),
    "no JSON object": (b"[1]", "application/json"),
    "JSON that is no UTF-8": (b'{"a": "\xff"}', "application/json"),
    "JSON with half a character": (b'{"a": "\\ud800"}', "application/json"),
    "JSON with half a character in a name": (b'{"\\ud800": 1}', "application/json"),
    "JSON without end": (b"[" * 150, "application/json"),
    "JSON that goes deep": (b'{"a": ' + b"[" * 199 + b"]" * 199 + b"}", "application/json"),
    "JSON with a number that is none": (b'{"a": NaN}', "application/json"),
    "JSON with a number beyond numbers": (b'{"a": 1e999}', "application/json"),
    "JSON with a number of a million digits": (b'{"a": ' + b"1" * 5000 + b"}", "application/json"),
    "JSON of many small values": (b'{"a": [' + b"0," * 1000 + b"0]}", "application/json"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_body_is_refused(folder: Path, case: str) -> None:
    """One line says why, and nothing is left behind."""
    content, type = HOSTILE[case]
    refused(folder, content, type)


def test_deep_json_is_refused_whatever_the_limits(folder: Path) -> None:
    """Python's own limit of nesting is an answer like any other."""
    deep = b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    limits = {"field_bytes": 10**6, "total_bytes": 10**6}
    assert isinstance(refused(folder, deep, "application/json", **limits), InvalidRequest)


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


TEXTS = [(URLENCODED, b"a="), ("application/json", b'{"a": "'), (MULTIPART, text("a", "")[:-2])]


@pytest.mark.parametrize(("type", "beginning"), TEXTS)
def test_an_endless_text_takes_no_memory(folder: Path, type: str, beginning: bytes) -> None:
    """However much a request may bring, its text is held in memory and is left in time."""
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        yield beginning
        while True:
            taken += 2**16
            yield b"x" * 2**16

    limits = replace(LIMITS, total_bytes=2**30)
    with pytest.raises(UploadTooLarge):
        asyncio.run(receive(endless(), type, folder, limits))
    assert taken <= 2 * limits.text_bytes + 2 * upload.BLOCK
    assert not folder.exists()


def test_small_values_take_no_memory(folder: Path) -> None:
    """JSON of nothing but brackets is refused before it is made twenty times as large."""
    content = b'{"a": [' + b"{}," * 300_000 + b"0]}"
    tracemalloc.start()
    try:
        refused(folder, content, "application/json", field_bytes=100_000)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(content)
    finally:
        tracemalloc.stop()


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


@pytest.fixture(scope="module")
def places() -> Iterator[Iterator[Path]]:
    """Fresh folders, one after the other, each removed by the next."""
    with tempfile.TemporaryDirectory() as root:

        def fresh() -> Iterator[Path]:
            while True:
                place = Path(root) / "a" / "b"
                yield place
                shutil.rmtree(place, ignore_errors=True)

        yield fresh()


NEAR = [b"\r\n--edge", b"\r\n--edg", b"\r\n", b"\r", b"--edge--", b"\r\n--edge-X", b"\r\n--edgeX"]
pieces = st.one_of(st.binary(max_size=30), st.sampled_from(NEAR[1:5] + NEAR[6:]))
contents = st.lists(pieces, max_size=6).map(b"".join).filter(lambda c: NEAR[0] not in c)
words = st.text(st.characters(exclude_characters='"\r\n\\', exclude_categories=["Cs"]), max_size=10)
values = words.filter(lambda value: "\r\n--edge" not in value)
names = words.filter(bool)
entries = st.lists(
    st.one_of(
        st.tuples(st.just(""), names, values),
        st.tuples(words, names, contents),
    ),
    max_size=6,
)


def formed(entry: tuple[str, str, str | bytes]) -> bytes:
    name, field, content = entry
    if isinstance(content, str):
        return text(field, content)
    return file(name, content, field)


@given(entries, st.lists(st.integers(0, 600)), st.integers(1, 80))
def test_the_same_form_however_it_is_cut(
    places: Iterator[Path], entries: list[Any], cuts: list[int], block: int
) -> None:
    """Neither the network's pieces nor the blocks of a thread change anything; what was sent is
    what is there.
    """
    content = body(*map(formed, entries))
    ends = sorted({min(cut, len(content)) for cut in cuts} | {len(content)})
    chunks = [content[a:b] for a, b in zip([0, *ends], ends, strict=False)]
    place = next(places)
    form = received(place, content)
    held = [one.path.read_bytes() for one in form.files]
    files = [(label(name), content) for name, _, content in entries if isinstance(content, bytes)]
    assert held == [content for name, content in files if name or content]
    fields: dict[str, tuple[str, ...]] = {}
    for _, field, value in entries:
        if isinstance(value, str):
            fields[field] = (*fields.get(field, ()), value)
    assert form.fields == fields
    next(places)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upload, "BLOCK", block)
        again = received(place, chunks)
    assert again == form
    assert again.fingerprint == form.fingerprint
    assert [one.path.read_bytes() for one in again.files] == held


TYPES = [MULTIPART, URLENCODED, "application/json", "image/png", "text/plain", ""]
SALT = [b"--edge\r\n", b"\r\n--edge", b"--edge--", b"Content-Disposition: form-data", b'; name="a"']
SALT += [b'; filename="b"', b"\r\n\r\n", b"{", b'"a":', b"[", b"&", b"=", b"%"]
junk = st.lists(st.one_of(st.sampled_from(SALT), st.binary(max_size=20)), max_size=20)


@given(st.sampled_from(TYPES) | st.text(max_size=30), junk)
def test_no_bytes_are_a_bug(places: Iterator[Path], type: str, chunks: list[bytes]) -> None:
    """Whatever comes is a form, or refused in one line with nothing left."""
    place = next(places)
    told = "a form"
    try:
        received(place, chunks, type)
    except (InputError, CapacityError) as error:
        told = str(error)
    assert place.exists() == (told == "a form")
    assert len(told.splitlines()) == 1


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
