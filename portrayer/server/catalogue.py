"""What there is to choose from: tasks with their options and presets, portraits to try them on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Response
from fastapi import Path as InPath

from portrayer.errors import InputError, NotFound
from portrayer.image.samples import portraits
from portrayer.image.sniff import sniff
from portrayer.server.schemas import refusals
from portrayer.server.service import Service
from portrayer.tasks import describe


def routes(service: Service) -> APIRouter:
    """``/v1/tasks``, ``/v1/samples``."""
    router = APIRouter(tags=["catalogue"])

    @router.get(
        "/v1/tasks",
        operation_id="tasks",
        summary="The tasks, with the JSON schema of their options, and the presets",
        responses=refusals(),
    )
    async def tasks() -> list[dict[str, Any]]:
        return await asyncio.to_thread(describe, service.settings.presets)

    @router.get(
        "/v1/samples",
        operation_id="samples",
        summary="The names of portraits to try things on; [] where they are not installed",
        responses=refusals(),
    )
    async def names() -> list[str]:
        return list(await asyncio.to_thread(_samples))

    @router.get(
        "/v1/samples/{name}",
        operation_id="sample",
        summary="A portrait to try things on",
        response_class=Response,
        responses={200: {"content": {"image/*": {}}}, **refusals(404)},
    )
    async def sample(name: Annotated[str, InPath(max_length=64)]) -> Response:
        blob = (await asyncio.to_thread(_samples)).get(name)
        if blob is None:
            raise NotFound(f"no sample is called {name!r}")
        kept = {"Cache-Control": "private, max-age=86400"}
        return Response(blob, media_type=f"image/{sniff(blob)}", headers=kept)

    return router


def _samples() -> Mapping[str, bytes]:
    try:
        return portraits()
    except InputError:
        return {}
