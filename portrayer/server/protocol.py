"""Uvicorn's HTTP protocol, which waits for no client for ever."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

ANSWERING = frozenset({h11.SEND_RESPONSE, h11.SEND_BODY})


class Protocol(H11Protocol):
    """Closes a connection on which a client keeps the server waiting.

    ``head``: seconds from the connection's start, or from the first byte after an answer, until a
    request's head is there whole (what is left of a body that no route has read counts as well).
    ``rest``: seconds in which the client must take the last of an answer, or make room for the
    next piece of one that fills the buffers. While a route works on its answer, or reads the body,
    the time is the route's and :class:`~portrayer.server.edge.Patience`'s.
    """

    head: ClassVar[float] = 10
    rest: ClassVar[float] = 75  # longer than Patience: the route should hear of it first

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._within(self.head)

    def data_received(self, data: bytes) -> None:
        waiting = not self._answering
        if waiting:
            self._within(self.head)
        super().data_received(data)
        if waiting and self._answering:
            self._at_ease()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._within(self.rest)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._at_ease()
        if not self._answering:
            self._within(self.rest)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._answering:  # else the next request was here already
            self._within(self.rest)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._at_ease()

    @property
    def _answering(self) -> bool:
        """Whether a request is here that has no whole answer yet."""
        return self.conn.our_state in ANSWERING

    def _within(self, seconds: float) -> None:
        """Close the connection in ``seconds`` unless it was to be closed sooner."""
        now = self.loop.time()
        if self._deadline is None or self._deadline.when() > now + seconds:
            self._at_ease()
            self._deadline = self.loop.call_at(now + seconds, self.transport.abort)

    def _at_ease(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
