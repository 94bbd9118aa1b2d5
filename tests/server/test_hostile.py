"""A hundred uploads that mean harm: each is refused in one line, and costs nobody else anything."""

from __future__ import annotations

import socket
import struct
import time
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image as Pillow

from portrayer.image import codec
from tests.portraits import astronaut

from .running import TOKEN, Running, serving
from .test_photos import PORTRAIT

SOON = 1.0  # seconds in which a healthy server answers
GIB = 1 << 30


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One with small limits."""
    limits = {"max_upload": "4MiB", "max_request": "16MiB", "max_files": "20", "max_queue": "40"}
    with serving(tmp_path_factory.mktemp("hostile") / "at", **limits) as running:
        running.ready()
        yield running


def png(width: int, height: int, kind: int = 2, rows: bytes = b"", depth: int = 8) -> bytes:
    """A PNG whose header says this, with whatever rows."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"".join(
        [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), chunk(b"IDAT", rows), chunk(b"IEND", b"")]
    )


def pillow(format: str, **how: Any) -> bytes:
    file = BytesIO()
    Pillow.fromarray(astronaut()).save(file, format, **how)
    return file.getvalue()


def bodies() -> Iterator[tuple[str, bytes]]:
    """What is called a photo, and is none that can be worked on."""
    yield "nothing", b""
    for side in (65_535, 2**31 - 1, 2**32 - 1):
        yield f"a PNG that says {side}", png(side, side)
    zeros = zlib.compress(bytes(64 << 20), 9)
    yield "a PNG whose rows never end", png(10, 10, rows=zeros)
    yield "a PNG of 7999 x 7999 in 60 KB", png(7999, 8001, rows=zeros)
    yield "a PNG of no colour type", png(10, 10, kind=5)
    yield "a PNG of 3 bits", png(10, 10, depth=3)
    jpeg = bytearray(PORTRAIT)
    at = jpeg.index(b"\xff\xc0") + 5
    for height, width in ((65_535, 65_535), (0, 0), (1, 65_535)):
        jpeg[at : at + 4] = struct.pack(">HH", height, width)
        yield f"a JPEG that says {width} x {height}", bytes(jpeg)
    for name in ("JPEG", "PNG", "WEBP", "BMP", "TIFF"):
        whole = pillow(name)
        yield f"half of a {name}", whole[: len(whole) // 2]
        yield f"the head of a {name}", whole[:20]
        yield f"a {name} with a hole", whole[:100] + bytes(300) + whole[400:]
    for name in ("GIF", "ICO", "PPM", "TGA"):
        yield f"a {name}", pillow(name)
    yield "an SVG", b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    yield "a page", b"<!doctype html><script>alert(1)</script>"
    yield "an entity bomb", b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY l "&l;&l;">]><l>&l;</l>'
    yield "a program", b"\x7fELF" + bytes(4000)
    yield "an archive", b"PK\x03\x04" + bytes(4000)
    yield "a PDF", b"%PDF-1.7 " + bytes(4000)
    yield "zeros", bytes(1 << 20)
    yield "a ring of TIFF directories", b"II*\0\x08\0\0\0\0\0\x08\0\0\0"


def names() -> Iterator[str]:
    """What no file should be called."""
    yield from ("../../../../tmp/x.jpg", "/etc/passwd", "..\\..\\x.jpg", "C:\\x.jpg", ".", "..")
    yield from ("CON.jpg", "a\0b.jpg", "a\nb.jpg", "<script>.jpg", "%2e%2e%2fx.jpg", "x" * 5000)
    yield from ("\u202egpj.exe", "a/b/c.jpg", " ", "-rf.jpg", "jobs.sqlite", "~/x", "$(reboot).jpg")


def forms() -> Iterator[tuple[str, str, bytes]]:
    """Content types and bodies that are no form."""
    part = b'--x\r\nContent-Disposition: form-data; name="photo"; filename="a"\r\n\r\n'
    form = "multipart/form-data; boundary=x"
    yield "no boundary", "multipart/form-data", part
    yield "an empty boundary", "multipart/form-data; boundary=", part
    yield "another boundary", "multipart/form-data; boundary=y", part + b"z\r\n--x--\r\n"
    yield "no end", form, part + PORTRAIT
    yield "no name", form, b"--x\r\nContent-Disposition: form-data\r\n\r\nz\r\n--x--\r\n"
    yield "no disposition", form, b"--x\r\nX: y\r\n\r\nz\r\n--x--\r\n"
    yield "a header without end", form, b"--x\r\nContent-Disposition: " + b"a" * 300_000
    yield "many headers", form, b"--x\r\n" + b"X: y\r\n" * 20_000 + b"\r\nz\r\n--x--\r\n"
    yield "many fields", form, b"".join(_field(f"f{i}", b"") for i in range(20_000)) + b"--x--\r\n"
    yield "many files", form, b"".join(_field("photo", b"", "a") for i in range(500)) + b"--x--\r\n"
    yield "a long field", form, _field("options", b"[" * (2 << 20)) + b"--x--\r\n"
    yield "deep JSON", form, _field("options", b"[" * 100_000) + b"--x--\r\n"
    yield "JSON that is deep", "application/json", b'{"a":' * 50_000
    yield "JSON of another kind", "application/json", b"[1, 2]"
    yield "a bad escape", "application/x-www-form-urlencoded", b"a=%zz&b=%"
    yield "bytes that are no text", form, _field("options", b"\xff\xfe\xfd") + b"--x--\r\n"
    yield "mixed parts", "multipart/mixed; boundary=x", part + b"z\r\n--x--\r\n"
    yield "a form in a form", form, _field("photo", part, "a") + b"--x--\r\n"
    yield "no type", "", PORTRAIT
    yield "a type of another kind", "text/html; charset=\xff", PORTRAIT


def _field(name: str, value: bytes, filename: str = "") -> bytes:
    file = f'; filename="{filename}"' if filename else ""
    head = f'--x\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
    return head.encode() + value + b"\r\n"


BODIES, NAMES, FORMS = list(bodies()), list(names()), list(forms())


def answers(server: Running) -> None:
    """It is well."""
    begun = time.monotonic()
    assert server.client.get("/healthz").status_code == 200
    assert time.monotonic() - begun < SOON


def clean(server: Running) -> None:
    """Nothing of a request is left, and nothing lies where it should not."""
    deadline = time.monotonic() + 5
    while any((server.folder / "incoming").glob("*")):
        assert time.monotonic() < deadline, list((server.folder / "incoming").rglob("*"))
        time.sleep(0.01)
    known = {"incoming", "jobs"}
    found = {path.name for path in server.folder.iterdir()}
    assert not {name for name in found - known if not name.startswith("jobs.sqlite")}


@pytest.mark.parametrize(("what", "blob"), BODIES, ids=[name for name, _ in BODIES])
def test_what_is_no_photo(server: Running, what: str, blob: bytes) -> None:
    """Refused by its own fault, never by an error of ours; what can be read all the same is."""
    answer = server.client.post("/v1/matte", files={"photo": ("a.jpg", blob)})
    readable = "hole" in what or "never end" in what
    assert answer.status_code in (400, 413, 415, *([200] if readable else [])), answer.text
    answers(server)
    clean(server)


@pytest.mark.parametrize("name", NAMES)
def test_what_no_file_is_called(server: Running, name: str) -> None:
    """A name is a label: the photo is done, and lies where the server puts it."""
    body = b"".join(
        [
            b'--x\r\nContent-Disposition: form-data; name="files"; filename="',
            name.encode(),
            b'"\r\n\r\n' + PORTRAIT + b"\r\n",
            _field("task", b"matte"),
            b"--x--\r\n",
        ]
    )
    answer = server.client.post(
        "/v1/jobs", content=body, headers={"content-type": "multipart/form-data; boundary=x"}
    )
    if answer.status_code == 202:
        job = answer.json()["id"]
        server.settled(job)
        files = (server.folder / "jobs" / job).rglob("*.*")
        assert [path.name for path in files] == ["000000.png"]
        [item] = server.client.get(f"/v1/jobs/{job}/items").json()["items"]
        shown = server.client.get(f"/v1/items/{item['id']}/result").headers["content-disposition"]
        assert not {"/", "\\", "\n", "\0"} & set(shown)
        server.client.delete(f"/v1/jobs/{job}?purge=true")
    else:
        assert answer.status_code == 400, answer.text
    answers(server)
    clean(server)


@pytest.mark.parametrize(("what", "kind", "body"), FORMS, ids=[name for name, *_ in FORMS])
@pytest.mark.parametrize("path", ["/v1/matte", "/v1/jobs"])
def test_what_is_no_form(server: Running, path: str, what: str, kind: str, body: bytes) -> None:
    """One line, and no file behind."""
    headers = {"content-type": kind.encode("latin-1")}
    answer = server.client.post(path, content=body, headers=headers)
    assert 400 <= answer.status_code < 500, (what, answer.text)
    assert len(answer.json()["errors"]) == 1
    answers(server)
    clean(server)


@pytest.mark.parametrize("path", ["/v1/matte", "/v1/jobs", "/v1.0/removebg"])
@pytest.mark.parametrize("chunked", [True, False])
def test_a_stream_of_two_gigabytes(server: Running, path: str, chunked: bool) -> None:
    """Refused at the first byte too many, long before its end, whatever its length says."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: a\r\nX-Api-Key: {TOKEN}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n"
    )
    head += (
        "Transfer-Encoding: chunked\r\n\r\n" if chunked else f"Content-Length: {2 * GIB}\r\n\r\n"
    )
    sent = 0
    with connected(server) as peer:
        peer.sendall(head.encode())
        block = _field("photo", b"", "a")[:-2] + bytes(1 << 20)
        try:
            while sent < 2 * GIB:
                peer.sendall(b"%x\r\n%s\r\n" % (len(block), block) if chunked else block)
                sent += len(block)
                block = bytes(1 << 20)
        except OSError:
            pass  # it has closed
    assert sent < 64 << 20
    answers(server)
    clean(server)


def test_a_stream_that_is_cut_off(server: Running) -> None:
    """Half a photo, and gone: nothing is queued, nothing stays."""
    head = (
        f"POST /v1/jobs HTTP/1.1\r\nHost: a\r\nX-Api-Key: {TOKEN}\r\nContent-Length: 9000000\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    )
    with connected(server) as peer:
        peer.sendall(head.encode() + _field("files", b"", "a")[:-2] + bytes(2 << 20))
        deadline = time.monotonic() + 5
        while not list((server.folder / "incoming").rglob("0*")):
            assert time.monotonic() < deadline
    answers(server)
    clean(server)


def test_more_files_than_a_job_may_have(server: Running) -> None:
    """413 for one more; 429 for more than may wait, with when to come again."""
    small = codec.encode(astronaut()[::4, ::4].copy(), "jpeg")
    files = [("files", (f"{i}.jpg", small)) for i in range(21)]
    over = server.client.post("/v1/jobs", files=files, data={"task": "matte"})
    assert (over.status_code, over.json()["errors"][0]["code"]) == (413, "upload-too-large")
    waiting = []
    for _ in range(40):
        queued = server.client.post("/v1/jobs", files=files[:20], data={"task": "matte"})
        if queued.status_code == 429:
            break
        waiting.append(queued.json()["id"])
    assert queued.status_code == 429
    assert int(queued.headers["retry-after"]) > 0
    for job in waiting:
        server.client.delete(f"/v1/jobs/{job}?purge=true")
    clean(server)


def connected(server: Running) -> socket.socket:
    place = urlsplit(server.address)
    assert place.hostname
    assert place.port
    return socket.create_connection((place.hostname, place.port), timeout=30)
