"""The page of the API: small, of one origin, legible; what it shows is what it sends.

And what an operator deploys with: it fits the package it is for.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from dataclasses import dataclass, field
from fnmatch import fnmatch
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
from portrayer.image import codec
from portrayer.server.edge import Headers
from portrayer.settings import Server, Settings
from tests.portraits import admiral, astronaut

from .running import TOKEN, Running

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
        server = uvicorn.Server(uvicorn.Config(Headers(app), ws="none", log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        yield told
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with playwright.sync_playwright() as driver:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        yield browser
        browser.close()


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


# --- what engineers read --------------------------------------------------------------------------

GUIDE = (ROOT / "docs" / "server.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    """The fenced blocks of the guide."""
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, flags=re.M | re.S)


@pytest.fixture
def desk(tmp_path: Path, server: Running) -> Iterator[Path]:
    """A folder as the guide's reader has it; curl finds the server's token there. The server keeps
    no job of it."""
    (tmp_path / "photos").mkdir()
    for name in ("photo", "old", "me", "photos/one", "photos/two"):
        (tmp_path / f"{name}.jpg").write_bytes(codec.encode(astronaut(), "jpeg"))
    for name in ("costume", "beach", "photos/three"):
        (tmp_path / f"{name}.jpg").write_bytes(admiral())
    (tmp_path / ".curlrc").write_text(f'silent\nheader = "X-Api-Key: {TOKEN}"\n')

    def jobs() -> set[str]:
        return {job["id"] for job in server.client.get("/v1/jobs").json()["jobs"]}

    before = jobs()
    yield tmp_path
    for job in jobs() - before:
        server.client.delete(f"/v1/jobs/{job}?purge=true").raise_for_status()


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_every_command_of_the_guide_works_as_it_stands(desk: Path, server: Running) -> None:
    """All of them, one after the other, in one shell; what they say they write is there."""
    commands = [block for block in blocks("sh") if "curl" in block]
    assert len(commands) == 4
    environment = {**os.environ, "HOME": str(desk), "SERVER": server.address, "TOKEN": TOKEN}
    script = "\n".join(("set -euo pipefail", *commands))
    ran = subprocess.run(
        ["bash", "-c", script], cwd=desk, env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for name in re.findall(r"-o (\S+\.(?:png|jpg))", script):
        assert codec.probe((desk / name).read_bytes()).pixels
    with zipfile.ZipFile(desk / "results.zip") as archive:
        assert sorted(archive.namelist()) == ["one.png", "three.png", "two.png"]


def test_every_program_of_the_guide_works_as_it_stands(desk: Path, server: Running) -> None:
    """But for the server's address and its token."""
    for program in blocks("python"):
        own = program.replace("http://127.0.0.1:7860", server.address).replace(
            '"TOKEN"', repr(TOKEN)
        )
        subprocess.run([sys.executable, "-c", own], cwd=desk, check=True, capture_output=True)
    assert (desk / "photo.jpg_no_bg.png").is_file()
    assert zipfile.is_zipfile(desk / "results.zip")


def test_the_guide_tells_every_figure(server: Running) -> None:
    """The names of its table and those of /metrics are the same; a card is not always there."""
    text = server.client.get("/metrics").raise_for_status().text
    there = set(re.findall(r"^# HELP (portrayer_\w+)", text, flags=re.M))
    named = set(re.findall(r"portrayer_\w+", GUIDE))
    assert {name for name in named if "_gpu_" not in name} == there


def test_the_guide_tells_the_limits_as_they_are() -> None:
    """Setting and usual value of each row of its table."""
    rows = re.findall(r"^\| [^|]* \| `(\w+)`[^|]* \| ([\d,]+) ?([GM]iB)? \|", GUIDE, flags=re.M)
    assert len(rows) == 10
    values = Settings().model_dump() | Server().model_dump()
    for name, number, unit in rows:
        usual = int(number.replace(",", "")) << {"": 0, "MiB": 20, "GiB": 30}[unit]
        assert values[name] == usual, name


# --- what an operator deploys with ----------------------------------------------------------------


def instructions(name: str) -> Iterator[tuple[str, str]]:
    """(INSTRUCTION, rest) of a Dockerfile, lines joined and comments left out."""
    text = re.sub(r"^\s*#.*\n", "", (DEPLOY / name).read_text("utf-8"), flags=re.M)
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word, rest


IMAGES = ("Dockerfile", "Dockerfile.cuda")


@pytest.mark.parametrize("name", IMAGES)
def test_what_an_image_copies_is_there(name: str) -> None:
    """Each source of COPY lies in the repository and reaches the build."""
    ignored = [
        line.rstrip("/")
        for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    copies = [shlex.split(rest) for word, rest in instructions(name) if word == "COPY"]
    sources = [s for words in copies if "--from" not in words[0] for s in words[:-1]]
    assert sources
    kept = [line[1:] for line in ignored if line.startswith("!")]
    for source in sources:
        assert (ROOT / source).exists(), source
        hidden = any(fnmatch(source.rstrip("/"), line) for line in ignored if line[0] != "!")
        assert not hidden or source.rstrip("/") in kept, source


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_runs_as_nobody_in_particular_and_hears_its_signals(name: str) -> None:
    """A user without rights, exec forms, a health check, one volume, no build tools at the end."""
    rows = list(instructions(name))
    last = rows[max(i for i, (word, _) in enumerate(rows) if word == "FROM") :]
    said = dict(last)
    assert said["USER"] not in ("root", "0")
    assert json.loads(said["ENTRYPOINT"])[-1] == "portrayer"
    assert json.loads(said["CMD"]) == ["serve"]
    assert "/readyz" in said["HEALTHCHECK"]
    assert [rest for word, rest in rows if word == "VOLUME"] == ["/data"]
    assert int(said["EXPOSE"]) == Server().port
    run = " ".join(rest for word, rest in last if word == "RUN")
    assert not re.search(r"\bpip\b|apt-get install|gcc|build-essential", run)


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_has_a_python_that_the_package_takes(name: str) -> None:
    """As pyproject.toml says, and with the pinned versions."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    least = tuple(map(int, project["requires-python"].removeprefix(">=").split(".")))
    versions = [
        m[1]
        for w, rest in instructions(name)
        if w == "FROM" and (m := re.search(r"python:([\d.]+)", rest))
    ]
    assert versions
    assert all(tuple(map(int, version.split("."))) >= least for version in versions)
    installs = [
        rest for word, rest in instructions(name) if word == "RUN" and "pip install" in rest
    ]
    assert installs
    assert all("-c constraints.txt" in rest for rest in installs)


@pytest.mark.parametrize(
    "path", [*sorted(DEPLOY.iterdir()), ROOT / "docs" / "server.md"], ids=lambda p: p.name
)
def test_every_setting_that_is_named_exists(path: Path) -> None:
    """PORTRAYER_<FIELD> and PORTRAYER_SERVER_<FIELD>, and nothing that sounds like them."""
    known = {f"PORTRAYER_{name.upper()}" for name in [*Settings.model_fields, "config"]}
    known |= {f"PORTRAYER_SERVER_{name.upper()}" for name in Server.model_fields}
    assert set(re.findall(r"PORTRAYER_[A-Z_]+[A-Z]", path.read_text("utf-8"))) <= known


def test_the_unit_is_hardened_and_ends_in_time() -> None:
    """It sees nothing but its own folders, and is given longer to stop than it takes."""
    parser = ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string((DEPLOY / "portrayer.service").read_text("utf-8"))
    unit = parser["Service"]
    for key in ("DynamicUser", "NoNewPrivileges", "ProtectHome", "PrivateTmp"):
        assert unit.getboolean(key), key
    assert unit["ProtectSystem"] == "strict"
    assert unit["StateDirectory"] == "portrayer"
    assert unit["KillSignal"] == "SIGTERM"
    assert unit["Restart"] == "on-failure"
    assert int(unit["TimeoutStopSec"]) > 10  # seconds that a graceful stop may take
    # Either would take the graphics cards away.
    assert "PrivateDevices" not in unit
    assert "ProtectClock" not in unit
