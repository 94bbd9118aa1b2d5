"""What stands around the app: who may come in, headers, one line a request.

Plain ASGI, so that nothing is held back or copied on its way.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from uuid import uuid4

from starlette.datastructures import Headers as Fields
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from portrayer.errors import EngineClosed, PortrayerError
from portrayer.server import refusal
from portrayer.server.logs import REQUEST
from portrayer.server.refusal import Forbidden, Unauthorized

log = logging.getLogger(__name__)

PROBES = ("/healthz", "/readyz")
SAFE = frozenset({"GET", "HEAD"})
METHODS = SAFE | {"POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
COOKIE = "portrayer"
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


class Guard:
    """Who may come in.

    With a ``token``: who sends it as ``X-Api-Key`` or ``Authorization: Bearer``, and browsers that
    were given :func:`session` for it; the probes and what lies at or below ``open`` are for
    everyone. Without: who calls the server by a loopback name or one of ``hosts``, as no page can
    that had its own name point here. In both cases no page of another site may change anything.
    """

    def __init__(
        self,
        app: ASGIApp,
        token: str = "",
        hosts: Collection[str] = (),
        open: Collection[str] = (),
    ) -> None:
        self.app, self.token = app, token.encode()
        self.session = session(token).encode()
        self.hosts = frozenset(_name(host) for host in hosts) - LOOPBACK
        self.open = (*PROBES, *open)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = self._against(scope) if scope["type"] == "http" else None
        if error is None:
            await self.app(scope, receive, send)
        elif scope["path"] == REMOVE_BG and isinstance(error, Unauthorized):
            await JSONResponse(refusal.body(error), 403)(scope, receive, send)
        else:
            await refusal.answer(error)(scope, receive, send)

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
        # Of "/" itself only the page is meant.
        below = (f"{each}/" for each in self.open if each != "/")
        return path in self.open or path.startswith(tuple(below))

    def _known(self, fields: Iterable[tuple[bytes, bytes]]) -> bool:
        said = list(fields)
        return any(hmac.compare_digest(each, self.token) for each in _tokens(said)) or any(
            hmac.compare_digest(each, self.session) for each in _sessions(said)
        )


def session(token: str) -> str:
    """What a browser keeps instead of the token, in the cookie :data:`COOKIE`."""
    return hmac.new(token.encode(), b"session", "sha256").hexdigest()


def _sessions(fields: Iterable[tuple[bytes, bytes]]) -> Iterator[bytes]:
    for name, value in fields:
        if name == b"cookie":
            pairs = (pair.strip().partition(b"=") for pair in value.split(b";"))
            yield from (said for key, _, said in pairs if key == COOKIE.encode())


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
                fields = MutableHeaders(scope=message)
                for name, value in ours.items():
                    fields.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, write)


class Traced:
    """Gives every request an id, counts it, and answers for what nobody expected, and for a server
    that stops.

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
                MutableHeaders(scope=message)["X-Request-Id"] = id
            await send(message)

        try:
            await self.app(scope, receive, write)
        except ClientDisconnect:
            pass
        except asyncio.CancelledError:  # only the server's end does that, and nothing comes after
            if not status:
                await refusal.answer(EngineClosed("the server is stopping"))(scope, receive, write)
        except Exception as error:
            if isinstance(error, PortrayerError):
                answer = refusal.answer(error)
                if status:
                    log.warning("an answer broke off: %s", error)
            else:
                answer = _internal(id)
                log.exception("internal error")
            if not status:
                await answer(scope, receive, write)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            method = scope["method"] if scope["method"] in METHODS else "other"
            self.observe(route, method, status or GONE, time.perf_counter() - start)


def _internal(id: str) -> JSONResponse:
    """Of an unknown error the client is told the ``id`` of its request and nothing else."""
    said = {"title": "internal error", "code": "internal", "detail": f"request {id}"}
    return JSONResponse({"errors": [said]}, 500)
