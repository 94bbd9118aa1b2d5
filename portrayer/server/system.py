"""What an operator asks: is it alive, is it ready, what does it do, how fast, what holds it up."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import asdict
from typing import Any

import psutil
from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

import portrayer
from portrayer.engine.host import available
from portrayer.engine.nvml import utilisation
from portrayer.errors import OutputError
from portrayer.server.schemas import refusals
from portrayer.server.service import Service

log = logging.getLogger(__name__)


def routes(service: Service) -> APIRouter:
    """``/healthz``, ``/readyz``, ``/metrics``, ``/v1/system``."""
    router = APIRouter(tags=["system"])

    @router.get("/healthz", operation_id="healthz", summary="Whether the server is alive")
    async def alive() -> dict[str, str]:
        return {"status": "ok"}

    @router.get(
        "/readyz",
        operation_id="readyz",
        summary="Whether the models have answered and the ledger can be written",
        response_model=dict[str, Any],
        responses={503: {"description": "Not yet, or not any more; `reason` says why"}},
    )
    async def ready() -> Response:
        reason = await _unready(service)
        return JSONResponse({"ready": not reason, "reason": reason}, 503 if reason else 200)

    @router.get(
        "/metrics",
        operation_id="metrics",
        summary="Figures for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **refusals()},
    )
    async def metrics() -> Response:
        text = await asyncio.to_thread(service.metrics.text)
        return Response(text, media_type=service.metrics.content_type)

    @router.get(
        "/v1/system",
        operation_id="system",
        summary="Devices, memory, batch size and why, speed by stage, the bottleneck",
        responses=refusals(),
    )
    async def system() -> dict[str, Any]:
        return await asyncio.to_thread(_report, service)

    return router


async def _unready(service: Service) -> str:
    """Why it is not ready, in words that a stranger may read; "" if it is."""
    if service.broken is not None:
        return f"nothing more can be worked on ({service.broken.code})"
    if service.stopping:
        return "the server is stopping"
    if not service.ready:
        return "the models are being loaded"
    try:
        await asyncio.to_thread(service.store.check)
    except OutputError as error:
        log.warning("%s", error)
        return "the ledger cannot be written"
    return ""


def _report(service: Service) -> dict[str, Any]:
    standing = service.store.standing()
    memory = psutil.Process().memory_info().rss
    report: dict[str, Any] = {
        "version": portrayer.__version__,
        "ready": service.ready,
        "queue": {
            "queued": sum(standing.queued.values()),
            "running": standing.running,
            "oldest": standing.oldest,
        },
        "memory": {"process": memory, "available": available()},
        "gpus": [asdict(gpu) for gpu in utilisation()],
        "devices": [],
    }
    if service.studio is None:
        return report
    pipeline = service.studio.pipeline
    stats = pipeline.engine.stats()
    report["memory"] |= {"reserved": pipeline.host.reserved, "budget": pipeline.host.total}
    report["workers"] = pipeline.workers
    report["waiting"] = stats.waiting
    report["splits"] = stats.splits
    report["devices"] = [
        {
            "name": device.name,
            "precision": device.precision,
            "reserved": device.reserved,
            "budget": device.total,
            "models": list(device.models),
            "batch": device.batch,
            "why": device.why,
            "samples": device.samples,
            "forwards": device.forwards,
            "busy": round(device.busy, 3),
        }
        for device in (*stats.devices, *(service.crew().devices if service.crew else ()))
    ]
    report["pace"] = service.metrics.pace(pipeline.workers)
    return report
