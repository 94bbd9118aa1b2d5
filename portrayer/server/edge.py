"""What stands around the app: patience with clients, who may come in, headers, one line a request.

Plain ASGI, so that nothing is held back or copied on its way. An answer that was begun and cannot
be ended is left unfinished: the server then closes the connection.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from traceback import clear_frames
from uuid import uuid4

from starlette.datastructures import Headers as Fields
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from portrayer.errors import PortrayerError
from portrayer.server import refusal
from portrayer.server.logs import REQUEST
from portrayer.server.refusal import Forbidden, TooSlow, Unauthorized

log = logging.getLogger(__name__)

LINGER, LINGERING = 8 << 20, 2.0  # bytes and seconds of a body taken after it was refused
PIECE = 2**16  # bytes of an answer that a client must take within the time to send
PROBES = ("/healthz", "/readyz")
SAFE = frozenset({"GET", "HEAD"})
METHODS = SAFE | {"POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
REMOVE_BG = "/v1.0/removebg"
GONE = 499  # the code of a request whose client left before it was answered

SECURITY = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; style-src 'self'; "
    "frame-ancestors 'none'; object-src 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}

Observe = Callable[[str, str, int, float], object]
"""Told the route, the method, the status and the seconds of each request."""


class Patience:
    """Cuts a client that is too slow, in sending its body or in taking its answer.

    ``idle``: seconds of silence; ``floor``: bytes a second, over ``span`` seconds of waiting for
    it; ``send``: seconds in which it must take 64 KiB. The route finds :class:`TooSlow` raised
    where it reads or sends. Once the body is whole a client may be as silent as it likes.
    """

    def __init__(
        self,
        app: ASGIApp,
        idle: float = 20,
        floor: float = 1024,
        send: float = 60,
        span: float = 30,
    ) -> None:
        self.app, self.idle, self.floor, self.seconds, self.span = app, idle, floor, send, span

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        pace = _Pace(self.floor, self.span)
        whole, begun, cut = not _has_body(scope), False, ""

        async def read() -> Message:
            nonlocal whole, cut
            if whole:
                return await receive()
            start = time.monotonic()
            try:
                async with asyncio.timeout(self.idle):
                    message = await receive()
            except TimeoutError:
                cut = f"nothing came for {self.idle:g} seconds"
                raise TooSlow(cut) from None
            whole = not message.get("more_body", False)
            waited = time.monotonic() - start
            if not (whole or pace.holds(waited, len(message.get("body", b"")))):
                cut = f"less than {self.floor:g} bytes a second came"
                raise TooSlow(cut)
            return message

        async def write(message: Message) -> None:
            nonlocal begun, cut
            if message["type"] == "http.response.start" and (cut or not whole):
                _headers(message)["Connection"] = "close"
            early = begun and not (cut or whole or message.get("more_body", False))
            begun = True
            try:
                for piece in _pieces({**message, "more_body": True} if early else message):
                    async with asyncio.timeout(self.seconds):
                        await send(piece)
                        await asyncio.sleep(0)  # else a fast client has the loop to itself
            except TimeoutError:
                cut = f"nothing was taken for {self.seconds:g} seconds"
                raise TooSlow(cut) from None
            if early:
                await _drain(receive)
                await send({"type": "http.response.body"})

        try:
            await self.app(scope, read, write)
        except Exception as error:
            if not cut:
                raise
            log.info("the client was cut: %s", cut)
            _let_go(error)
            if not begun:
                await _refused(TooSlow(cut))(scope, receive, write)


def _has_body(scope: Scope) -> bool:
    fields = Fields(scope=scope)
    return "transfer-encoding" in fields or fields.get("content-length", "0") != "0"


async def _drain(receive: Receive) -> None:
    """Some of a body that nobody wants: who is cut while it sends seldom reads its answer."""
    left = LINGER
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGERING):
            while left > 0:
                message = await receive()
                if not message.get("more_body", False):
                    return
                left -= len(message.get("body", b""))


class _Pace:
    """The bytes that came in the last ``span`` seconds of waiting for them."""

    def __init__(self, floor: float, span: float) -> None:
        self._floor, self._span = floor, span
        self._steps: deque[tuple[float, int]] = deque([(0.0, 0)])  # no shorter than a 32nd of it

    def holds(self, seconds: float, count: int) -> bool:
        """Whether ``count`` bytes after a wait of ``seconds`` leave it at or above the floor."""
        steps = self._steps
        if steps[-1][0] < self._span / 32:
            before, came = steps.pop()
            seconds, count = seconds + before, count + came
        steps.append((seconds, count))
        waited = sum(step for step, _ in steps)
        while waited - steps[0][0] >= self._span:
            waited -= steps.popleft()[0]
        return waited < self._span or sum(came for _, came in steps) >= self._floor * waited


class Guard:
    """Who may come in.

    With a ``token``: who sends it as ``X-Api-Key`` or ``Authorization: Bearer``; the probes and
    what lies at or below ``open`` are for everyone. Without: who calls the server by a loopback
    name or one of ``hosts``, as no page can that had its own name point here. In both cases no
    page of another site may change anything.
    """

    def __init__(
        self,
        app: ASGIApp,
        token: str = "",
        hosts: Collection[str] = (),
        open: Collection[str] = (),
    ) -> None:
        self.app, self.token = app, token.encode()
        self.hosts = frozenset(_name(host) for host in hosts) - LOOPBACK
        self.open = (*PROBES, *open)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = self._against(scope) if scope["type"] == "http" else None
        if error is None:
            await self.app(scope, receive, send)
        elif scope["path"] == REMOVE_BG and isinstance(error, Unauthorized):
            await JSONResponse(refusal.body(error), 403)(scope, receive, send)
        else:
            await _refused(error)(scope, receive, send)

    def _against(self, scope: Scope) -> PortrayerError | None:
        fields = Fields(scope=scope)
        if not self.token and _name(fields.get("host", "")) not in LOOPBACK | self.hosts:
            return Forbidden("the server does not know this name as its own")
        if scope["method"] not in SAFE and self._foreign(fields):
            return Forbidden("a page of another site may not do this")
        if self.token and not (self._open(scope["path"]) or self._known(scope["headers"])):
            return Unauthorized("the token is missing or wrong")
        return None

    def _foreign(self, fields: Fields) -> bool:
        if fields.get("sec-fetch-site") == "cross-site":
            return True
        if (origin := fields.get("origin")) is None:
            return False
        place = origin.partition("://")[2].lower()
        return place != fields.get("host", "").lower() and _name(place) not in self.hosts

    def _open(self, path: str) -> bool:
        return any(path == each or path.startswith(f"{each}/") for each in self.open)

    def _known(self, fields: Iterable[tuple[bytes, bytes]]) -> bool:
        return any(hmac.compare_digest(said, self.token) for said in _tokens(fields))


def _tokens(fields: Iterable[tuple[bytes, bytes]]) -> Iterator[bytes]:
    for name, value in fields:
        if name == b"x-api-key":
            yield value
        elif name == b"authorization" and value[:7].lower() == b"bearer ":
            yield value[7:].strip()


def _name(host: str) -> str:
    """The name in a Host header, without its port; an IPv6 address without its brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    name, _, port = host.lower().partition(":")
    return host.lower() if ":" in port else name


class Headers:
    """Gives every answer the headers that keep a browser from being used against its user.

    What a route has set stays. Under ``/v1`` nothing is kept in a cache unless a route says so.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        ours = dict(SECURITY)
        if scope["path"].startswith("/v1"):
            ours["Cache-Control"] = "no-store"

        async def write(message: Message) -> None:
            if message["type"] == "http.response.start":
                fields = _headers(message)
                for name, value in ours.items():
                    fields.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, write)


class Traced:
    """Gives every request an id, counts it, and answers for what nobody expected.

    The id (the client's own where it is plain) is in ``REQUEST`` meanwhile and goes back as
    ``X-Request-Id``. An unknown error is logged whole and answered as 500 without its text.
    """

    def __init__(self, app: ASGIApp, observe: Observe) -> None:
        self.app, self.observe = app, observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        said = Fields(scope=scope).get("x-request-id", "")
        id = said if re.fullmatch(r"[A-Za-z0-9._-]{1,64}", said) else uuid4().hex
        REQUEST.set(id)
        start, status = time.perf_counter(), 0

        async def write(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _headers(message)["X-Request-Id"] = id
            await send(message)

        try:
            await self.app(scope, receive, write)
        except ClientDisconnect:
            pass
        except Exception as error:
            if not isinstance(error, PortrayerError):
                log.exception("internal error")
            if not status:
                await _refused(error, id)(scope, receive, write)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            method = scope["method"] if scope["method"] in METHODS else "other"
            self.observe(route, method, status or GONE, time.perf_counter() - start)


def _refused(error: Exception, id: str = "") -> JSONResponse:
    """The answer that tells an error; of an unknown one, only the ``id`` of its request."""
    if isinstance(error, PortrayerError):
        return JSONResponse(refusal.body(error), refusal.status(error), refusal.headers(error))
    said = {"title": "internal error", "code": "internal", "detail": f"request {id}"}
    return JSONResponse({"errors": [said]}, 500)


def _headers(message: Message) -> MutableHeaders:
    """Those of an ``http.response.start``, to be added to."""
    message.setdefault("headers", [])
    return MutableHeaders(scope=message)


def _let_go(error: BaseException | None) -> None:
    """End now what the frames of an error hold, a stream that was being given for one: they are in
    a circle with it and would wait for some collection.
    """
    while error is not None:
        clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _pieces(message: Message) -> Iterator[Message]:
    """The same answer, no piece of it longer than :data:`PIECE`."""
    body = message.get("body", b"")
    for start in range(0, len(body) - PIECE, PIECE):
        yield {**message, "body": body[start : start + PIECE], "more_body": True}
    yield {**message, "body": body[(len(body) - 1) // PIECE * PIECE :]} if body else message
