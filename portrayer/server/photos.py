"""One photo, now: the answer is the picture."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from portrayer.image.codec import FORMATS
from portrayer.server.jobs import accepted, key_of
from portrayer.server.refusal import InvalidRequest
from portrayer.server.schemas import UPLOAD, body, refusals
from portrayer.server.service import Service
from portrayer.server.views import JobView, Photo
from portrayer.tasks import TASKS

if TYPE_CHECKING:
    from portrayer.pipeline import Result

FEW = 8  # files of a request for one photo: it, those beside it, pictures among the options
PICTURE = {
    "description": "The picture (or JSON, where Accept asks for it)",
    "content": {form.mime: {} for form in FORMATS.values()},
    "model": Photo,
}


def routes(service: Service) -> APIRouter:
    """``POST /v1/TASK`` for each task, and ``POST /v1/chain`` for several in a row."""
    router = APIRouter(tags=["one photo"])
    for row in TASKS.values():
        router.add_api_route(
            f"/v1/{row.name}",
            answering(service, row.name),
            methods=["POST"],
            operation_id=row.name,
            summary=row.help,
            description=f"Takes {' and '.join(row.inputs)}; answers the picture. "
            "`Prefer: respond-async` makes it a job.",
            response_class=Response,
            responses={200: PICTURE, 202: {"model": JobView}, **refusals(*UPLOAD)},
            openapi_extra=body(row),
        )
    router.add_api_route(
        "/v1/chain",
        answering(service, ""),
        methods=["POST"],
        operation_id="chain",
        summary="Several tasks on one photo, nothing encoded in between",
        response_class=Response,
        responses={200: PICTURE, 202: {"model": JobView}, **refusals(404, *UPLOAD)},
        openapi_extra=body(None, chain=True),
    )
    return router


def answering(service: Service, name: str) -> Callable[[Request], Awaitable[Response]]:
    """The route of the task of this name; "" for one that the form names."""

    async def answer(request: Request) -> Response:
        prefer = request.headers.get("prefer", "")
        later = "respond-async" in prefer
        key = key_of(request) if later else None
        async with service.received(request, FEW, many=later) as arrival:
            asked = await service.asked(arrival, name)
            if len(asked.photos) > 1:
                sent = len(asked.photos)
                raise InvalidRequest(f"{sent} photos were sent: POST /v1/jobs takes many")
            if later:
                return await accepted(service, arrival, asked, key)
            result, blob = await service.photo(asked, _seconds(service, prefer), request)
        return await asyncio.to_thread(shown, result, blob, request)

    return answer


def shown(result: Result, blob: bytes, request: Request) -> Response:
    """The picture, or JSON for a client that accepts nothing else."""
    format = result.options.format
    height, width = result.image.shape[:2]
    stages = ", ".join(f"{name};dur={1000 * took:.1f}" for name, took in result.timings.items())
    headers = {"Server-Timing": stages, "X-Device": result.device, "Vary": "Accept"}
    headers |= {"X-Width": str(width), "X-Height": str(height)}
    if result.faces is not None:
        headers["X-Faces"] = str(len(result.faces))
    if not wants_json(request):
        return Response(blob, media_type=FORMATS[format].mime, headers=headers)
    view = Photo(
        result_b64=base64.b64encode(blob).decode(),
        format=format,
        width=width,
        height=height,
        device=result.device,
        precision=result.precision,
        batch=result.batch,
        seconds=dict(result.timings),
        faces=None if result.faces is None else [[*face.box] for face in result.faces],
    )
    return JSONResponse(view.model_dump(), headers=headers)


def wants_json(request: Request) -> bool:
    """Whether Accept names JSON and no picture."""
    accept = request.headers.get("accept", "")
    return "application/json" in accept and "image/" not in accept


def _seconds(service: Service, prefer: str) -> float:
    """How long the client will wait, ``Prefer: wait=5``: never longer than the server lets it."""
    most = service.settings.server.deadline
    said = re.search(r"\bwait=(\d{1,6})\b", prefer)
    return min(most, max(1.0, float(said[1]))) if said else most
