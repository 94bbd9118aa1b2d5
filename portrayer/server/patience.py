"""Patience with clients, up to a point: who sends or takes too slowly is cut.

Plain ASGI, so that nothing is held back or copied on its way. An answer that was begun and cannot
be ended is left unfinished: the server then closes the connection.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from traceback import clear_frames

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from portrayer.server import refusal
from portrayer.server.refusal import TooSlow

log = logging.getLogger(__name__)

LINGER, LINGERING = 8 << 20, 2.0  # bytes and seconds of a body taken after it was refused
PIECE = 2**16  # bytes of an answer that a client must take within the time to send


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
        pace = Pace(self.floor, self.span)
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

        async def give(message: Message) -> None:
            nonlocal cut
            try:
                async with asyncio.timeout(self.seconds):
                    await send(message)
                    await asyncio.sleep(0)  # else a fast client has the loop to itself
            except TimeoutError:
                cut = f"nothing was taken for {self.seconds:g} seconds"
                raise TooSlow(cut) from None

        async def write(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start" and (cut or not whole):
                MutableHeaders(scope=message)["Connection"] = "close"
            early = begun and not (cut or whole or message.get("more_body", False))
            begun = True
            for piece in _pieces({**message, "more_body": True} if early else message):
                await give(piece)
            if early:
                await _drain(receive)
                await give({"type": "http.response.body"})

        try:
            await self.app(scope, read, write)
        except Exception as error:
            if not cut:
                raise
            log.info("the client was cut: %s", cut)
            _let_go(error)
            if not begun:
                await refusal.answer(TooSlow(cut))(scope, receive, write)


def _has_body(scope: Scope) -> bool:
    fields = Headers(scope=scope)
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


class Pace:
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
