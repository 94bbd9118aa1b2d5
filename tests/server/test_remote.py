"""Fetching a photo by URL: only from public addresses, and never more, longer or elsewhere."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portrayer.errors import CapacityError, DeadlineExceeded, InputError, OutputError
from portrayer.server import remote
from portrayer.server.refusal import InvalidRequest, UploadTooLarge
from portrayer.server.remote import Address, fetch, public

PHOTO = bytes(range(256)) * 40
SECONDS = 20.0
SOON = 0.3  # seconds that stand for a deadline

Answer = Callable[[BaseHTTPRequestHandler], None]


def here(address: Address) -> bool:
    """The permission of these tests: this machine."""
    return address.is_loopback


def get(
    url: str,
    path: Path,
    *,
    most: int = len(PHOTO),
    seconds: float = SECONDS,
    allowed: Callable[[Address], bool] = here,
) -> int:
    return asyncio.run(fetch(url, path, most=most, seconds=seconds, allowed=allowed))


def refused(url: str, path: Path, **how: Any) -> str:
    """The line that says why; there is no file."""
    with pytest.raises((InputError, CapacityError)) as caught:
        get(url, path, **how)
    assert not path.exists()
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


class Web:
    """A server on this machine that answers as ``answers`` say. ``asked``: the heads that came."""

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.names: list[str | None] = []
        self.ended = threading.Event()
        self.port = 0

    def url(self, path: str, host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"


@contextmanager
def published(answers: Mapping[str, Answer], secure: ssl.SSLContext | None = None) -> Iterator[Web]:
    web = Web(answers)

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            web.asked.append((self.path, dict(self.headers)))
            with suppress(OSError):
                web.answers[self.path.partition("?")[0]](self)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            pass  # a client that hangs up is what some tests are about

    with Server(("127.0.0.1", 0), Answers) as server:
        web.port = server.server_port
        if secure is not None:
            secure.sni_callback = lambda _, name, __: web.names.append(name)
            server.socket = secure.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield web
        finally:
            web.ended.set()
            server.shutdown()
            thread.join()


def photo(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(PHOTO)))
    request.end_headers()
    request.wfile.write(PHOTO)


def raw(answer: bytes) -> Answer:
    return lambda request: request.wfile.write(answer) and None


def moved(location: str, status: int = 302) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Location", location)
        request.end_headers()

    return answer


def endless(head: bytes, pause: float = 0.0) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(head)
        while True:
            request.wfile.write(b"x" if pause else b"x" * 65536)
            time.sleep(pause)

    return answer


def silent(request: BaseHTTPRequestHandler) -> None:
    request.connection.settimeout(SECONDS)
    request.connection.recv(1)  # until the other side hangs up


def chunked(request: BaseHTTPRequestHandler) -> None:
    request.protocol_version = "HTTP/1.1"
    request.send_response(200)
    request.send_header("Transfer-Encoding", "chunked")
    request.end_headers()
    for start in range(0, len(PHOTO), 1000):
        piece = PHOTO[start : start + 1000]
        request.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
    request.wfile.write(b"0\r\n\r\n")


OK = b"HTTP/1.1 200 OK\r\n"
ANSWERS: dict[str, Answer] = {
    "/photo": photo,
    "/chunked": chunked,
    "/until-closed": raw(b"HTTP/1.0 200 OK\r\n\r\n" + PHOTO),
    "/once": moved("/photo"),
    "/twice": moved("once", 301),
    "/thrice": moved("/twice", 307),
    "/too-often": moved("/thrice", 308),
    "/round": moved("/round"),
    "/see-other": moved("/photo", 303),
    "/inward": moved("http://10.0.0.1/secret"),
    "/metadata": moved("http://169.254.169.254/latest/meta-data/"),
    "/to-a-file": moved("file:///etc/passwd"),
    "/to-gopher": moved("gopher://127.0.0.1/1"),
    "/to-nonsense": moved("http://[/"),
    "/to-a-password": moved("http://user:pass@127.0.0.1/"),
    "/nowhere": raw(b"HTTP/1.1 302 Found\r\n\r\n"),
    "/missing": raw(b"HTTP/1.1 404 <script>\r\n\r\nsecret"),
    "/partial": raw(b"HTTP/1.1 206 Partial\r\nContent-Length: 1\r\n\r\nx"),
    "/packed": raw(OK + b"Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx"),
    "/packed-on-the-way": raw(OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"),
    "/promises-more": raw(OK + b"Content-Length: 999999999999\r\n\r\nx"),
    "/short": raw(OK + b"Content-Length: 100\r\n\r\nx"),
    "/short-chunk": raw(OK + b"Transfer-Encoding: chunked\r\n\r\n64\r\nx"),
    "/bad-chunk": raw(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nx"),
    "/no-http": raw(b"\x00\x01\x02 secret \r\n\r\n"),
    "/nothing": raw(b""),
    "/long-head": raw(OK + b"X: " + b"y" * 200_000 + b"\r\n\r\n"),
    "/many-heads": raw(OK + b"X: y\r\n" * 1000 + b"\r\n"),
    "/endless": endless(OK + b"\r\n"),
    "/endless-chunk": endless(OK + b"Transfer-Encoding: chunked\r\n\r\nffffffffff\r\n"),
    "/slow": endless(OK + b"\r\n", 0.01),
    "/slow-head": endless(OK + b"X: ", 0.01),
    "/silent": silent,
}


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with published(ANSWERS) as running:
        yield running


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "photo"


@pytest.mark.parametrize(
    "at", ["/photo", "/chunked", "/until-closed", "/photo?size=1&name=a%20b", "/photo#part"]
)
def test_a_photo_is_fetched(web: Web, path: Path, at: str) -> None:
    """Whole, however it is sent."""
    assert get(web.url(at), path) == len(PHOTO)
    assert path.read_bytes() == PHOTO


def test_nothing_is_told_of_who_asks(web: Web, path: Path) -> None:
    """One plain question: no cookies, no credentials, nothing compressed, nothing kept open."""
    get(web.url("/photo?a=b"), path)
    asked, fields = web.asked[-1]
    assert asked == "/photo?a=b"
    assert fields == {
        "Host": f"127.0.0.1:{web.port}",
        "User-Agent": "portrayer",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }


@pytest.mark.parametrize("at", ["/once", "/twice", "/thrice", "/see-other"])
def test_three_redirects_are_followed(web: Web, path: Path, at: str) -> None:
    """Absolute and relative, of every kind."""
    assert get(web.url(at), path) == len(PHOTO)


WRONG = [
    ("/too-often", InvalidRequest, "more than 3 times"),
    ("/round", InvalidRequest, "more than 3 times"),
    ("/inward", InvalidRequest, "not a public one"),
    ("/metadata", InvalidRequest, "not a public one"),
    ("/to-a-file", InvalidRequest, "only URLs of http and https"),
    ("/to-gopher", InvalidRequest, "only URLs of http and https"),
    ("/to-nonsense", InvalidRequest, "cannot be read"),
    ("/to-a-password", InvalidRequest, "password"),
    ("/nowhere", InvalidRequest, "answered 302"),
    ("/missing", InvalidRequest, "answered 404"),
    ("/partial", InvalidRequest, "answered 206"),
    ("/packed", InvalidRequest, "packed"),
    ("/packed-on-the-way", InvalidRequest, "packed"),
    ("/promises-more", UploadTooLarge, "more than 10240 bytes"),
    ("/endless", UploadTooLarge, "more than 10240 bytes"),
    ("/endless-chunk", UploadTooLarge, "more than 10240 bytes"),
    ("/short", InvalidRequest, "broke off"),
    ("/short-chunk", InvalidRequest, "broke off"),
    ("/bad-chunk", InvalidRequest, "broke off"),
    ("/no-http", InvalidRequest, "broke off"),
    ("/nothing", InvalidRequest, "broke off"),
    ("/long-head", InvalidRequest, "broke off"),
    ("/many-heads", InvalidRequest, "broke off"),
]


@pytest.mark.parametrize(("at", "error", "said"), WRONG)
def test_an_answer_that_is_no_photo_is_refused(
    web: Web, path: Path, at: str, error: type[InputError], said: str
) -> None:
    """One line without a word of the other server's, and no file."""
    with pytest.raises(error, match=said):
        get(web.url(at), path)
    assert "secret" not in refused(web.url(at), path)


def test_one_byte_too_many(web: Web, path: Path) -> None:
    """What may be is what is said, to the byte."""
    for at in ("/photo", "/chunked", "/until-closed"):
        assert "bytes" in refused(web.url(at), path, most=len(PHOTO) - 1)


@pytest.mark.parametrize("at", ["/slow", "/slow-head", "/silent"])
def test_the_whole_has_one_deadline(web: Web, path: Path, at: str) -> None:
    """A server that answers a byte at a time, or never, is left in time."""
    begun = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        get(web.url(at), path, seconds=SOON)
    assert SOON <= time.monotonic() - begun < SECONDS / 2
    assert not path.exists()


@pytest.mark.parametrize("at", ["/slow", "/slow-head", "/silent"])
def test_who_is_canceled_hangs_up(web: Web, path: Path, at: str) -> None:
    """A caller that leaves does not wait for the other server, and leaves no file."""

    async def main() -> None:
        count = len(web.asked)
        task = asyncio.ensure_future(
            fetch(web.url(at), path, most=10**6, seconds=SECONDS, allowed=here)
        )
        while len(web.asked) == count:
            await asyncio.sleep(0.01)
        task.cancel()
        begun = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - begun < SECONDS / 4

    asyncio.run(main())
    assert not path.exists()


def test_slow_servers_leave_threads_for_others(web: Web, path: Path) -> None:
    """However many photos are asked for by URL, what else blocks finds a thread at once."""

    async def main() -> None:
        count = len(web.asked)
        tasks = [
            asyncio.create_task(
                fetch(
                    web.url("/silent"),
                    path.with_name(str(number)),
                    most=10**6,
                    seconds=SECONDS,
                    allowed=here,
                )
            )
            for number in range(40)
        ]
        while len(web.asked) < count + remote.FETCHES:
            await asyncio.sleep(0.01)
        async with asyncio.timeout(SECONDS / 4):
            await asyncio.to_thread(int)
        assert len(web.asked) == count + remote.FETCHES
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_never_speaks_is_left(path: Path, scheme: str) -> None:
    """Not even to greet: the deadline holds from the first byte on."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        with pytest.raises(DeadlineExceeded):
            get(f"{scheme}://127.0.0.1:{port}/", path, seconds=SOON)
    assert not path.exists()


def test_what_is_there_is_not_written_over(web: Web, path: Path) -> None:
    """The file is a new one, or there is an error and the old one stays."""
    path.write_bytes(b"theirs")
    with pytest.raises(OutputError):
        get(web.url("/photo"), path)
    assert path.read_bytes() == b"theirs"


def test_a_server_that_is_not_there_is_told(path: Path) -> None:
    """A closed port is an answer like any other."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert "cannot be reached" in refused(f"http://127.0.0.1:{port}/", path)


# --- addresses --------------------------------------------------------------------------------

INSIDE = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.255",
    "169.254.169.254",
    "168.63.129.16",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::8.8.8.8",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "2002:a9fe:a9fe::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%2",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "5f00::1",
]
OUTSIDE = ["8.8.8.8", "1.1.1.1", "172.32.0.1", "192.0.1.1", "100.128.0.1", "223.255.255.255"]
OUTSIDE += ["2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"]


def test_what_is_public() -> None:
    """Nothing inside is, in whatever clothes; the rest of the world is."""
    assert [each for each in INSIDE if public(ip_address(each))] == []
    assert [each for each in OUTSIDE if not public(ip_address(each))] == []


@given(st.ip_addresses(v=4))
def test_clothes_change_nothing(address: IPv4Address) -> None:
    """An IPv4 address within an IPv6 one is as public as it is alone."""
    number = int(address)
    wrapped = [0xFFFF << 32 | number, 0x64FF9B << 96 | number, 0x2002 << 112 | number << 80 | 1]
    assert {public(IPv6Address(each)) for each in wrapped} == {public(address)}


@given(st.ip_addresses())
def test_public_is_never_more_than_the_standard_has_it(address: Address) -> None:
    """What Python itself calls private, local or reserved is not public."""
    bare = getattr(address, "ipv4_mapped", None) or address
    if public(address) and bare not in remote.NAT64:
        assert bare.is_global
        assert not any((bare.is_multicast, bare.is_reserved, bare.is_link_local))


HOSTILE = [
    *(f"http://{each}/" for each in INSIDE if ":" not in each),
    *(f"http://[{each}]/" for each in INSIDE if ":" in each),
    "http://localhost/",
    "http://LOCALHOST/",
    "http://localhost./",
    "http://127.0.0.1./",
    "http://127.1/",
    "http://2130706433/",
    "http://017700000001/",
    "http://0x7f000001/",
    "http://0x7f.0.0.1/",
    "http://0/",
    "http://0:80/",
    "https://127.0.0.1:443/",
    "http://[::ffff:7f00:1]:80/",
    "http://[0:0:0:0:0:ffff:127.0.0.1]/",
    "http://a..b/",
    "http://.../",
    "http://" + "a" * 300 + ".example/",
]


@pytest.mark.parametrize("url", HOSTILE)
def test_nothing_inside_is_reached(url: str, path: Path) -> None:
    """All the ways to write an inward address end at the same line, which says nothing of what is
    there; and a name that does not exist at the same.
    """
    if "[fe80::1%2]" in url and not socket.has_ipv6:
        pytest.skip("no IPv6")
    said = refused(url, path, allowed=public)
    assert said == "the URL's server is not known, or not a public one"


UNREAD = [
    "",
    "photo.jpg",
    "//example.com/",
    "http:",
    "http://",
    "http:///photo",
    "http://:80/",
    "http://./",
    "http://example.com:0/",
    "http://example.com:99999/",
    "http://example.com:x/",
    "http://[::1/",
    "http://exa mple.com/",
    "http://example.com/a b",
    "http://example.com/\r\nHost: other",
    "http://example.com/\x00",
    "\thttp://example.com/",
    "http://example.com\\@127.0.0.1/",
    "http://exämple.com/",
    "http://ⓛocalhost/",
    "http://example.com/é",
    "file:///etc/passwd",
    "file://localhost/etc/passwd",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "ftp://example.com/a.jpg",
    "data:image/png;base64,AAAA",
    "jar:http://example.com!/",
    "HTTPX://example.com/",
    "http://user:pass@example.com/",
    "http://user@example.com/",
    "http://@example.com/",
    "http://127.0.0.1@example.com/",
]


@pytest.mark.parametrize("url", UNREAD)
def test_what_is_no_plain_url_is_not_followed(
    url: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other schemes, credentials, and what two readers could read in two ways: no name is asked
    for.
    """

    def asked(*_: Any, **__: Any) -> None:
        raise AssertionError("a name was asked for")

    monkeypatch.setattr(socket, "getaddrinfo", asked)
    refused(url, path, allowed=lambda _: True)


def resolver(
    monkeypatch: pytest.MonkeyPatch, web: Web, *answers: list[str]
) -> list[tuple[str, int]]:
    """A resolver that has other ``answers`` each time; the names it was asked for."""
    asked: list[tuple[str, int]] = []

    def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        found = answers[min(len(asked), len(answers) - 1)]
        asked.append((host, port))
        kinds = [socket.AF_INET6 if ":" in each else socket.AF_INET for each in found]
        return [
            (kind, socket.SOCK_STREAM, 6, "", (each, web.port))
            for kind, each in zip(kinds, found, strict=True)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


def outside(address: Address) -> bool:
    """As if this very address were a public one."""
    return str(address) == "127.0.0.1"


def test_a_name_is_asked_for_once(web: Web, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address that was looked at is the one that is spoken to: a name that changes meanwhile
    gains nothing.
    """
    asked = resolver(monkeypatch, web, ["127.0.0.1"], ["10.0.0.1"])
    assert get("http://photos.example/photo", path, allowed=outside) == len(PHOTO)
    assert asked == [("photos.example", 80)]
    assert web.asked[-1][1]["Host"] == "photos.example"


def test_a_redirect_s_name_is_looked_at_anew(
    web: Web, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same name, turned inward between two steps, is not followed."""
    asked = resolver(monkeypatch, web, ["127.0.0.1"], ["127.0.0.2"])
    count = len(web.asked)
    assert "public" in refused("http://photos.example/once", path, allowed=outside)
    assert asked == [("photos.example", 80)] * 2
    assert len(web.asked) == count + 1


def test_one_inward_address_is_one_too_many(
    web: Web, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is both outside and inside is not spoken to at all."""
    for found in (["127.0.0.1", "10.0.0.1"], ["::1", "127.0.0.1"], ["127.0.0.1", "127.0.0.2"]):
        with monkeypatch.context() as patch:
            resolver(patch, web, found)
            count = len(web.asked)
            assert "public" in refused("http://photos.example/photo", path, allowed=outside)
            assert len(web.asked) == count


def test_the_next_address_is_tried(web: Web, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with an address that does not answer is reached by its other one."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    places = [("127.0.0.1", port), ("127.0.0.1", web.port)]
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in places]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert get("http://photos.example/photo", path) == len(PHOTO)


def test_an_address_of_another_kind_is_passed_over(
    web: Web, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a machine has no IPv6 at all, a name that has both is reached by the other."""
    unknown = 255  # a family that no system has
    place = ("127.0.0.1", web.port)
    found = [(family, socket.SOCK_STREAM, 6, "", place) for family in (unknown, socket.AF_INET)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert get("http://photos.example/photo", path) == len(PHOTO)


# --- encryption -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate, with its key, of ``localhost`` and of nothing else."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    place = tmp_path_factory.mktemp("certificate") / "both.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command = ["openssl", "req", "-x509", *kind, *subject, "-keyout", place, "-out", place]
    made = subprocess.run(command, capture_output=True, check=True, text=True)
    key = place.read_text()
    if "PRIVATE KEY" not in key:  # newer ones write the certificate over it
        raise AssertionError(made.stderr)
    return place


@pytest.fixture(scope="module")
def secure(certificate: Path) -> Iterator[Web]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    answers = dict(ANSWERS)
    with published(answers, context) as running:
        answers["/down"] = moved(running.url("/photo"))
        yield running


def test_encryption_is_of_the_name(
    secure: Web, certificate: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pinned connection still says the name, and asks for the name's own certificate."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert get(secure.url("/photo", "localhost", "https"), path) == len(PHOTO)
    assert secure.names[-1] == "localhost"
    path.unlink()
    resolver(monkeypatch, secure, ["127.0.0.1"])
    said = refused(secure.url("/photo", "photos.example", "https"), path)
    assert said == "the URL's server has no valid certificate"
    assert secure.names[-1] == "photos.example"


def test_a_certificate_that_nobody_vouches_for_is_refused(secure: Web, path: Path) -> None:
    """Nothing is sent to a server that is not who it says."""
    count = len(secure.asked)
    said = refused(secure.url("/photo", "localhost", "https"), path)
    assert said == "the URL's server has no valid certificate"
    assert len(secure.asked) == count


def test_no_redirect_leads_out_of_encryption(
    secure: Web, certificate: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From https to http is a way down."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    said = refused(secure.url("/down", "localhost", "https"), path)
    assert "not encrypted" in said


def test_a_server_that_speaks_no_tls_is_told(web: Web, path: Path) -> None:
    """And so is one that only begins to."""
    assert "broke off" in refused(web.url("/photo", scheme="https"), path)
