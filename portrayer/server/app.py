"""The server put together: ledger and folder, service, routes, and what stands around them."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

import portrayer
from portrayer.errors import NotFound, PortrayerError
from portrayer.jobs.store import Store
from portrayer.server import catalogue, items, jobs, photos, refusal, removebg, session, system
from portrayer.server.edge import Guard, Headers, Traced
from portrayer.server.metrics import Metrics
from portrayer.server.patience import Patience
from portrayer.server.refusal import InvalidRequest
from portrayer.server.service import Service
from portrayer.server.shelf import Shelf
from portrayer.server.views import unplaced
from portrayer.settings import Settings

log = logging.getLogger(__name__)

STATIC = Path(str(resources.files("portrayer.server") / "static"))
PROBES = ("/healthz", "/readyz", "/metrics")
# Without a token: nothing of anybody's is in them.
OPEN = ("/", "/docs", "/static", "/openapi.json", session.PATH)


@contextmanager
def opened(settings: Settings) -> Iterator[FastAPI]:
    """The server over its folder, which is its own meanwhile.

    Raises:
        OutputError: the folder cannot be written, or another server works in it.
    """
    server = settings.server
    shelf = Shelf(server.data, server.spare_disk)
    with suppress(OSError):  # the store says so
        shelf.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with Store(shelf.ledger) as store, store.own():
        store.recover()
        yield build(Service(settings, store, shelf))


def build(service: Service) -> FastAPI:
    """The application of a service."""

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        async with service.living():
            yield

    app = FastAPI(
        title="Portrayer",
        version=portrayer.__version__,
        summary="Cuts out, restores and fuses portraits",
        description="Answers errors as `{errors: [{title, code, detail}]}`. A photo at once: "
        "`POST /v1/matte`. Many: `POST /v1/jobs`.",
        lifespan=life,
        redirect_slashes=False,  # it would say the host that the client has said
        docs_url=None,
        redoc_url=None,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    app.state.service = service
    for room in (photos, jobs, items, removebg, catalogue, system):
        app.include_router(room.routes(service))
    server = service.settings.server
    token = server.token.get_secret_value()
    app.include_router(session.routes(token))

    @app.get("/", include_in_schema=False)
    async def front() -> Response:
        return FileResponse(STATIC / "index.html")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return FileResponse(STATIC / "docs.html")

    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_exception_handler(PortrayerError, _told)
    app.add_exception_handler(HTTPException, _plain)
    app.add_exception_handler(RequestValidationError, _invalid)
    hosts = [name.strip() for name in server.hosts.split(",") if name.strip()]
    # From the inside out: whoever is turned away has its body drained, a line, and the headers.
    app.add_middleware(Guard, token=token, hosts=[server.host, *hosts], open=OPEN)
    app.add_middleware(Patience)
    app.add_middleware(Traced, observe=partial(_observed, service.metrics))
    app.add_middleware(Headers)
    _secured(app, bool(token))
    return app


def _observed(metrics: Metrics, route: str, method: str, code: int, seconds: float) -> None:
    """Counted, and written down unless it is a probe's."""
    metrics.requested(route, method, code, seconds)
    level = logging.DEBUG if route in PROBES else logging.INFO
    log.log(level, "%s %s %d", method, route, code, extra={"seconds": round(seconds, 4)})


async def _told(request: Request, error: Exception) -> Response:
    assert isinstance(error, PortrayerError)
    if refusal.status(error) >= 500:
        log.warning("%s: %s", error.code, error)
    settings = request.app.state.service.settings
    reason = error.reason
    for place in (settings.server.data.absolute(), settings.models.absolute()):
        reason = unplaced(reason, place, "(server)")
    return refusal.answer(type(error)(reason))


async def _plain(request: Request, error: Exception) -> Response:
    """What the framework itself refuses: an unknown address, a method that is not for it."""
    assert isinstance(error, HTTPException)
    kind = NotFound if error.status_code == 404 else InvalidRequest
    said = kind(f"{request.method} {request.url.path[:200]}: {str(error.detail).lower()}")
    headers = dict(error.headers or {})
    if error.status_code == 405:  # the framework names those of one route alone
        path = getattr(request.scope.get("route"), "path", "")
        there = request.app.openapi()["paths"].get(path, {"get": {}})
        headers["Allow"] = ", ".join(sorted(method.upper() for method in there))
    return JSONResponse(refusal.body(said), error.status_code, headers)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first: Mapping[str, Any] = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:])
    return refusal.answer(InvalidRequest(f"{where}: {str(first['msg']).lower()}"))


def _secured(app: FastAPI, token: bool) -> None:
    """The document says how a client shows who it is."""
    plain = app.openapi

    @cache
    def document() -> dict[str, Any]:
        schema = plain()
        schemes = schema.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes["key"] = {"type": "apiKey", "in": "header", "name": "X-Api-Key"}
        schemes["bearer"] = {"type": "http", "scheme": "bearer"}
        if token:
            schema["security"] = [{"key": []}, {"bearer": []}]
        for path in schema["paths"].values():
            for operation in path.values():
                # FastAPI's own shape of a wrong parameter: here that is a 400 like any other.
                if "HTTPValidationError" in str(operation["responses"].get("422", "")):
                    operation["responses"]["400"] = schema["paths"]["/v1/jobs"]["post"][
                        "responses"
                    ]["400"]
                    del operation["responses"]["422"]
        return schema

    app.openapi = document  # type: ignore[method-assign]
