"""One photo of a job: how it stands, as it was sent, as it became, small."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Response
from fastapi import Path as InPath
from fastapi.responses import FileResponse

from portrayer.image import files
from portrayer.jobs.record import Item, State
from portrayer.server import downloads
from portrayer.server.schemas import refusals
from portrayer.server.service import Service
from portrayer.server.views import ItemView, item_view

THUMBNAIL = 320  # px
SMALL = 2  # small pictures made at once: a page asks for a hundred, and others are served as well
PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/*": {}}, "description": "The picture"}
}

ANY: dict[str, Any] = {"image/*": {}, "application/octet-stream": {}}

ItemId = Annotated[int, InPath(description="of a photo", ge=0, le=2**63 - 1)]
Place = Callable[[Item], Path]
Called = Callable[[Item], str]


def routes(service: Service) -> APIRouter:
    """Everything under ``/v1/items``."""
    router = APIRouter(tags=["photos of jobs"])
    store, shelf = service.store, service.shelf
    few = CapacityLimiter(SMALL)

    async def picture(
        item: int, place: Place, called: Called, limiter: CapacityLimiter | None = None
    ) -> Response:
        """A file of an item; nothing of its job is removed while it is sent."""
        with ExitStack() as stack:
            job = (await asyncio.to_thread(store.item, item)).job
            stack.enter_context(shelf.hold(job))
            found = await asyncio.to_thread(store.item, item)  # not removed before it was held
            path = await run_sync(place, found, limiter=limiter)
            mime = await asyncio.to_thread(downloads.mime, path)
            answer = FileResponse(path, media_type=mime)
            answer.headers["Cache-Control"] = "private, no-cache"
            answer.headers["Content-Disposition"] = downloads.disposition(called(found), mime)
            return downloads.Held(answer, stack.pop_all())

    def thumb(of: str, found: Item) -> Path:
        """The small picture of a result or an input, made when it is first asked for."""
        if of == "result" or (not of and found.state is State.DONE):
            source, kind = downloads.result(found), "out"
        else:
            source, kind = Path(found.source), "in"
        path = shelf.thumbnail(found.job, f"{found.id}-{found.attempt}-{kind}.webp")
        if not path.exists():
            pipeline = service.pipeline()
            shelf.check()
            files.write(path, pipeline.thumbnail(source, THUMBNAIL))
        return path

    @router.get(
        "/v1/items/{item}",
        operation_id="item",
        summary="One photo of a job",
        responses=refusals(404),
    )
    async def one(item: ItemId) -> ItemView:
        found = await asyncio.to_thread(store.item, item)
        return item_view(found, service.hub.stages(found.job).get(item))

    @router.get(
        "/v1/items/{item}/input",
        operation_id="item_input",
        summary="A photo as it was sent",
        response_class=FileResponse,
        responses={200: {"content": ANY, "description": "The file"}, **refusals(404, 409)},
    )
    async def sent(item: ItemId) -> Response:
        return await picture(item, lambda found: Path(found.source), downloads.sent)

    @router.get(
        "/v1/items/{item}/result",
        operation_id="item_result",
        summary="A finished photo",
        response_class=FileResponse,
        responses={**PICTURE, **refusals(404, 409)},
    )
    async def finished(item: ItemId) -> Response:
        return await picture(item, downloads.result, downloads.called)

    @router.get(
        "/v1/items/{item}/matte",
        operation_id="item_matte",
        summary="The matte beside a finished photo (output=both)",
        response_class=FileResponse,
        responses={**PICTURE, **refusals(404, 409)},
    )
    async def matte(item: ItemId) -> Response:
        return await picture(item, downloads.matte, downloads.matte_called)

    @router.get(
        "/v1/items/{item}/thumbnail",
        operation_id="item_thumbnail",
        summary=f"A picture of at most {THUMBNAIL} px: of the result, once there is one",
        response_class=FileResponse,
        responses={**PICTURE, **refusals(404, 409, 413, 415, 503, 507)},
    )
    async def thumbnail(
        item: ItemId,
        of: Annotated[
            Literal["", "input", "result"], Query(description="input or result alone")
        ] = "",
    ) -> Response:
        return await picture(item, partial(thumb, of), lambda each: f"{each.id}.webp", few)

    return router
