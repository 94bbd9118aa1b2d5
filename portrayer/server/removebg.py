"""``POST /v1.0/removebg``: what clients of remove.bg speak, so that they need but another host."""

from __future__ import annotations

import asyncio
import base64
import io
import time
import zipfile
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from portrayer.errors import DecodeError, InputError, QueueFull
from portrayer.image import codec
from portrayer.image.codec import FORMATS
from portrayer.server.edge import REMOVE_BG
from portrayer.server.foreign import FIELDS, LONG, asked
from portrayer.server.photos import wants_json
from portrayer.server.schemas import FILE, UPLOAD, refusals
from portrayer.server.service import Service
from portrayer.types import Image

if TYPE_CHECKING:
    from portrayer.pipeline import Result


class InvalidImage(InputError):
    """Not 415, as everywhere else."""

    code = "invalid_image"
    advice = DecodeError.advice


class RateLimited(QueueFull):
    """In remove.bg's word."""

    code = "rate_limit_exceeded"


class NoForeground(InputError):
    """Nobody is in the photo."""

    code = "unknown_foreground"
    advice = "for a list of supported photos see the documentation"


class Cutout(BaseModel):
    """The picture, and where in it the foreground is."""

    result_b64: str
    foreground_top: int
    foreground_left: int
    foreground_width: int
    foreground_height: int


class Answer(BaseModel):
    """As JSON."""

    data: Cutout


def routes(service: Service) -> APIRouter:
    """The one address that clients of remove.bg know."""
    router = APIRouter(tags=["remove.bg"])
    text = {name: {"type": "string", "description": help} for name, help in FIELDS.items()}
    form = {"type": "object", "properties": text}
    whole = form | {"properties": {"image_file": FILE, "bg_image_file": FILE, **text}}
    content = {
        "multipart/form-data": {"schema": whole},
        "application/x-www-form-urlencoded": {"schema": form},
        "application/json": {"schema": form},
    }

    @router.post(
        REMOVE_BG,
        operation_id="removebg",
        summary="As remove.bg answers it",
        description="Its fields, sizes, headers and errors; nothing is charged.",
        response_class=Response,
        responses={
            200: {
                "description": "The picture (or JSON, where Accept asks for it)",
                "content": {mime: {} for mime in ("image/png", "image/jpeg", "application/zip")},
                "model": Answer,
            },
            **refusals(*UPLOAD),
        },
        openapi_extra={"requestBody": {"required": True, "content": content}},
    )
    async def answer(request: Request) -> Response:
        server = service.settings.server
        long = {"image_file_b64": 4 * min(server.max_upload, LONG) // 3 + 4}
        try:
            async with service.received(request, 2, long) as arrival:
                wish, zipped = await asked(service, arrival)
                result, blob = await service.photo(wish, server.deadline, request)
            headers = _quota(service)
            return await asyncio.to_thread(
                _shown, result, None if zipped else blob, wants_json(request), headers
            )
        except DecodeError as error:
            raise InvalidImage(error.reason) from error
        except QueueFull as error:
            raise RateLimited(error.reason) from error

    return router


def _zip(image: Image) -> bytes:
    """Colours as JPEG and alpha as PNG: smaller than a PNG of both."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("color.jpg", codec.encode(np.ascontiguousarray(image[..., :3]), "jpeg"))
        archive.writestr("alpha.png", codec.encode(np.ascontiguousarray(image[..., 3]), "png"))
    return buffer.getvalue()


def _quota(service: Service) -> Mapping[str, str]:
    """How many more requests are taken, in headers of remove.bg's."""
    most = service.settings.server.max_waiting
    return {
        "X-Credits-Charged": "0",
        "X-RateLimit-Limit": str(most),
        "X-RateLimit-Remaining": str(max(0, most - service.waiting)),
        "X-RateLimit-Reset": str(int(time.time()) + 1),
    }


def _shown(result: Result, blob: bytes | None, json: bool, headers: Mapping[str, str]) -> Response:
    """The picture as it was asked for; without a ``blob`` it becomes a ZIP. Not for the event loop:
    pictures are large.
    """
    if result.matte is not None and not (result.matte > 0.5).any():
        raise NoForeground("could not identify foreground in image")
    mime = FORMATS[result.options.format].mime
    if blob is None:
        blob, mime = _zip(result.image), "application/zip"
    height, width = result.image.shape[:2]
    sized = {"X-Width": str(width), "X-Height": str(height), "X-Type": "person", **headers}
    if not json:
        return Response(blob, media_type=mime, headers=sized)
    top, left, tall, wide = _bounds(result)
    data = {
        "result_b64": base64.b64encode(blob).decode(),
        "foreground_top": top,
        "foreground_left": left,
        "foreground_width": wide,
        "foreground_height": tall,
    }
    return JSONResponse({"data": data}, headers=sized)


def _bounds(result: Result) -> tuple[int, int, int, int]:
    """Top, left, height and width of what is there at all, in pixels of the result."""
    if result.matte is None:
        return (0, 0, *result.image.shape[:2])
    seen = result.matte > 0.5 / 255
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    top, left = int(rows[0]), int(columns[0])
    return top, left, int(rows[-1]) - top + 1, int(columns[-1]) - left + 1
