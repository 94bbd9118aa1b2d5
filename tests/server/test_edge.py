"""What stands around the app: strangers stay out, every answer is marked and counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.responses import PlainTextResponse, StreamingResponse
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from portrayer.errors import EngineClosed, NotReady, QueueFull
from portrayer.server.edge import Guard, Headers, Traced
from portrayer.server.logs import REQUEST
from portrayer.server.patience import Patience

from .client import Client, ask, fine

TOKEN = "a secret é"


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


def test_an_answer_that_breaks_off_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """An error of our own after the answer has begun can be told to nobody else."""
    app = FastAPI()

    @app.get("/v1/late")
    async def late() -> StreamingResponse:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"x"
            raise NotReady("the result is gone")

        return StreamingResponse(chunks())

    app.add_middleware(Traced, observe=lambda *_: None)
    client = ask(app, method="GET", path="/v1/late")
    assert (client.body, client.whole) == (b"x", False)
    [record] = [record for record in caplog.records if record.name == "portrayer.server.edge"]
    assert (record.levelname, record.exc_info) == ("WARNING", None)
    assert "the result is gone" in record.getMessage()


def test_an_error_that_nobody_told_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """What the app's table missed is answered from the same table, and is no bug."""
    app = application()
    app.add_middleware(Traced, observe=lambda *_: None)
    client = ask(app, method="GET", path="/v1/full")
    assert (client.status, client.error["code"]) == (429, QueueFull.code)
    assert "retry-after" in client.fields
    assert not caplog.records


@pytest.mark.parametrize("begun", [False, True])
def test_a_server_that_stops_says_so(begun: bool) -> None:
    """A request that is canceled with the server is answered, if it can be, and counted."""
    seen: Seen = []

    async def main() -> Client:
        reached = asyncio.Event()

        async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
            if begun:
                await send({"type": "http.response.start", "status": 200, "headers": []})
            reached.set()
            await asyncio.Event().wait()

        task = asyncio.ensure_future(Client().ask(traced(waiting, seen)))
        await reached.wait()
        task.cancel()
        return await task

    client = asyncio.run(main())
    assert client.whole is not begun
    assert begun or client.error["code"] == EngineClosed.code
    assert seen == [("unmatched", "POST", 200 if begun else 503)]


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
