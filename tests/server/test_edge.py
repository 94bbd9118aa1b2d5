"""What stands around the app: slow clients are cut, strangers stay out, every answer is marked."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from portrayer.errors import PortrayerError, QueueFull
from portrayer.server import edge, refusal
from portrayer.server.edge import LINGER, PIECE, Guard, Headers, Patience, Traced, _Pace
from portrayer.server.logs import REQUEST
from portrayer.server.refusal import TooSlow

SOON = 0.05  # seconds that stand for the many a real client is given
TOKEN = "a secret é"
Fields = Mapping[str, str | bytes]


@dataclass
class Client:
    """One exchange. ``chunks``: its body, None for silence; then it listens until it is let go."""

    chunks: Iterable[bytes | None] = ()
    takes: int = 1 << 40  # bytes of the answer that it takes
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    started: Message | None = None
    body: bytearray = field(default_factory=bytearray)
    pieces: list[int] = field(default_factory=list)
    whole: bool = False
    whole_request: bool = False

    async def ask(
        self, app: ASGIApp, path: str = "/", method: str = "POST", fields: Fields | None = None
    ) -> Client:
        sent = {"Transfer-Encoding": "chunked"} if self.chunks else {}
        said = {"Host": "localhost:80", **sent, **(fields or {})}
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "scheme": "http",
            "headers": [
                (name.lower().encode(), value if isinstance(value, bytes) else value.encode())
                for name, value in said.items()
            ],
        }
        left = iter(self.chunks)

        async def receive() -> Message:
            for chunk in left:
                if chunk is None:
                    await asyncio.Event().wait()
                await asyncio.sleep(0)
                return {"type": "http.request", "body": chunk, "more_body": True}
            if not self.whole_request:
                self.whole_request = True
                return {"type": "http.request", "body": b"", "more_body": False}
            await self.gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                assert self.started is None
                self.started = message
                return
            content = message.get("body", b"")
            if len(self.body) + len(content) > self.takes:
                await asyncio.Event().wait()
            self.pieces.append(len(content))
            self.body += content
            self.whole = not message.get("more_body", False)

        await app(scope, receive, send)
        return self

    @property
    def status(self) -> int:
        assert self.started is not None
        return int(self.started["status"])

    @property
    def fields(self) -> dict[str, str]:
        assert self.started is not None
        return {name.decode(): value.decode() for name, value in self.started["headers"]}

    @property
    def error(self) -> dict[str, str]:
        [error] = json.loads(self.body)["errors"]
        assert set(error) == {"title", "code", "detail"}
        return dict(error)


def ask(app: ASGIApp, *chunks: bytes | None, **how: Any) -> Client:
    async def main() -> Client:
        return await Client(chunks).ask(app, **how)

    return asyncio.run(main())


async def fine(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the whole body and says how long it was."""
    count = 0
    async for chunk in Request(scope, receive).stream():
        count += len(chunk)
    await PlainTextResponse(str(count))(scope, receive, send)


# --- patience ---------------------------------------------------------------------------------


def test_a_body_that_comes_is_passed_on() -> None:
    """Patience changes nothing for a client that keeps going."""
    client = ask(Patience(fine), b"a" * 1000, b"b" * 24)
    assert (client.status, client.body) == (200, b"1024")


@pytest.mark.parametrize("chunks", [[None], [b"abc", None]])
def test_silence_is_cut(chunks: list[bytes | None]) -> None:
    """A client that sends no more is told so with 408, and is to go."""
    client = ask(Patience(fine, idle=SOON), *chunks)
    assert (client.status, client.error["code"]) == (408, TooSlow.code)
    assert client.whole


def test_a_trickle_is_cut() -> None:
    """A byte now and then is never silent, and yet too slow."""

    async def main() -> Client:
        async def trickle(scope: Scope, receive: Receive, send: Send) -> None:
            async def slowly() -> Message:
                await asyncio.sleep(SOON / 5)
                return {"type": "http.request", "body": b"x", "more_body": True}

            await Patience(fine, idle=60, floor=1024, span=2 * SOON)(scope, slowly, send)

        return await Client([b""]).ask(trickle)

    assert asyncio.run(main()).status == 408


steps = st.tuples(st.integers(0, 80).map(lambda quarters: quarters / 4), st.integers(0, 60_000))


@given(st.lists(steps, max_size=12))
def test_only_the_last_waits_count(waits: list[tuple[float, int]]) -> None:
    """The verdict is over a run of last waits that is a window long, and hardly longer: a burst
    long ago buys nobody a place.
    """
    pace = _Pace(1024, 30)
    for end in range(1, len(waits) + 1):
        held = pace.holds(*waits[end - 1])
        longest = 30 + 1 + max(seconds for seconds, _ in waits[:end])
        verdicts = set()
        for start in range(end):
            seconds = sum(each for each, _ in waits[start:end])
            if 30 <= seconds <= longest:
                verdicts.add(sum(count for _, count in waits[start:end]) >= 1024 * seconds)
        assert held in (verdicts or {True})


@pytest.mark.parametrize("begun", [False, True])
def test_the_route_hears_of_it(begun: bool) -> None:
    """What a route holds is let go: the error is raised where it reads."""
    heard = []

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            await fine(scope, receive, send)
        except TooSlow as error:
            heard.append(error)
            raise

    client = ask(Patience(route, idle=SOON), b"x", None)
    assert len(heard) == 1
    assert client.status == (200 if begun else 408)
    assert client.whole is not begun  # an answer that was begun is left unfinished


def test_an_answer_of_the_route_s_own_closes_the_connection() -> None:
    """The app's table of errors answers as usual; the connection is not to be used again."""

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await fine(scope, receive, send)
        except TooSlow as error:
            await JSONResponse(refusal.body(error), 408)(scope, receive, send)

    client = ask(Patience(route, idle=SOON), None)
    assert (client.status, client.fields["connection"]) == (408, "close")


def test_who_listens_may_be_silent() -> None:
    """Once the body is whole nobody is cut for sending nothing: events may be far apart."""

    async def main() -> Client:
        client = Client([b"x"])

        async def events(scope: Scope, receive: Receive, send: Send) -> None:
            async for _ in Request(scope, receive).stream():
                pass

            async def lines() -> AsyncIterator[bytes]:
                for _ in range(3):
                    await asyncio.sleep(2 * SOON)
                    yield b"data\n"

            await StreamingResponse(lines())(scope, receive, send)

        return await client.ask(Patience(events, idle=SOON, floor=10**9, span=SOON))

    client = asyncio.run(main())
    assert (client.body, client.whole) == (b"data\n" * 3, True)


async def early(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers without a look at the body."""
    await PlainTextResponse("no" * PIECE)(scope, receive, send)


def test_an_early_answer_takes_some_of_the_body() -> None:
    """A client that sends a body nobody reads gets its whole answer while it is still listened to,
    and is then to go: an endless one soon.
    """
    taken: list[int] = []

    def endless() -> Iterator[bytes]:
        while True:
            taken.append(2**20)
            yield bytes(2**20)

    for chunks, most in (([b"x"] * 3, 0), (endless(), 2 * LINGER)):
        client = asyncio.run(Client(chunks).ask(Patience(early)))
        assert (client.status, client.fields["connection"]) == (200, "close")
        assert (client.body, client.whole) == (b"no" * PIECE, True)
        assert sum(taken) <= most


def test_an_early_answer_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does one that promised a body and sends none keep the server."""
    monkeypatch.setattr(edge, "LINGERING", SOON)
    client = ask(Patience(early), None)
    assert (client.status, client.whole) == (200, True)


def test_an_answer_in_time_leaves_the_connection() -> None:
    """After a body that was read, or where there is none, more requests may come."""
    assert "connection" not in ask(Patience(fine), b"x").fields
    assert "connection" not in ask(Patience(early)).fields


def answering(content: bytes, release: Callable[[], object] = lambda: None) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield content
            finally:
                release()

        await StreamingResponse(chunks())(scope, receive, send)

    return app


def test_who_takes_nothing_is_cut() -> None:
    """A client that stops taking ends the route, which lets go of all that it holds."""

    async def main() -> Client:
        client, released = Client(takes=3 * PIECE), asyncio.Event()
        await client.ask(Patience(answering(b"x" * 1000, released.set), send=SOON))
        async with asyncio.timeout(10):  # at once, and not when memory happens to be tidied
            await released.wait()
        return client

    client = asyncio.run(main())
    assert (client.status, client.whole) == (200, False)


def test_a_cut_is_no_bug(caplog: pytest.LogCaptureFixture) -> None:
    """A slow client costs a line of the log and no traceback, through the framework's layers."""
    app = FastAPI()

    @app.get("/big")
    async def big() -> StreamingResponse:
        async def chunks() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * PIECE

        return StreamingResponse(chunks())

    async def told(_: Request, error: Exception) -> JSONResponse:
        raise AssertionError("the answer had begun")

    app.add_exception_handler(PortrayerError, told)
    app.add_middleware(Patience, send=SOON)
    app.add_middleware(Traced, observe=lambda *_: None)
    with caplog.at_level(logging.INFO):
        asyncio.run(Client(takes=PIECE).ask(app, "/big", "GET"))
    [record] = [record for record in caplog.records if record.name.startswith("portrayer")]
    assert (record.levelname, record.exc_info) == ("INFO", None)


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 3 * PIECE + 5])
def test_an_answer_is_given_in_pieces(size: int) -> None:
    """A large answer is one that a client may take slowly: its time is for each piece."""
    content = bytes(range(256)) * (size // 256 + 1)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(content[:size])(scope, receive, send)

    client = ask(Patience(app))
    assert (client.body, client.whole) == (content[:size], True)
    assert max(client.pieces) <= PIECE


def test_no_answer_keeps_the_loop() -> None:
    """Others get their turns while a client takes all that comes, or has gone and takes none."""

    async def main() -> int:
        turns = 0

        async def turning() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(turning())

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            async def chunks() -> AsyncIterator[bytes]:
                for _ in range(100):
                    yield b"x"

            await StreamingResponse(chunks())(scope, receive, send)

        await Client().ask(Patience(app))
        beside.cancel()
        return turns

    assert asyncio.run(main()) >= 100


def test_errors_of_others_pass() -> None:
    """What is not about patience is not answered by it."""

    async def broken(*_: Any) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        ask(Patience(broken))


# --- guard ------------------------------------------------------------------------------------

SAME = {"Host": "photos.example:7860", "Origin": "http://photos.example:7860"}
GUARDED: list[tuple[dict[str, Any], dict[str, Any], int]] = [
    # without a token: by the names of this machine alone
    ({}, {"fields": {"Host": "127.0.0.1:7860"}}, 200),
    ({}, {"fields": {"Host": "localhost"}}, 200),
    ({}, {"fields": {"Host": "LOCALHOST:1"}}, 200),
    ({}, {"fields": {"Host": "[::1]:7860"}}, 200),
    ({}, {"fields": {"Host": "evil.example:7860"}}, 403),
    ({}, {"fields": {"Host": "localhost.evil.example"}}, 403),
    ({}, {"fields": {"Host": "127.0.0.1.evil.example"}}, 403),
    ({}, {"fields": {"Host": ""}}, 403),
    ({}, {"fields": {"Host": "192.168.1.2"}}, 403),
    ({}, {"fields": {"Host": "evil.example"}, "method": "GET"}, 403),
    ({"hosts": ["photos.example"]}, {"fields": {"Host": "photos.example:7860"}}, 200),
    ({"hosts": ["Photos.example:7860"]}, {"fields": {"Host": "photos.EXAMPLE"}}, 200),
    ({"hosts": ["photos.example"]}, {"fields": {"Host": "other.example"}}, 403),
    ({"hosts": ["fe80::2"]}, {"fields": {"Host": "[fe80::2]:80"}}, 200),
    # with one: by whatever name
    ({"token": TOKEN}, {"fields": {"X-Api-Key": TOKEN, "Host": "any.example"}}, 200),
    ({"token": TOKEN}, {"fields": {"Authorization": f"Bearer {TOKEN}"}}, 200),
    ({"token": TOKEN}, {"fields": {"Authorization": f"bearer {TOKEN}"}}, 200),
    ({"token": TOKEN}, {"fields": {"X-Api-Key": "x", "Authorization": f"Bearer {TOKEN}"}}, 200),
    ({"token": TOKEN}, {}, 401),
    ({"token": TOKEN}, {"fields": {"X-Api-Key": ""}}, 401),
    ({"token": TOKEN}, {"fields": {"X-Api-Key": TOKEN[:-1]}}, 401),
    ({"token": TOKEN}, {"fields": {"X-Api-Key": TOKEN + " "}}, 401),
    ({"token": TOKEN}, {"fields": {"X-Api-Key": b"\xff\x00"}}, 401),
    ({"token": TOKEN}, {"fields": {"Authorization": TOKEN}}, 401),
    ({"token": TOKEN}, {"fields": {"Authorization": f"Basic {TOKEN}"}}, 401),
    ({"token": TOKEN}, {"path": "/v1/jobs", "method": "GET"}, 401),
    ({"token": TOKEN}, {"path": "/v1.0/removebg"}, 403),
    ({"token": TOKEN}, {"path": "/v1.0/removebg", "fields": {"X-Api-Key": TOKEN}}, 200),
    # what is for everyone
    ({"token": TOKEN}, {"path": "/healthz"}, 200),
    ({"token": TOKEN}, {"path": "/readyz"}, 200),
    ({"token": TOKEN}, {"path": "/healthz/../v1/jobs"}, 200),  # no route: the app knows no dots
    ({"token": TOKEN}, {"path": "/healthzz"}, 401),
    ({"token": TOKEN}, {"path": "//healthz"}, 401),
    ({"token": TOKEN, "open": ["/docs", "/static"]}, {"path": "/docs"}, 200),
    ({"token": TOKEN, "open": ["/docs", "/static"]}, {"path": "/static/docs.js"}, 200),
    ({"token": TOKEN, "open": ["/docs", "/static"]}, {"path": "/statics"}, 401),
    ({"token": TOKEN, "open": ["/docs", "/static"]}, {"path": "/"}, 401),
    # pages of other sites
    ({"hosts": ["photos.example"]}, {"fields": SAME}, 200),
    ({}, {"fields": {"Origin": "http://localhost:80"}}, 200),
    ({}, {"fields": {"Origin": "http://localhost:3000"}}, 403),
    ({}, {"fields": {"Origin": "https://evil.example"}}, 403),
    ({}, {"fields": {"Origin": "null"}}, 403),
    ({}, {"fields": {"Origin": ""}}, 403),
    ({}, {"fields": {"Origin": "https://evil.example"}, "method": "GET"}, 200),
    ({}, {"fields": {"Origin": "https://evil.example"}, "method": "HEAD"}, 200),
    ({}, {"fields": {"Origin": "https://evil.example"}, "method": "DELETE"}, 403),
    ({}, {"fields": {"Origin": "https://evil.example"}, "method": "OPTIONS"}, 403),
    ({}, {"fields": {"Sec-Fetch-Site": "cross-site"}}, 403),
    ({}, {"fields": {"Sec-Fetch-Site": "cross-site"}, "method": "GET"}, 200),
    ({}, {"fields": {"Sec-Fetch-Site": "same-origin"}}, 200),
    ({}, {"fields": {"Sec-Fetch-Site": "none"}}, 200),
    ({"hosts": ["127.0.0.1"]}, {"fields": {"Origin": "http://127.0.0.1:3000"}}, 403),
    ({"hosts": ["photos.example"]}, {"fields": {"Origin": "https://photos.example"}}, 200),
    ({"token": TOKEN}, {"fields": {"X-Api-Key": TOKEN, "Origin": "https://evil.example"}}, 403),
]


@pytest.mark.parametrize(("how", "request_", "status"), GUARDED)
def test_who_may_come_in(how: dict[str, Any], request_: dict[str, Any], status: int) -> None:
    """By the token, else by the name that was called; and never from a page of another site."""
    client = ask(Guard(fine, **how), **request_)
    assert client.status == status
    if status != 200:
        assert client.error["title"]
    assert ("www-authenticate" in client.fields) == (status == 401)


def test_the_app_never_sees_who_stays_out() -> None:
    """Nothing is read, nothing is run."""

    async def app(*_: Any) -> None:
        raise AssertionError("the app was reached")

    assert ask(Guard(app, token=TOKEN), None).status == 401


# --- headers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/docs", "/v1/jobs", "/v1.0/removebg"])
def test_every_answer_is_guarded_against_its_reader_s_browser(path: str) -> None:
    """No sniffing, no framing, no foreign script, nothing shared; no cache of what is private."""
    client = ask(Headers(fine), path=path)
    said, same = client.fields, "same-origin"
    assert said["x-content-type-options"] == "nosniff"
    assert said["referrer-policy"] == "no-referrer"
    assert said["cross-origin-resource-policy"] == said["cross-origin-opener-policy"] == same
    policy = dict(each.strip().split(" ", 1) for each in said["content-security-policy"].split(";"))
    assert policy == {
        "default-src": "'self'",
        "img-src": "'self' blob: data:",
        "style-src": "'self'",
        "frame-ancestors": "'none'",
        "object-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'self'",
    }
    assert "camera=()" in said["permissions-policy"]
    assert ("cache-control" in said) == path.startswith("/v1")
    assert not [name for name in said if name.startswith("access-control")]


def test_what_a_route_has_set_stays() -> None:
    """A thumbnail may be kept, if its route says so."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        answer = PlainTextResponse("x", headers={"Cache-Control": "private, max-age=60"})
        await answer(scope, receive, send)

    client = ask(Headers(app), path="/v1/items/1/thumbnail")
    assert client.fields["cache-control"] == "private, max-age=60"
    assert client.started is not None
    assert [name for name, _ in client.started["headers"]].count(b"cache-control") == 1


# --- traces -----------------------------------------------------------------------------------

Seen = list[tuple[str, str, int]]


def traced(app: ASGIApp, seen: Seen) -> Traced:
    def observe(route: str, method: str, code: int, seconds: float) -> None:
        assert 0 <= seconds < 60
        seen.append((route, method, code))

    return Traced(app, observe)


@pytest.mark.parametrize("said", ["abc", "A-1_b.2", "x" * 64])
def test_a_plain_id_is_the_client_s(said: str) -> None:
    """The route finds the id where the logs look for it, and the client gets it back."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(REQUEST.get())(scope, receive, send)

    client = ask(traced(app, []), fields={"X-Request-Id": said})
    assert client.body.decode() == client.fields["x-request-id"] == said


@pytest.mark.parametrize("said", ["", "x" * 65, "a b", "a\r\nX: y", b"\xff", "a/b", 'a"b', "ab\n"])
def test_any_other_id_is_replaced(said: str | bytes) -> None:
    """A new one for each request: nothing of a client's gets into a header or a log."""
    asked = [ask(traced(fine, []), fields={"X-Request-Id": said}) for _ in range(2)]
    ids = {client.fields["x-request-id"] for client in asked}
    assert len(ids - {str(said)}) == 2
    assert all(id.isalnum() for id in ids)


def application() -> FastAPI:
    app, router = FastAPI(), APIRouter(prefix="/v1")

    @router.get("/items/{item}")
    async def item(item: int) -> int:
        return item

    @router.get("/broken")
    async def broken() -> None:
        raise LookupError("a secret of the server's")

    @router.get("/full")
    async def full() -> None:
        raise QueueFull("32 photos wait")

    @router.get("/late")
    async def late() -> StreamingResponse:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"x"
            raise LookupError("a secret of the server's")

        return StreamingResponse(chunks())

    @router.post("/upload")
    async def upload() -> None:
        raise ClientDisconnect

    app.include_router(router)
    return app


ASKED = [
    ("GET", "/v1/items/7", ("/v1/items/{item}", "GET", 200)),
    ("GET", "/v1/items/8", ("/v1/items/{item}", "GET", 200)),
    ("GET", "/v1/items/x", ("/v1/items/{item}", "GET", 422)),
    ("POST", "/v1/items/7", ("/v1/items/{item}", "POST", 405)),
    ("GET", "/nowhere/7", ("unmatched", "GET", 404)),
    ("BREW", "/nowhere/7", ("unmatched", "other", 404)),
    ("GET", "/v1/broken", ("/v1/broken", "GET", 500)),
    ("GET", "/v1/full", ("/v1/full", "GET", 429)),
    ("GET", "/v1/late", ("/v1/late", "GET", 200)),
    ("POST", "/v1/upload", ("/v1/upload", "POST", 499)),
]


@pytest.mark.parametrize(("method", "path", "wanted"), ASKED)
def test_every_request_is_counted_once(
    method: str, path: str, wanted: tuple[str, str, int]
) -> None:
    """By its route's template: what clients make up does not grow the metrics."""
    seen: Seen = []
    app = application()
    app.add_middleware(Traced, observe=traced(fine, seen).observe)
    ask(app, method=method, path=path)
    assert seen == [wanted]


@pytest.mark.parametrize("path", ["/v1/broken", "/v1/late"])
def test_a_bug_is_logged_whole_and_told_as_such(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has all of it under the request's id; the client has the id and nothing else."""
    app = application()
    app.add_middleware(Traced, observe=lambda *_: None)
    client = ask(app, method="GET", path=path, fields={"X-Request-Id": "abc"})
    [record] = [record for record in caplog.records if record.name == "portrayer.server.edge"]
    assert record.exc_info is not None
    assert "a secret of the server's" in caplog.text
    assert client.fields["x-request-id"] == "abc"
    if path == "/v1/late":
        assert (client.status, client.body, client.whole) == (200, b"x", False)
    else:
        assert client.status == 500
        assert client.error == {
            "title": "internal error",
            "code": "internal",
            "detail": "request abc",
        }


def test_an_error_that_nobody_told_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """What the app's table missed is answered from the same table, and is no bug."""
    app = application()
    app.add_middleware(Traced, observe=lambda *_: None)
    client = ask(app, method="GET", path="/v1/full")
    assert (client.status, client.error["code"]) == (429, QueueFull.code)
    assert "retry-after" in client.fields
    assert not caplog.records


def test_a_server_that_stops_is_counted() -> None:
    """A request that is canceled with the server leaves as it should."""
    seen: Seen = []

    async def main() -> None:
        reached = asyncio.Event()

        async def waiting(*_: Any) -> None:
            reached.set()
            await asyncio.Event().wait()

        task = asyncio.ensure_future(Client().ask(traced(waiting, seen)))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert seen == [("unmatched", "POST", 499)]


LAYERS: list[Callable[[ASGIApp], Callable[[Scope, Receive, Send], Awaitable[None]]]] = [
    Patience,
    lambda app: Guard(app, token=TOKEN),
    Headers,
    lambda app: traced(app, []),
]


@pytest.mark.parametrize("layer", LAYERS)
def test_the_start_and_the_end_of_the_server_pass(
    layer: Callable[[ASGIApp], Callable[[Scope, Receive, Send], Awaitable[None]]],
) -> None:
    """What is not a request is none of their business."""
    reached = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        reached.append(scope["type"])

    async def nothing(*_: Any) -> Any:
        raise AssertionError

    asyncio.run(_done(layer(app)({"type": "lifespan"}, nothing, nothing)))
    assert reached == ["lifespan"]


async def _done(waiting: Awaitable[None]) -> None:
    await waiting
