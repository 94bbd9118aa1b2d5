"""A connection that keeps the server waiting is closed, over a real server on a real port."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from portrayer.server.patience import Patience
from portrayer.server.protocol import Protocol

HEAD = 0.2  # seconds that stand for ten
REST = 1.0
MOST = 10.0  # seconds after which a test gives up
ENDLESS = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 100
GET = b"GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Quick(Protocol):
    head = HEAD
    rest = REST


class Restful(Protocol):
    head = HEAD


class Site:
    """What is served. ``left``: set when a route that never ends was let go."""

    def __init__(self) -> None:
        self.left = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await getattr(self, scope["path"].strip("/") or "fine")(scope, receive, send)

    async def fine(self, scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("fine")(scope, receive, send)

    async def read(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await Request(scope, receive).body()
        except ClientDisconnect:
            self.left.set()
            raise
        await PlainTextResponse(str(len(body)))(scope, receive, send)

    async def slow(self, scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(2 * HEAD)
        await PlainTextResponse("slow")(scope, receive, send)

    async def large(self, scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(b"x" * 2**25)(scope, receive, send)

    async def little(self, scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(b"x" * 60_000)(scope, receive, send)

    async def endless(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"x" * 2**16
                    await asyncio.sleep(0)
            finally:
                self.left.set()

        await StreamingResponse(chunks())(scope, receive, send)


@contextmanager
def serving(app: ASGIApp, protocol: type[Protocol] = Quick) -> Iterator[uvicorn.Server]:
    """``app`` on a free port; its ``connections`` can be looked at."""
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        timeout_graceful_shutdown=1,
        timeout_keep_alive=2,
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**14)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        server.port = listening.getsockname()[1]  # type: ignore[attr-defined]
        try:
            until(lambda: server.started)
            yield server
        finally:
            server.should_exit = True
            thread.join(MOST)
            assert not thread.is_alive()


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + MOST
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module")
def site() -> Site:
    return Site()


@pytest.fixture(scope="module")
def server(site: Site) -> Iterator[uvicorn.Server]:
    with serving(site) as running:
        yield running


@contextmanager
def connected(server: uvicorn.Server, room: int = 0) -> Iterator[socket.socket]:
    """A client that speaks as it likes. ``room``: bytes that it has for answers."""
    with socket.socket() as client:
        if room:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        client.settimeout(MOST)
        client.connect(("127.0.0.1", server.port))  # type: ignore[attr-defined]
        yield client


def closed(client: socket.socket) -> float:
    """The seconds until the server has closed; what still comes is let pass."""
    begun = time.monotonic()
    with suppress(ConnectionError):
        while client.recv(2**16):
            pass
    return time.monotonic() - begun


def answered(client: socket.socket) -> tuple[int, bytes]:
    answer = http.client.HTTPResponse(client)
    answer.begin()
    return answer.status, answer.read()


BEGINNINGS = [b"", b"G", b"GET / HTTP/1.1", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: y\r\n"]


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_a_head_that_does_not_end_is_waited_for_no_longer(
    server: uvicorn.Server, beginning: bytes
) -> None:
    """A client that connects and says nothing, or not all, is closed in its time and not before."""
    with connected(server) as client:
        client.sendall(beginning)
        assert HEAD / 2 < closed(client) < MOST / 2
    until(lambda: not server.server_state.connections)


def trickle(client: socket.socket, content: bytes) -> bool:
    """Whether the server closed while ``content`` came byte by byte."""
    with suppress(ConnectionError):
        for byte in content:
            client.sendall(bytes([byte]))
            time.sleep(HEAD / 10)
        return False
    return True


def test_a_head_that_trickles_gets_no_more_time(server: uvicorn.Server) -> None:
    """A byte now and then does not begin the time anew."""
    with connected(server) as client:
        assert trickle(client, ENDLESS)
    until(lambda: not server.server_state.connections)


def test_a_later_head_gets_no_more_time(site: Site) -> None:
    """However long a connection may rest, a head that was begun must end."""
    with serving(site, Restful) as server, connected(server) as client:
        client.sendall(GET % b"")
        assert answered(client) == (200, b"fine")
        assert trickle(client, ENDLESS)


def test_a_connection_may_rest_between_requests(server: uvicorn.Server) -> None:
    """Kept alive, a client may wait longer than a head may take."""
    with connected(server) as client:
        client.sendall(GET % b"")
        assert answered(client) == (200, b"fine")
        time.sleep(1.5 * HEAD)
        client.sendall(GET % b"")
        assert answered(client) == (200, b"fine")


def test_two_requests_at_once_are_answered(server: uvicorn.Server) -> None:
    """What comes while an answer is given is not a head that is late."""
    with connected(server) as client:
        client.sendall(GET % b"slow" + GET % b"slow")
        assert answered(client) == (200, b"slow")
        assert answered(client) == (200, b"slow")


def test_an_answer_may_take_its_time(server: uvicorn.Server) -> None:
    """A route that works longer than a head may take is not disturbed; nor is a body on its way."""
    with connected(server) as client:
        client.sendall(GET % b"slow")
        assert answered(client) == (200, b"slow")
        client.sendall(b"POST /read HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\n")
        for byte in b"abcdef":
            time.sleep(HEAD / 3)
            client.sendall(bytes([byte]))
        assert answered(client) == (200, b"6")


def test_a_body_that_nobody_reads_is_not_waited_for(server: uvicorn.Server) -> None:
    """An upload that was refused at once gets its answer; what else it sends, and how slowly, does
    not keep the connection.
    """
    with connected(server) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999\r\n\r\nab")
        assert answered(client) == (200, b"fine")
        assert trickle(client, b"x" * 200)
    until(lambda: not server.server_state.connections)


def test_a_refused_upload_that_ends_in_time_is_followed_by_others(server: uvicorn.Server) -> None:
    """The rest of an unread body is read past, and the connection goes on."""
    with connected(server) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 300000\r\n\r\n")
        assert answered(client) == (200, b"fine")
        client.sendall(b"x" * 300_000 + GET % b"slow")
        assert answered(client) == (200, b"slow")


@pytest.mark.parametrize("path", [b"endless", b"large", b"little"])
def test_an_answer_that_nobody_takes_ends(site: Site, server: uvicorn.Server, path: bytes) -> None:
    """A client that does not read is closed, also when only the last of its answer is left; and
    the route is let go.
    """
    site.left.clear()
    with connected(server, room=2**12) as client:
        client.sendall(GET % path)
        client.recv(10)
        until(lambda: not server.server_state.connections)
        until(lambda: not server.server_state.tasks)
    assert site.left.is_set() == (path == b"endless")


def test_an_answer_that_is_taken_slowly_is_given_whole(site: Site) -> None:
    """A large one in the pieces that Patience makes of it: for longer than a client may rest, as
    long as it goes on taking.
    """
    with serving(Patience(site, send=REST)) as server, connected(server, room=2**16) as client:
        client.sendall(GET % b"large")
        begun, count = time.monotonic(), 0
        while count < 2**25 and (block := client.recv(2**18)):
            count += len(block)
            if time.monotonic() - begun < 1.5 * REST:
                time.sleep(0.01)
        assert count >= 2**25


def test_noise_is_refused(server: uvicorn.Server) -> None:
    """What is no HTTP gets its 400 and is closed."""
    with connected(server) as client:
        client.sendall(b"\x16\x03\x01\x02\x00 hello\r\n\r\n")
        assert answered(client)[0] == 400
        assert closed(client) < MOST / 2


def test_patience_and_protocol_together() -> None:
    """Over a real connection: the route hears of a client that stops, in both directions, before
    the connection is cut; 408 reaches the client, which is then closed.
    """
    site = Site()
    with serving(Patience(site, idle=HEAD, send=HEAD)) as server:
        with connected(server) as client:
            client.sendall(b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
            status, body = answered(client)
            assert (status, b"too-slow" in body) == (408, True)
            assert closed(client) < MOST / 2
        with connected(server, room=2**12) as client:
            client.sendall(GET % b"endless")
            assert client.recv(10) == b"HTTP/1.1 2"
            assert site.left.wait(MOST)
            until(lambda: not server.server_state.connections)


def test_a_server_s_own_times_are_generous() -> None:
    """What is closed is never a client on a slow line: the route is told first."""
    assert Protocol.head == 10
    assert Protocol.rest > Patience(Site()).seconds
