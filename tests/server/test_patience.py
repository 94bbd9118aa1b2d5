"""Slow clients are cut, and nobody else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from portrayer.errors import PortrayerError
from portrayer.server import patience, refusal
from portrayer.server.edge import Traced
from portrayer.server.patience import LINGER, PIECE, Pace, Patience
from portrayer.server.refusal import TooSlow

from .client import Client, ask, fine

SOON = 0.05  # seconds that stand for the many a real client is given


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
    pace = Pace(1024, 30)
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
    monkeypatch.setattr(patience, "LINGERING", SOON)
    client = ask(Patience(early), None)
    assert (client.status, client.whole) == (200, True)


def test_the_end_of_an_early_answer_has_its_time_too() -> None:
    """A client whose body was left may stop taking at the very last: then it is cut as ever."""

    async def main() -> list[Message]:
        sent: list[Message] = []

        async def whole(scope: Scope, receive: Receive, send: Send) -> None:
            async def first(message: Message) -> None:
                if message["type"] == "http.response.body" and not message.get("more_body"):
                    await asyncio.Event().wait()
                sent.append(message)

            await Patience(early, send=SOON)(scope, receive, first)

        async with asyncio.timeout(10):
            await Client([b"x"]).ask(whole)
        return sent

    assert sum(len(message.get("body", b"")) for message in asyncio.run(main())) == 2 * PIECE


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
