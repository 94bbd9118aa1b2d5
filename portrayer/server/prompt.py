"""One photo for a client that waits for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import Request
from starlette.requests import ClientDisconnect

from portrayer.errors import Canceled
from portrayer.server.wishes import Wish

if TYPE_CHECKING:
    from portrayer.pipeline import Pipeline, Result

PRIORITY = 1  # of who waits; jobs have 0


async def made(
    asked: Wish,
    seconds: float,
    request: Request,
    ready: Callable[[], Awaitable[tuple[Pipeline, CapacityLimiter]]],
) -> tuple[Result, bytes]:
    """The photo and its file, in ``seconds``; before the photos of jobs.

    ``ready`` waits for a pipeline and the lanes that lead to it. When the client goes, what was not
    begun is given up, what was ends before its next stage and is waited for.

    Raises:
        ClientDisconnect: the client has gone.
    """
    begun = gone = False
    [photo] = asked.photos
    sources = [*(file.path for file in asked.beside.values()), photo.path]
    end = time.monotonic() + seconds

    def watch(stage: str) -> None:
        if gone:
            raise Canceled("the client has gone")

    def work(pipeline: Pipeline) -> tuple[Result, bytes]:
        nonlocal begun
        begun = True
        watch("begun")
        with pipeline.process(
            asked.task.name,
            sources,
            asked.chosen,
            priority=PRIORITY,
            seconds=max(0.0, end - time.monotonic()),
            watch=watch,
        ) as result:
            return result, result.encode()

    async def answer() -> tuple[Result, bytes]:
        pipeline, lanes = await ready()
        return await run_sync(work, pipeline, limiter=lanes)

    job, listener = asyncio.create_task(answer()), asyncio.create_task(_departure(request))
    try:
        await asyncio.wait((job, listener), return_when=asyncio.FIRST_COMPLETED)
    finally:
        listener.cancel()
        gone = not job.done()
        if gone and not begun:
            job.cancel()
        job.add_done_callback(lambda job: job.cancelled() or job.exception())  # else it is logged
    if gone:
        await asyncio.wait([job])
        raise ClientDisconnect
    return job.result()


async def _departure(request: Request) -> None:
    """Until the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
