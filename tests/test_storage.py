"""Laws of places: what a path and a URL have in common, and what a store is asked."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portrayer import storage
from portrayer.errors import CapacityError, InputError, OutputError
from portrayer.image import files
from portrayer.jobs.verdict import RUN, Verdict, verdict

parts = st.text("aBé. #?%:-", min_size=1, max_size=4).filter(lambda part: part.strip(" .") == part)
keys = st.lists(parts, min_size=1, max_size=3).map("/".join)


@pytest.fixture(autouse=True)
def _empty() -> None:
    fsspec.filesystem("memory").store.clear()


def below(root: str) -> list[str]:
    return [entry.place for entry in storage.walk(root)]


@given(keys)
def test_a_url_is_taken_apart_and_put_together_like_a_path(key: str) -> None:
    """Name, ending, folder and what is joined are those of a path with the same parts."""
    url, path = f"s3://bucket/{key}", Path("/bucket") / key
    assert storage.name(url) == path.name
    assert storage.suffix(url) == path.suffix
    assert storage.parent(url) == f"s3:/{path.parent}"
    assert storage.join("s3://bucket/", key) == url
    assert storage.matte_of(url) == f"s3:/{files.matte_of(path)}"
    assert storage.place(url) == storage.absolute(url) == url
    assert storage.place(str(path)) == path
    assert storage.within(url, "s3://bucket")
    assert storage.within(url, "S3://bucket/"), "a scheme has no letter case"
    assert not storage.within(url, "s3://buck")
    assert not storage.within(url, "gs://bucket")
    assert not storage.within(path, Path("/bucket"))


def test_of_the_web_the_name_is_in_the_path() -> None:
    """What follows a question mark may be a key to the photo: it is no name, and is not told."""
    url = "https://host/album/a%20b.jpg?sig=secret"
    assert (storage.name(url), storage.suffix(url)) == ("a b.jpg", ".jpg")
    assert storage.name("https://host/") == "host"
    assert storage.said(url) == "https://host/album/a%20b.jpg"
    assert storage.said("s3://b/what?.jpg") == "s3://b/what?.jpg"
    assert storage.said("https://me:word@host/a@b.jpg") == "https://host/a@b.jpg"


@pytest.mark.parametrize(
    "url", ["https://me:word@host/a.jpg", "http://[/a.jpg?word", "http:///a.jpg?word"]
)
def test_an_address_that_cannot_be_asked(url: str) -> None:
    """Is refused before anything is sent, in one line that tells no password."""
    for look in (storage.check, storage.read, storage.entry):
        with pytest.raises(InputError) as caught:
            look(url)
        assert "word" not in str(caught.value).replace("a password", "")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("relative", ["a.png", "/etc/a.png", "//a.png", "sub//a.png"])
def test_no_key_leads_out_of_a_folder(relative: str, tmp_path: Path) -> None:
    """Keys may begin with a slash; what is written below a folder stays below it."""
    assert tmp_path in Path(storage.join(tmp_path, relative)).parents


@given(st.dictionaries(keys.filter(lambda key: "::" not in key), st.binary(max_size=9), max_size=8))
def test_what_is_written_is_listed_in_order_and_read(objects: dict[str, bytes]) -> None:
    """Every object under its name, sorted by bytes, whole; an entry is the same alone or listed."""
    fsspec.filesystem("memory").store.clear()
    names = [name for name in objects if not any(other.startswith(f"{name}/") for other in objects)]
    for name in names:
        storage.write(f"memory://in/{name}", objects[name])
    if not names:
        return
    entries = list(storage.walk("memory://in/"))
    order = sorted(names, key=str.encode)
    assert [entry.place for entry in entries] == [f"memory://in/{name}" for name in order]
    for name, entry in zip(order, entries, strict=True):
        assert storage.read(entry.place) == objects[name]
        assert storage.entry(entry.place) == entry
        assert storage.signature(entry.place) == entry.signature


def test_a_signature_tells_one_content_from_another(tmp_path: Path) -> None:
    """Of both kinds of places, and of several; a path at which nothing is has none."""
    for root in (tmp_path, "memory://in"):
        place = storage.join(root, "a.jpg")
        storage.write(place, b"one")
        before = storage.signature(place)
        assert storage.signature(place) == before != ""
        storage.write(place, b"other")
        assert storage.signature(place) != before
        assert storage.signature(place, place).count("+") == 1
    assert storage.signature(tmp_path / "gone.jpg", tmp_path / "a.jpg") == ""


def test_hidden_names_are_left_out() -> None:
    """Theirs and those of folders, also ``..``; what lies beside the folder is not in it."""
    for name in ("in/a.jpg", "in/.b.jpg", "in/.c/d.jpg", "in/e/.f/g.jpg", "inner/h.jpg"):
        storage.write(f"memory://{name}", b"x")
    assert below("memory://in") == below("memory://in/") == ["memory://in/a.jpg"]


def test_a_path_is_read_and_written_as_ever(tmp_path: Path) -> None:
    """Whole or not at all, its folder made; the errors are those of files."""
    place = tmp_path / "sub" / "a.jpg"
    storage.write(place, b"photo")
    assert storage.read(place) == storage.read(str(place)) == b"photo"
    with pytest.raises(InputError, match="cannot be read: No such file"):
        storage.read(tmp_path / "gone.jpg")
    with pytest.raises(OutputError, match="not a directory"):
        storage.write(place / "b.jpg", b"photo")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://host/a.jpg", "use a path, https:// or one of s3://"),
        ("s3://", "names no bucket"),
        ("gs://bucket/a.jpg", r"pip install 'portrayer\[gs\]'"),
        ("memory://in/gone.jpg", "cannot be read: it does not exist"),
        ("memory://my-bucket/container/gone.jpg", "cannot be read: it does not exist"),
    ],
)
def test_a_url_that_cannot_be_read(url: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is told in one line, with what to do: no such store, no extra, no bucket, no object."""
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(InputError, match=reason) as caught:
        storage.read(url)
    assert "\n" not in str(caught.value)


def test_a_name_of_its_own_fault_fails_alone() -> None:
    """A key that is too long, or no text, says nothing about the other results of a run."""
    for name in ("a" * 1025, "\udcff.png"):
        with pytest.raises(InputError, match="name is") as caught:
            storage.write(f"memory://out/{name}", b"x")
        assert verdict(caught.value, RUN) is Verdict.FAIL
    storage.write(f"memory://out/{'a' * 1024}", b"x")


def test_a_reader_sees_one_content_or_the_other() -> None:
    """Written over and over by one thread, read by another: never a half, never a mixture."""
    place, sizes = "memory://out/a.png", (1 << 18, 1 << 19)
    storage.write(place, b"0" * sizes[0])
    seen: set[tuple[int, int]] = set()
    ended = Event()

    def look() -> None:
        while not ended.is_set():
            blob = storage.read(place)
            seen.add((len(blob), len(set(blob))))

    reader = Thread(target=look)
    reader.start()
    for turn in range(200):
        storage.write(place, b"01"[turn % 2 :][:1] * sizes[turn % 2])
    ended.set()
    reader.join()
    assert seen <= {(size, 1) for size in sizes}
    assert seen


class Answers(BaseHTTPRequestHandler):
    """``/CODE/...`` answers so; a photo under ``/200/``, of which ``/200/signed`` tells nothing."""

    def do_GET(self) -> None:
        code = int(self.path.split("/")[1])
        self.send_response(code)
        if code == 302:
            self.send_header("Location", "/200/there.jpg")
        if "chunked" in self.path:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", "500" if "broken" in self.path else "5")
        self.send_header("ETag", '"five"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(b"5\r\nphoto" if "chunked" in self.path else b"photo")

    def do_HEAD(self) -> None:
        if "signed" in self.path:
            self.path = "/403/"
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Nobody asks."""


@contextmanager
def web() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_photos_of_the_web() -> None:
    """Are read where they lie or were moved to; what is wrong is told, and what will pass."""
    with web() as host:
        assert storage.read(f"{host}/200/a b é.jpg?x=1") == b"photo"
        assert storage.read(f"{host}/302/a.jpg") == b"photo"
        assert storage.signature(f"{host}/200/a.jpg") == "5-five"
        assert storage.signature(f"{host}/200/signed.jpg") == "0-", "not told, and no error"
        for code, reason in (
            (404, "does not exist"),
            (403, "no permission"),
            (418, "HTTP Error 418"),
        ):
            with pytest.raises(InputError, match=reason) as caught:
                storage.read(f"{host}/{code}/a.jpg?secret")
            assert "secret" not in str(caught.value)
        for code in (429, 503):
            with pytest.raises(CapacityError, match="cannot be read now"):
                storage.read(f"{host}/{code}/a.jpg")
        with pytest.raises(InputError, match="the web has no folders"):
            list(storage.walk(host))
        with pytest.raises(InputError, match="results cannot go to http://"):
            storage.write(f"{host}/200/a.png", b"x")
    with pytest.raises(CapacityError, match="Connection refused"):
        storage.read(f"{host}/200/a.jpg")


def test_a_photo_that_broke_off_is_no_photo() -> None:
    """However its length was to be known: it is for another try, and not for the decoder."""
    with web() as host:
        for name in ("broken", "chunked"):
            with pytest.raises(CapacityError, match="cannot be read now") as caught:
                storage.read(f"{host}/200/{name}.jpg")
            assert verdict(caught.value, RUN) is Verdict.AGAIN


def test_an_object_is_no_folder() -> None:
    """A folder that is named like a photo is told from one."""
    storage.write("memory://in/a.jpg/b.jpg", b"x")
    with pytest.raises(InputError, match="end its name with a /") as caught:
        storage.entry("memory://in/a.jpg")
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EISDIR
