"""What a body is made of: whatever its type, the same form; and no bytes are a bug."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portrayer.errors import CapacityError, InputError
from portrayer.server import upload
from portrayer.server.refusal import InvalidRequest, UploadTooLarge
from portrayer.server.upload import Form, label, receive

from .forms import LIMITS, MULTIPART, URLENCODED, body, file, part, received, refused, text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "incoming" / "1"


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


def test_a_field_that_never_ends_is_left_at_its_own_limit(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only at that of all texts together: many at once would be much memory."""
    monkeypatch.setattr(upload, "BLOCK", 100)
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        yield text("a", "")[:-2]
        while True:
            taken += 100
            yield b"x" * 100

    with pytest.raises(UploadTooLarge, match="'a' has more than 200 bytes"):
        asyncio.run(receive(endless(), MULTIPART, folder, LIMITS))
    assert taken <= 200 + 2 * 100


def test_small_values_take_no_memory(folder: Path) -> None:
    """JSON of nothing but brackets is refused before it is made twenty times as large."""
    content = b'{"a": [' + b"{}," * 300_000 + b"0]}"
    tracemalloc.start()
    try:
        refused(folder, content, "application/json", field_bytes=100_000)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(content)
    finally:
        tracemalloc.stop()


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
