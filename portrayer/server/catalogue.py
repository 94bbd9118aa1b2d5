"""What there is to choose from: tasks with their options and presets, portraits to try them on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Response
from fastapi import Path as InPath

from portrayer.errors import InputError, ModelError, NotFound
from portrayer.image.samples import portraits
from portrayer.image.sniff import sniff
from portrayer.models.catalog import spec
from portrayer.models.spec import ModelSpec
from portrayer.models.weights import locate
from portrayer.server.schemas import refusals
from portrayer.server.service import Service
from portrayer.server.views import ModelView
from portrayer.settings import Settings
from portrayer.tasks import TASKS, describe
from portrayer.tasks.choosing import Names, offered
from portrayer.tasks.options import options
from portrayer.tasks.task import Task


def routes(service: Service) -> APIRouter:
    """``/v1/tasks``, ``/v1/samples``."""
    router = APIRouter(tags=["catalogue"])

    @router.get(
        "/v1/tasks",
        operation_id="tasks",
        summary="The tasks, with the JSON schema of their options, the models and the presets",
        responses=refusals(),
    )
    async def tasks() -> list[dict[str, Any]]:
        return await asyncio.to_thread(_tasks, service.settings)

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


def _tasks(settings: Settings) -> list[dict[str, Any]]:
    described = describe(settings.presets)
    return [told | {"models": models(TASKS[told["name"]], settings.models)} for told in described]


def models(task: Task, folder: Path) -> list[dict[str, Any]]:
    """The networks that a task can work with, and whether they are here; no weights are read."""
    return [
        _model(option.name, name, [spec(model, folder) for model in row.models]).model_dump()
        for option in options(task.options)
        if isinstance(option.choices, Names)
        for name, row in offered(option.choices.rows, folder).items()
    ]


def _model(option: str, name: str, specs: Sequence[ModelSpec]) -> ModelView:
    advice = ""
    try:
        for each in specs:
            locate(each.weights)
    except ModelError as error:
        advice = error.reason
    weights = [each.weights for each in specs]
    return ModelView(
        option=option,
        name=name,
        licence="; ".join(dict.fromkeys(each.licence for each in weights)),
        commercial=all(each.commercial for each in weights),
        bytes=sum(each.bytes for each in weights),
        installed=not advice,
        advice=advice,
    )


def _samples() -> Mapping[str, bytes]:
    try:
        return portraits()
    except InputError:
        return {}
