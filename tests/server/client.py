"""A client without a network: one exchange with an ASGI application."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
