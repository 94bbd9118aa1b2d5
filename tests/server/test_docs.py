"""The page of the API: small, of one origin, legible; what it shows is what it sends."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import uvicorn
from fastapi import FastAPI, Header, Query, Security
from fastapi.security import APIKeyHeader
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

import portrayer
from portrayer.server.edge import Headers

from .running import Running

ROOT = Path(portrayer.__file__).parents[1]
STATIC = ROOT / "portrayer" / "server" / "static"
DEPLOY = ROOT / "deploy"
HTML, SCRIPT, STYLE = (
    (STATIC / f"docs.{kind}").read_text("utf-8") for kind in ("html", "js", "css")
)
MOST = 30_000  # bytes of the page with all that it loads
LEGIBLE, VISIBLE = 4.5, 3.0  # contrast of text and of the edges of controls, WCAG 2.2 AA


class Page(HTMLParser):
    """Every element with its attributes, and the text inside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inline = ""
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in ("script", "style"):
            self.inline += data

    def all_of(self, name: str) -> list[str]:
        return [attrs[name] or "" for _, attrs in self.elements if name in attrs]


PAGE = Page(HTML)


def test_the_page_is_small() -> None:
    """Page, script and style together."""
    assert sum(len(text.encode()) for text in (HTML, SCRIPT, STYLE)) < MOST


def test_nothing_is_inline() -> None:
    """The strictest policy, default-src 'self', lets all of it through."""
    assert not PAGE.inline.strip()
    names = {name for _, attrs in PAGE.elements for name in attrs}
    assert not {name for name in names if name == "style" or name.startswith("on")}
    assert not re.search(r"\.style\b|cssText|[\"']style[\"']|\beval\b|\bFunction\(", SCRIPT)


def test_nothing_is_asked_of_another_origin() -> None:
    """Addresses are relative, so that they hold below any path of a proxy too."""
    assert all(re.match(r"static/|#|openapi\.json$|data:image/", a) for a in _addresses())
    namespace = "http://www.w3.org/2000/svg"
    assert not re.search(r"(https?:)?//\w", HTML.replace(namespace, ""))
    assert not re.search(r"https?:", SCRIPT)
    assert not re.search(r"url\(|@import", STYLE)


def _addresses() -> list[str]:
    return PAGE.all_of("src") + PAGE.all_of("href")


def test_a_document_cannot_bring_markup() -> None:
    """What openapi.json and answers say becomes text, whatever is in it."""
    assert not re.search(r"(inner|outer)HTML|insertAdjacentHTML|document\.write|DOMParser", SCRIPT)


def test_the_token_is_kept_nowhere() -> None:
    """In the page's memory alone: no storage, no cookie, no address."""
    assert not re.search(r"(local|session)Storage|cookie\s*=|indexedDB|history\.", SCRIPT)


def test_what_the_page_draws_has_a_style_and_no_style_is_left_over() -> None:
    """Classes of the style sheet and classes of the page are the same."""
    given = [word for value in PAGE.all_of("class") for word in value.split()]
    given += [w for value in re.findall(r"class: [\"`]([^\"`]+)", SCRIPT) for w in value.split()]
    styled = set(
        re.findall(r"\.([a-z][\w-]*)(?=[^{}]*\{)", re.sub(r"/\*.*?\*/", "", STYLE, flags=re.S))
    )
    methods = {"get", "post", "delete"}
    assert {word for word in given if "$" not in word and "}" not in word} | methods == styled


def schemes() -> Mapping[str, Mapping[str, str]]:
    """Colours by name, in light and in dark."""
    light, dark = (
        dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{6})", block))
        for block in re.findall(r":root\s*\{(.*?)\}", STYLE, flags=re.S)
    )
    return {"light": light, "dark": {**light, **dark}}


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2)."""
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    """1 (the same) to 21 (black on white)."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", schemes())
def test_text_is_legible_in_light_and_dark(scheme: str) -> None:
    """Every colour of text on every ground that it may stand on; edges of controls."""
    colours = schemes()[scheme]
    for ground in ("paper", "soft"):
        for text in ("ink", "quiet", "accent", "get", "post", "delete"):
            assert contrast(colours[text], colours[ground]) >= LEGIBLE, (text, ground)
    assert contrast(colours["on-accent"], colours["accent"]) >= LEGIBLE
    assert contrast(colours["edge"], colours["paper"]) >= VISIBLE


def test_the_measure_of_contrast_is_the_standards() -> None:
    """Black on white is 21, #767676 on white the lightest grey that passes."""
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") >= LEGIBLE > contrast("#777777", "#ffffff")


# --- in a browser ---------------------------------------------------------------------------------

NASTY = ["plain", "it's", '"', "a b&c=d", "@/etc/hostname", "<x", "a;type=b", "$HOME`id`\\", "ü ✓"]
STATE = Literal["queued", "done"]


class Node(BaseModel):
    """A schema that holds itself."""

    name: str = "node"
    inside: list[Node] = []


def described() -> dict[str, Any]:
    """An OpenAPI document as FastAPI writes it, with a little of everything."""
    app = FastAPI(title="<b>Markup</b>", version="1", docs_url=None, redoc_url=None)
    key = Security(APIKeyHeader(name="X-Api-Key"))
    picture = {"type": "string", "contentMediaType": "application/octet-stream"}
    form = {
        "type": "object",
        "required": ["photo"],
        "properties": {
            "photo": picture,
            "many": {"type": "array", "items": picture},
            "text": {"type": "string", "default": "<img src=x onerror=alert(1)>"},
            "options": {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": {"type": "object", "properties": {"blend": {"type": "number"}}},
            },
            "size": {"type": "string", "enum": ["small", "large"]},
        },
    }
    body = {"requestBody": {"content": {"multipart/form-data": {"schema": form}}}}

    @app.get("/echo/{id}", tags=["one"], dependencies=[key])
    def one(
        id: str,
        text: Annotated[str, Query(description="`x` and **y**")],
        state: STATE | None = None,
        limit: Annotated[int, Query(ge=1, le=9)] = 3,
        if_match: Annotated[str, Header()] = "",
    ) -> Node: ...

    @app.post("/echo/form", tags=["two"], openapi_extra=body)
    def two() -> Node: ...

    @app.delete("/echo/{id}", tags=["one"])
    def three(id: str) -> None: ...

    return app.openapi()


@dataclass
class Echo:
    """A server of the page whose operations only remember how they were called."""

    address: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)

    async def remember(self, request: Request) -> Response:
        async with request.form() as form:
            told = [
                (name, value if isinstance(value, str) else (value.filename, value.file.read()))
                for name, value in form.multi_items()
            ]
        call = {"method": request.method, "path": request.scope["raw_path"], "form": told}
        names = ("x-api-key", "if-match")
        call["headers"] = {name: request.headers.get(name) for name in names}
        call["query"] = request.query_params.multi_items()
        self.calls.append(call)
        return JSONResponse({"name": "<i>told</i>"})


@pytest.fixture(scope="module")
def echo() -> Iterator[Echo]:
    told, document = Echo(), described()
    app = Starlette(
        routes=[
            Route("/docs", lambda _: FileResponse(STATIC / "docs.html")),
            Route("/openapi.json", lambda _: JSONResponse(document)),
            Mount("/static", StaticFiles(directory=STATIC)),
            Route("/echo/{id:path}", told.remember, methods=["GET", "POST", "DELETE"]),
        ]
    )
    with socket.create_server(("127.0.0.1", 0)) as sock:
        told.address = f"http://127.0.0.1:{sock.getsockname()[1]}"
        config = uvicorn.Config(
            Headers(app), ws="none", log_level="error", timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
        thread.start()
        yield told
        server.should_exit = True
        thread.join()


class Watched:
    """A page with all that it complained of and asked for."""

    def __init__(self, browser: Any, address: str, **how: Any) -> None:
        self.page = browser.new_page(**how)
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda m: m.type == "error" and self.complaints.append(m.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(f"{address}/docs")
        self.page.wait_for_selector("article")


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 768, 390])
def test_it_is_drawn_whole_at_every_width(
    chromium: Any, server: Running, width: int, scheme: str
) -> None:
    """The real server's document under its own policy: every operation, nothing beside the page,
    no error, and no request off the origin."""
    document = server.client.get("/openapi.json").raise_for_status().json()
    size = {"width": width, "height": 900}
    watched = Watched(chromium, server.address, viewport=size, color_scheme=scheme)
    page = watched.page
    operations = sum(len(methods) for methods in document["paths"].values())
    assert page.locator("article").count() == page.locator("nav a").count() == operations
    for summary in page.locator("main summary:visible").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#index").evaluate("each => each.open") is (width > 1000)
    assert watched.complaints == []
    assert all(url.startswith((server.address, "data:")) for url in watched.asked)
    page.close()


@pytest.mark.browser
@pytest.mark.parametrize("text", NASTY)
def test_what_the_command_sends_is_what_the_page_sends(
    chromium: Any, echo: Echo, tmp_path: Path, text: str
) -> None:
    """Every value reaches the server as it was typed, from the form and from a shell alike."""
    page = Watched(chromium, echo.address).page
    page.locator("#token").fill("a token")
    name = "a;b,c.jpg" if '"' in text else "photo.jpg"
    (tmp_path / name).write_bytes(b"picture")
    filled = {
        "#get-echo-id": {
            "path id": text,
            "query text": text,
            "query limit": "5",
            "header if-match": "x",
        },
        "#post-echo-form": {"form text": text, "form options": json.dumps({"blend": text})},
    }
    for place, values in filled.items():
        article = page.locator(place)
        for summary in article.locator(".ready summary").all():
            summary.click()
        for label, value in values.items():
            article.locator(f"[name='{label}']").fill(value)
        for files in article.locator("input[type=file]").all():
            files.set_input_files(tmp_path / name)
        for chosen in article.locator("select").all():
            chosen.select_option(index=1)
        article.get_by_role("button", name="Send").click()
        article.locator(".answer pre").nth(1).wait_for()
        command = article.locator(".curl").inner_text()
        assert "a token" not in command
        environment = {**os.environ, "TOKEN": "a token"}
        subprocess.run(
            ["bash", "-c", command], env=environment, cwd=tmp_path, check=True, capture_output=True
        )
        mine, shells = echo.calls[-2:]
        assert mine == shells
        assert mine["headers"]["x-api-key"] == "a token"
        sent = dict(mine["form"] or mine["query"])
        assert sent["text"] == text
    assert sent["photo"] == sent["many"] == (name, b"picture")
    page.close()


@pytest.mark.browser
def test_what_a_document_says_is_text(chromium: Any, echo: Echo) -> None:
    """Markup in it is shown, not obeyed, and a schema that holds itself ends."""
    watched = Watched(chromium, echo.address)
    assert watched.page.locator("h1").inner_text() == "<b>Markup</b>"
    assert watched.page.locator("main img, main b").count() == 0
    assert watched.page.locator("#get-echo-id strong").inner_text() == "y"
    assert watched.complaints == []
    watched.page.close()


@pytest.mark.browser
def test_a_keyboard_is_enough(chromium: Any, echo: Echo) -> None:
    """Tab reaches the way past the index, then the token; Enter opens a trial and sends it."""
    page = Watched(chromium, echo.address).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.hash") == "#main"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "token"
    page.locator("#get-echo-id .try > summary").focus()
    for key in ("Enter", "Tab", "7", "Tab", "x", "Enter"):
        page.keyboard.press(key)
    page.locator("#get-echo-id .answer pre").nth(1).wait_for()
    assert echo.calls[-1]["path"] == b"/echo/7"
    page.close()
