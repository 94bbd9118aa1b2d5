"""Many photos: a job is received, worked off, watched, downloaded, canceled, tried again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as InPath
from fastapi.responses import JSONResponse, StreamingResponse

from portrayer.errors import NotReady
from portrayer.jobs.record import State
from portrayer.jobs.store import Store
from portrayer.server import archive, downloads, events
from portrayer.server.intake import Arrival
from portrayer.server.refusal import InvalidRequest
from portrayer.server.schemas import UPLOAD, body, refusals
from portrayer.server.service import Service
from portrayer.server.views import ItemList, JobList, JobView, Moved, item_view
from portrayer.server.wishes import Wish

PAGE = 100
KEY = 255  # characters of an idempotency key

Search = Annotated[str, Query(description="in a job's or a photo's name", max_length=200)]
Before = Annotated[str, Query(description="a job: those older than it", max_length=64)]
Cursor = Annotated[int, Query(description="`next` of the page before", ge=0, le=2**63 - 1)]
JobId = Annotated[str, InPath(description="as POST /v1/jobs answered it", max_length=64)]


def routes(service: Service) -> APIRouter:
    """Everything under ``/v1/jobs``."""
    router = APIRouter(tags=["jobs"])
    store = service.store

    @router.post(
        "/v1/jobs",
        status_code=202,
        operation_id="create_job",
        summary="Queue many photos",
        description="Answers when every photo is on the disk and in the ledger. With the header "
        "Idempotency-Key, a request that is sent again makes no second job.",
        response_model=JobView,
        responses=refusals(404, *UPLOAD),
        openapi_extra=body(None, several=True),
    )
    async def create(request: Request) -> Response:
        key = key_of(request)
        await service.room()
        most = service.settings.server.max_files
        async with service.received(request, most, many=True) as arrival:
            return await accepted(service, arrival, await service.asked(arrival), key)

    @router.get(
        "/v1/jobs",
        operation_id="list_jobs",
        summary="Jobs, the newest first",
        responses=refusals(400, 404),
    )
    async def listed(
        search: Search = "",
        before: Before = "",
        limit: Annotated[int, Query(ge=1, le=PAGE)] = PAGE,
    ) -> JobList:
        def read() -> JobList:
            found = store.search(search, before or None, limit)
            end = found[-1].id if len(found) == limit else None
            return JobList(jobs=[service.seen(job) for job in found], next=end)

        return await asyncio.to_thread(read)

    @router.get(
        "/v1/jobs/{job}", operation_id="job", summary="How a job stands", responses=refusals(404)
    )
    async def one(job: JobId) -> JobView:
        return await service.view(job)

    @router.get(
        "/v1/jobs/{job}/items",
        operation_id="list_items",
        summary="The photos of a job",
        responses=refusals(400, 404),
    )
    async def items(
        job: JobId,
        state: Annotated[State | None, Query(description="only these")] = None,
        cursor: Cursor = 0,
        limit: Annotated[int, Query(ge=1, le=10 * PAGE)] = PAGE,
    ) -> ItemList:
        def read() -> ItemList:
            store.job(job)
            stages = service.hub.stages(job)
            found = list(store.items(job, state, cursor, limit))
            end = found[-1].id if len(found) == limit else None
            return ItemList(items=[item_view(i, stages.get(i.id)) for i in found], next=end)

        return await asyncio.to_thread(read)

    @router.get(
        "/v1/jobs/{job}/events",
        operation_id="events",
        summary="A job's progress as it comes (Server-Sent Events)",
        description="`item`: a photo as it now stands; `stage`: what a running one is at; `job`: "
        "counts, rate, ETA. Ends when the job is settled. Last-Event-ID goes on where it was.",
        response_class=StreamingResponse,
        responses={
            200: {"content": {"text/event-stream": {}}},
            204: {"description": "All was told before, and nothing will come"},
            **refusals(404),
        },
    )
    async def watched(job: JobId, request: Request) -> Response:
        said = request.headers.get("last-event-id", "")
        last = int(said) if said.isdecimal() and len(said) < 19 else 0
        over = await asyncio.to_thread(_over, store, job, last)
        if last and over:
            return Response(status_code=204)  # a browser comes again after anything else
        lines: AsyncIterator[bytes] = events.stream(
            store, service.hub, job, last, show_item=item_view, show_job=service.seen
        )
        return StreamingResponse(
            lines,
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    @router.get(
        "/v1/jobs/{job}/results.zip",
        operation_id="results",
        summary="All results of a job, as a ZIP",
        description="Stored, not deflated; what is not done is left out, and told in failed.txt.",
        response_class=StreamingResponse,
        responses={
            200: {"content": {"application/zip": {}}, "description": "The archive"},
            **refusals(404, 409),
        },
    )
    async def results(job: JobId) -> Response:
        with ExitStack() as stack:
            stack.enter_context(service.shelf.hold(job))
            found = await asyncio.to_thread(store.job, job)
            length, chunks = await asyncio.to_thread(downloads.results, store, job)
            [name] = archive.names([(found.name, ".zip")])
            answer = StreamingResponse(chunks, media_type="application/zip")
            answer.headers["Content-Length"] = str(length)
            answer.headers["Content-Disposition"] = downloads.disposition(name)
            return downloads.Held(answer, stack.pop_all())

    @router.delete(
        "/v1/jobs/{job}",
        operation_id="cancel_job",
        summary="Cancel a job; with purge, remove it with all its photos",
        description="What is being downloaded stays on the disk until it is sent.",
        responses=refusals(400, 404, 409),
    )
    async def cancel(
        job: JobId,
        purge: Annotated[bool, Query(description="remove it and its files as well")] = False,
    ) -> Moved:
        moved = await service.cancel(job)
        view = await service.view(job)
        if purge and not await service.remove(job):
            raise NotReady(f"job {job} was begun anew: cancel it again")
        return Moved(moved=moved, job=view)

    @router.post(
        "/v1/jobs/{job}/retry",
        operation_id="retry_job",
        summary="Queue again what failed or was canceled",
        responses=refusals(404, 429),
    )
    async def retry(job: JobId) -> Moved:
        moved = await service.retry(job)
        return Moved(moved=moved, job=await service.view(job))

    return router


def _over(store: Store, job: str, last: int) -> bool:
    counts = store.counts(job)
    return counts.settled == counts.total and not store.changes(job, last, 1)


async def accepted(service: Service, arrival: Arrival, wish: Wish, key: str | None) -> Response:
    """A request as a job: 202, and where to look."""
    job = await service.submit(arrival, wish, key)
    view = await service.view(job.id)
    headers = {"Location": f"/v1/jobs/{job.id}", "Preference-Applied": "respond-async"}
    return JSONResponse(view.model_dump(), 202, headers)


def key_of(request: Request) -> str | None:
    """The idempotency key of a request. Raises :class:`InvalidRequest` for one that is none."""
    key = request.headers.get("idempotency-key")
    if key is not None and not 0 < len(key) <= KEY:
        raise InvalidRequest(f"an Idempotency-Key has 1 to {KEY} characters")
    return key
