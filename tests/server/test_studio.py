"""The studio page at ``/``: a person's whole way through it, on the real server, in a browser."""

from __future__ import annotations

import base64
import re
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import portrayer
from portrayer.image import codec
from portrayer.models import installed
from portrayer.models.catalog import spec
from portrayer.settings import load

from ..portraits import admiral, astronaut
from ..tasks import stubs
from .running import PATIENCE, TOKEN, Running, serving

STUDIO = Path(portrayer.__file__).parent / "server" / "static" / "studio"
# npm install --no-save --prefix ~/.cache/axe axe-core
AXE = Path.home() / ".cache/axe/node_modules/axe-core/axe.min.js"
MOST = 150_000  # bytes of the page with all that it loads at first
FRAME = 16.8  # ms at 60 Hz
TASKS = ("matte", "enhance", "fuse")
BROKEN = "portrait 15.jpg"

DROP = """files => {
  const transfer = new DataTransfer();
  for (const [name, type, text] of files) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    transfer.items.add(new File([bytes], name, { type }));
  }
  for (const kind of ["dragenter", "dragover", "drop"]) {
    const how = { dataTransfer: transfer, bubbles: true, cancelable: true };
    document.body.dispatchEvent(new DragEvent(kind, how));
  }
}"""
PASTE = (
    DROP[: DROP.index("  for (const kind")]
    + """
  const how = { clipboardData: transfer, bubbles: true, cancelable: true };
  document.body.dispatchEvent(new ClipboardEvent("paste", how));
}"""
)
# All that is read or heard: text, labels, titles, placeholders, seen or not.
WORDS = """() => {
  const names = ["aria-label", "title", "placeholder", "alt", "aria-valuetext"];
  const said = [document.title];
  for (const element of document.body.querySelectorAll(":not(#said)")) {
    for (const name of names) said.push(element.getAttribute(name));
    for (const child of element.childNodes) if (child.nodeType === 3) said.push(child.data);
  }
  return said.filter((text) => text?.trim());
}"""
NOTHING = re.compile(r"\b(undefined|null|NaN|Infinity)\b|\[object")  # said where there is none
# What the progress bar showed, every value of it.
PROGRESS = """() => {
  const bar = document.querySelector("#bar");
  globalThis.progress = [bar.value];
  new MutationObserver(() => progress.push(bar.value)).observe(bar, { attributes: true });
}"""
# What is seen, at least in part, beyond the window's right edge, and what scrolls sideways.
WIDE = """() => [...document.querySelectorAll("body *")].filter((element) => {
  if (!element.checkVisibility() || element.closest("dialog, .visually-hidden")) return false;
  const scrolls = (box) => getComputedStyle(box).overflowX !== "visible";
  if (/auto|scroll/.test(getComputedStyle(element).overflowX)
    && element.scrollWidth > element.clientWidth + 1) return true;
  let { right } = element.getBoundingClientRect();
  for (let box = element.parentElement; box; box = box.parentElement) {
    if (scrolls(box)) right = Math.min(right, box.getBoundingClientRect().right);
  }
  return right > innerWidth + 1;
}).map((element) => element.outerHTML.slice(0, 200))"""
# What lies over the view, or cuts it off: looked for at its middle and 8 px within its edges.
COVERED = """() => {
  const view = document.querySelector("#compare");
  const { left, right, top, bottom } = view.getBoundingClientRect();
  const rows = [top + 8, (top + bottom) / 2, bottom - 8];
  const seen = rows.map((y) => document.elementFromPoint((left + right) / 2, y));
  return seen.filter((over) => !view.contains(over)).map((over) => over?.outerHTML ?? "none");
}"""
KEEP = "presets => localStorage.setItem('portrayer.presets', JSON.stringify(presets))"
READY = """addEventListener("DOMContentLoaded", () => {
  globalThis.loaded = performance.now();
  const look = () => {
    if (document.querySelector("#controls .option")) globalThis.drawn = performance.now();
    else requestAnimationFrame(look);
  };
  look();
});"""
GAPS = """() => {
  globalThis.gaps = [];
  let last = 0;
  const tick = (now) => {
    if (last) gaps.push(now - last);
    last = now;
    if (!globalThis.enough) requestAnimationFrame(tick);
  };
  requestAnimationFrame(tick);
}"""


def jpeg(number: int, side: int = 256) -> bytes:
    """A portrait that no other number has."""
    return codec.encode(np.roll(astronaut(), number, 1)[:side, :side].copy(), "jpeg")


def portraits(count: int) -> dict[str, bytes]:
    return {f"portrait {n:02}.jpg": jpeg(n) for n in range(count)}


@dataclass
class Window:
    """A page of the studio, with what it has complained of and asked for."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", lambda m: m.type == "error" and self.complaints.append(m.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def __call__(self, selector: str) -> Any:
        return self.page.locator(selector)

    def until(self, condition: Callable[[], Any], patience: float = PATIENCE) -> Any:
        """What ``condition`` gives once it gives something."""
        deadline = time.monotonic() + patience
        while not (held := condition()):
            assert time.monotonic() < deadline, self("body").inner_text()
            self.page.wait_for_timeout(20)
        return held

    def drawn(self) -> None:
        self("#controls .option").first.wait_for()

    def tab(self, task: str) -> None:
        self(f"#tab-{task}").click()
        self("#fuse .well" if task == "fuse" else "#controls .option").first.wait_for()
        self.drawn()

    def drop(self, files: Mapping[str, bytes], how: str = DROP) -> None:
        self.drawn()
        kind = {"png": "image/png"}
        coded = [
            (name, kind.get(name[-3:], "image/jpeg"), base64.b64encode(blob).decode())
            for name, blob in files.items()
        ]
        self.page.evaluate(how, coded)
        self("#grid [role=option]").first.wait_for()

    def pick(self, button: str, files: Any) -> None:
        with self.page.expect_file_chooser() as asked:
            self(button).click()
        asked.value.set_files(files)

    def run(self, last: str = "") -> str:
        """The id of the job that the button made, another than ``last``."""
        self("#run").click()
        return str(self.until(lambda: (new := self.job()) != last and new))

    def job(self) -> str:
        return str(self.page.evaluate("location.hash.slice(1)"))

    def end(self) -> None:
        """Wait until the job shown is settled."""
        self("#after").wait_for()
        self("#bar").wait_for(state="hidden")

    def level(self) -> str:
        return str(self("#compare .level").inner_text())


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that asks for no token."""
    with serving(tmp_path_factory.mktemp("studio") / "at", token="") as running:
        running.ready()
        yield running


Opened = Callable[..., Window]


@pytest.fixture
def opened(chromium: Any, open_server: Running) -> Iterator[Opened]:
    """Opens the page. At the end no window has complained or asked anything of another origin."""
    windows: list[tuple[Window, str, str]] = []

    def window(
        path: str = "/", server: Running = open_server, forgiven: str = "^$", **how: Any
    ) -> Window:
        given = {"viewport": {"width": 1440, "height": 900}, "locale": "en-US", **how}
        context = chromium.new_context(**given)
        context.add_init_script(READY)
        new = Window(context.new_page())
        windows.append((new, server.address, forgiven))
        new.page.goto(server.address + path)
        return new

    yield window
    for each, address, forgiven in windows:
        each.page.wait_for_timeout(50)
        each.page.context.close()
        assert [text for text in each.complaints if not re.search(forgiven, text)] == []
        ours = (f"{address}/", "data:", f"blob:{address}/")
        assert [url for url in each.asked if not url.startswith(ours)] == []


# --- its words ------------------------------------------------------------------------------------


def table(language: str) -> dict[str, str]:
    """The words of the page, by key."""
    text = (STUDIO / f"{language}.js").read_text("utf-8")
    return dict(re.findall(r'^\s*"([^"]+)":\s*"(.*)",$', text, flags=re.M))


def test_both_languages_say_the_same_things() -> None:
    """The same keys, once each, with the same values in them, but for the English singular."""
    english, chinese = table("en"), table("zh")
    for language, words in (("en", english), ("zh", chinese)):
        lines = re.findall(r'^\s*"', (STUDIO / f"{language}.js").read_text("utf-8"), flags=re.M)
        assert len(lines) == len(words) > 100
    assert {key for key in english if not key.endswith(".one")} == {
        key for key in chinese if not key.endswith(".one")
    }
    for key in chinese:
        values = [set(re.findall(r"\{\w+\}", words[key])) for words in (english, chinese)]
        assert values[0] == values[1] or key.endswith(".one"), key


def test_no_module_waits_at_its_top() -> None:
    """WebKit runs a module that imports one with a top-level await before that one is there."""
    waits = re.compile(r"^(?!//|/?\*|.*\basync\b)\S.*\bawait\b", flags=re.M)
    modules = {path.name: path.read_text("utf-8") for path in STUDIO.glob("*.js")}
    imported = {name for text in modules.values() for name in re.findall(r'"\./(\w+\.js)"', text)}
    assert len(imported) > 10
    assert [name for name in sorted(imported) if waits.search(modules[name])] == []


@pytest.mark.browser
def test_every_word_is_in_the_language_that_is_chosen(opened: Opened) -> None:
    """No key stands in its own place, and after a switch no word of the other language; a reload
    keeps the choice."""
    english, chinese = table("en"), table("zh")
    key = re.compile(rf"\b({'|'.join({key.partition('.')[0] for key in english})})\.[a-z0-9]")
    foreign = {word for name, word in english.items() if word != chinese.get(name)} - {"English"}
    window = opened()
    window.drop({"one.png": codec.encode(astronaut(), "png")})
    window("#open-device").click()
    window("#open-history").click()
    window("#history [data-close]").click()
    for words, tag in ((english, "en"), (chinese, "zh-CN")):
        if tag != "en":
            window("#language").click()
        window.until(lambda tag=tag: window("html").get_attribute("lang") == tag)
        for task in TASKS:
            window.tab(task)
            said = {text.strip() for text in window.page.evaluate(WORDS)}
            assert [text for text in said if key.search(text) or NOTHING.search(text)] == []
            assert words[f"task.{task}"] in said
            assert tag == "en" or said & foreign == set()
    window.page.reload()
    window.drawn()
    assert window("html").get_attribute("lang") == "zh-CN"


# --- the way through ------------------------------------------------------------------------------


@pytest.mark.browser
def test_thirty_photos_dropped_watched_and_taken_away(opened: Opened, open_server: Running) -> None:
    """Progress only grows; a reload on the way finds the job; the broken photo says why; keys
    compare, and a zoom stays from photo to photo; the ZIP holds every other one under its name."""
    window = opened()
    files = {**portraits(30), BROKEN: b"this is no photo"}
    window.drop(files)
    assert "30" in window("#count").inner_text()
    job = window.run()
    window.until(lambda: open_server.client.get(f"/v1/jobs/{job}").json()["done"])
    window.page.reload()
    view = open_server.client.get(f"/v1/jobs/{job}").json()
    assert view["done"] + view["failed"] < view["total"] == 30
    window("#bar:visible").wait_for()
    window.page.evaluate(PROGRESS)
    assert window.job() == job
    window.end()
    seen = window.page.evaluate("progress")
    assert seen == sorted(seen)
    assert seen[-1] == 1
    assert len(set(seen)) > 2
    assert re.search(r"\b29\b.*\b1\b", window("#count").inner_text())

    grid = window("#grid")
    grid.focus()
    grid.press("Home")
    for _ in range(15):
        grid.press("ArrowRight")
    window.until(lambda: window("#compare .name").inner_text() == BROKEN)
    assert table("en")["error.decode"] in window("#why").inner_text()
    assert window("#grid [data-state=failed]").count() == 1
    grid.press("Home")
    _compared(window)

    with window.page.expect_download() as taken:
        window("#save-all").click()
    with zipfile.ZipFile(taken.value.path()) as archive:
        names = set(archive.namelist())
        stems = {Path(name).stem for name in names if name.endswith(".png")}
        assert stems == {Path(name).stem for name in files} - {Path(BROKEN).stem}
        assert BROKEN in archive.read("failed.txt").decode()
        assert archive.testzip() is None
        first = codec.decode(archive.read("portrait 00.png"))
    assert first.image.shape[:2] == astronaut().shape[:2]


def _compared(window: Window) -> None:
    stage, name = window("#compare .stage"), window("#compare .name")
    window.until(lambda: stage.get_attribute("data-view") == "compare")
    stage.focus()
    stage.press("1")
    window.until(lambda: window.level() == "100 %")
    stage.press("+")
    stage.press("+")
    window.until(lambda: window.level() == "200 %")
    for key, wanted in (("ArrowRight", "01"), ("ArrowRight", "02"), ("ArrowLeft", "01")):
        stage.press(key)
        window.until(lambda wanted=wanted: name.inner_text() == f"portrait {wanted}.jpg")
        window.until(lambda: stage.get_attribute("data-view") == "compare")
        assert window.level() == "200 %"
    stage.press("-")
    window.until(lambda: window.level() == "150 %")
    window.page.keyboard.down("Space")
    window.until(lambda: stage.get_attribute("data-view") == "before")
    window.page.keyboard.up("Space")
    window.until(lambda: stage.get_attribute("data-view") == "compare")
    stage.press("0")
    window("#compare .handle").press("End")
    window.until(lambda: window("#compare .handle").get_attribute("aria-valuenow") == "100")


@pytest.mark.browser
def test_photos_come_in_by_every_way(opened: Opened, open_server: Running, tmp_path: Path) -> None:
    """Dropped, pasted and picked ones add up; a folder is walked, what is no photo is left out and
    told, and the job has the folder's name."""
    window = opened()
    one, two, three = portraits(3).items()
    window.drop(dict([one]))
    window.drop(dict([two]), how=PASTE)
    window.until(lambda: "2" in window("#count").inner_text())
    name, blob = three
    window.pick("#add", {"name": name, "mimeType": "image/jpeg", "buffer": blob})
    window.until(lambda: "3" in window("#count").inner_text())
    window("#clear").click()
    window.until(lambda: window("#count").inner_text() == table("en")["shell.none"])

    folder = tmp_path / "the holiday"
    (folder / "later").mkdir(parents=True)
    for path in ("1.jpg", "2.jpg", "later/3.jpg"):
        (folder / path).write_bytes(blob)
    (folder / "guests.txt").write_text("no photo")
    window.pick("#add-folder", folder)
    window.until(lambda: "3" in window("#count").inner_text())
    assert table("en")["shell.left.one"] in window("#toast").inner_text()
    view = open_server.settled(window.run())
    assert (view["name"], view["total"], view["done"]) == ("the holiday", 3, 3)
    window.end()


@pytest.mark.browser
def test_another_preset_and_once_more(opened: Opened, open_server: Running) -> None:
    """The photos stay; the second job has the options of the preset, and so has its result."""
    window = opened()
    window.drop(portraits(2))
    first = window.run()
    window.end()
    window("#controls .presets button[aria-pressed]").filter(
        has_text=table("en")["preset.id-photo"]
    ).click()
    second = window.run(last=first)
    window.end()
    view = open_server.client.get(f"/v1/jobs/{second}").json()
    assert (view["task"], view["total"], view["done"]) == ("matte", 2, 2)
    assert view["options"]["background"] == "white"
    item = open_server.client.get(f"/v1/jobs/{second}/items").json()["items"][0]["id"]
    result = open_server.client.get(f"/v1/items/{item}/result").content
    assert codec.decode(result).image[0, 0].min() > 250
    window.page.keyboard.press("Control+Enter")
    third = window.until(lambda: (new := window.job()) != second and new)
    assert open_server.settled(third)["options"] == view["options"]
    window.end()


@pytest.mark.browser
def test_a_preset_of_ones_own(opened: Opened) -> None:
    """Saved under a name, it is there after a reload, sets what it was saved with, and can go."""
    words, name = table("en"), "my passport"
    window = opened()
    window.drawn()
    cards = window("#controls .presets button[aria-pressed]")
    built_in = cards.count()
    cards.filter(has_text=words["preset.id-photo-blue"]).click()
    window("#controls").get_by_role("button", name=words["controls.save"]).click()
    field = window("#controls").get_by_role("textbox", name=words["controls.save.name"])
    field.fill(name)
    field.press("Enter")
    window.until(lambda: cards.count() == built_in + 1)
    window.page.reload()
    window.drawn()
    colour = window("#controls").get_by_label(words["controls.colour.hex"])
    cards.filter(has_text=words["preset.standard"]).click()
    window.until(lambda: colour.input_value() == "")
    cards.filter(has_text=name).click()
    window.until(lambda: colour.input_value() not in ("", "#ffffff"))
    remove = words["controls.delete"].format(name=name)
    window("#controls").get_by_role("button", name=remove).click()
    window.until(lambda: cards.count() == built_in)


@pytest.fixture
def hairy() -> Iterator[str]:
    """A model of a user's own that cuts out, as long as the test runs."""
    folder = load().models
    stubs.own(folder, "hairy", "modnet")
    yield "hairy"
    installed.remove(spec("hairy", folder))


@pytest.mark.browser
def test_models_tell_their_licence_and_whether_they_are_here(
    opened: Opened, open_server: Running, hairy: str
) -> None:
    """One that is not installed is shown with its licence and the command that brings it, which
    can be copied, and cannot be chosen; a preset that names it is not run. A user's own can be."""
    words = table("en")
    window = opened(permissions=["clipboard-read", "clipboard-write"])
    window.tab("matte")
    window("#controls > details > summary").click()
    field = window("#controls [data-option=model]")
    chosen = field.locator("label:has(:checked)")
    assert chosen.locator("span").first.inner_text() == words["value.model.lite"]
    assert "Apache-2.0" in chosen.inner_text()
    field.get_by_role("radio", name=hairy).check()
    assert words["licence.your own"] in chosen.inner_text()

    window.tab("enhance")
    window("#controls > details > summary").click()
    field.locator("summary").click()
    told = open_server.client.get("/v1/tasks").json()[1]["models"]
    [gpen] = [model for model in told if model["name"] == "gpen-512"]
    row = field.locator(".model").filter(has_text=words["value.model.gpen-512"])
    assert row.get_by_role("radio").is_disabled()
    assert words["models.non-commercial"] in row.inner_text()
    assert gpen["licence"] in row.inner_text()
    command = row.locator("code").inner_text()
    assert f"`{command}` brings it" in gpen["advice"]
    row.get_by_role("button").click()
    window.until(lambda: window.page.evaluate("navigator.clipboard.readText()") == command)
    assert field.get_by_role("radio", name=words["value.model.lite"]).is_checked()

    window.page.evaluate(KEEP, {"enhance": [{"name": "best", "options": {"model": "gpen-512"}}]})
    window.page.reload()
    window.tab("enhance")
    window.drop(portraits(1))
    window("#controls .presets button").filter(has_text="best").click()
    field.get_by_text(words["models.missing"]).wait_for()
    window("#run").click()
    window("#toast p").wait_for()
    assert window.job() == ""


@pytest.mark.browser
def test_two_faces_fused_and_consent_given_once(opened: Opened, open_server: Running) -> None:
    """Without consent nothing is sent; with it the preview comes by itself, and the job is done. A
    reload does not ask again."""
    window = opened()
    window.tab("fuse")
    window.drop({"admiral.jpg": admiral()})
    source = window("#fuse .well").first.locator("input[type=file]")
    source.set_input_files({"name": "astronaut.jpg", "mimeType": "image/jpeg", "buffer": jpeg(0)})
    window("#fuse .box").nth(1).wait_for()  # a face in each
    window("#run").click()
    window.page.wait_for_timeout(100)
    assert window.job() == ""
    window("#fuse-consent").check()
    stage = window("#compare .stage")
    window.until(lambda: stage.get_attribute("data-view") == "compare")
    job = window.run()
    window.end()
    view = open_server.client.get(f"/v1/jobs/{job}").json()
    assert (view["task"], view["done"], view["total"]) == ("fuse", 1, 1)
    item = open_server.client.get(f"/v1/jobs/{job}/items").json()["items"][0]["id"]
    result = codec.decode(open_server.client.get(f"/v1/items/{item}/result").content).image
    before = codec.decode(admiral()).image
    assert result.shape == before.shape
    assert np.abs(result.astype(int) - before).max() > 20
    window.page.reload()
    window("#fuse-consent").wait_for()
    assert window("#fuse-consent").is_checked()


@pytest.mark.browser
def test_looks_before_a_job(opened: Opened, open_server: Running) -> None:
    """One photo tried, all presets on it, its matte and its faces: seen, and no job is made."""
    before = open_server.client.get("/v1/jobs").json()
    window = opened()
    window.drop({"admiral.jpg": admiral(), **portraits(1)})
    window("#try").click()
    stage = window("#compare .stage")
    window.until(lambda: stage.get_attribute("data-view") == "compare")
    window.until(lambda: window("#try").get_attribute("aria-busy") == "false")
    for view in ("matte", "faces", "before", "result"):
        window(f"#compare .views label:has([value={view}])").click()
        window.until(lambda view=view: stage.get_attribute("data-view") == view)
    window("#compare .views label:has([value=faces])").click()
    window("#compare .boxes span").first.wait_for()
    window("#open-sheet").click()
    cards = window("#sheet .body > button")
    window.until(lambda: cards.count() > 3)
    window.until(lambda: window("#sheet .body > button[aria-busy=true]").count() == 0)
    assert window("#sheet .body img").count() == cards.count()
    cards.filter(has_text=table("en")["preset.id-photo-blue"]).click()
    window("#sheet").wait_for(state="hidden")
    chosen = window("#controls .presets button[aria-pressed=true]")
    assert chosen.inner_text().strip() == table("en")["preset.id-photo-blue"]
    window.until(lambda: window("#try").get_attribute("aria-busy") == "false")
    assert window.job() == ""
    assert open_server.client.get("/v1/jobs").json() == before


@pytest.mark.browser
def test_jobs_of_before(opened: Opened, open_server: Running) -> None:
    """Found by name, opened, some of its photos taken away as a ZIP, and removed for good."""
    files = [("files", (name, blob)) for name, blob in portraits(4).items()]
    fields = {"task": "enhance", "name": "the wedding", "max-side": "64"}
    answer = open_server.client.post("/v1/jobs", data=fields, files=files)
    job = answer.raise_for_status().json()["id"]
    open_server.settled(job)
    window = opened()
    window.drop(portraits(1))
    last = window.run()
    window.end()
    window("#open-history").click()
    window("#history input[type=search]").fill("wedding")
    window.until(lambda: window("#history .jobs > li").count() == 1)
    window("#history .jobs .open").click()
    window.until(lambda: window.job() == job)
    assert window("#tab-enhance").get_attribute("aria-selected") == "true"
    window("#grid [aria-posinset='2']").click()
    window("#grid [aria-posinset='3']").click(modifiers=["Shift"])
    with window.page.expect_download() as taken:
        window("#save-all").click()
    with zipfile.ZipFile(taken.value.path()) as archive:
        assert {Path(name).stem for name in archive.namelist()} == {"portrait 01", "portrait 02"}
        assert archive.testzip() is None
    window("#open-history").click()
    window("#history input[type=search]").fill("wedding")
    window.until(lambda: window("#history .jobs > li").count() == 1)
    remove = window("#history .jobs > li").get_by_role("button").last
    remove.click()
    remove.click()
    window.until(lambda: open_server.client.get(f"/v1/jobs/{job}").status_code == 404)
    assert open_server.client.get(f"/v1/jobs/{last}").status_code == 200
    window.until(lambda: window.job() == "")


@pytest.mark.browser
def test_a_photo_has_one_name_in_every_zip(opened: Opened) -> None:
    """Two photos of one name are told apart alike in the server's ZIP of all and in the page's of
    some, and both are called alike."""
    window = opened()
    window.drop({"a.jpg": jpeg(1), "a.png": codec.encode(astronaut(), "png"), "b.jpg": jpeg(2)})
    window.run()
    window.end()

    def taken() -> tuple[str, set[str]]:
        with window.page.expect_download() as taken:
            window("#save-all").click()
        with zipfile.ZipFile(taken.value.path()) as archive:
            assert archive.testzip() is None
            return taken.value.suggested_filename, set(archive.namelist())

    called, names = taken()
    assert names == {"a.png", "a-2.png", "b.png"}
    window("#grid [aria-posinset='1']").click()
    window("#grid [aria-posinset='2']").click(modifiers=["Control"])
    assert taken() == (called, {"a.png", "a-2.png"})


@pytest.mark.browser
def test_a_job_under_way_stays_whole(opened: Opened, open_server: Running) -> None:
    """Delete takes no photo out of it; when it is over, it does, and the server still has it."""
    window = opened()
    window.drop(portraits(12))
    job = window.run()
    grid = window("#grid")
    grid.focus()
    grid.press("Delete")
    window.end()
    assert open_server.client.get(f"/v1/jobs/{job}").json()["done"] == 12
    assert "12" in window("#count").inner_text()
    grid.press("Delete")
    window.until(lambda: window("#grid [aria-setsize='11']").count() > 0)
    assert open_server.client.get(f"/v1/jobs/{job}").json()["total"] == 12


@pytest.mark.browser
def test_a_job_stopped_and_taken_up_again(opened: Opened, open_server: Running) -> None:
    """What was not begun is canceled, and a retry does it, and only it."""
    window = opened()
    window.drop(portraits(30))
    job = window.run()
    window("#stop").click()
    window("#retry").wait_for()
    window.end()
    view = open_server.settled(job)
    assert view["canceled"] > 0
    window("#retry").click()
    window.until(lambda: open_server.settled(job)["done"] == 30)
    window.until(lambda: "30" in window("#count").inner_text() and not window("#bar").is_visible())
    assert not window("#retry").is_visible()


@pytest.mark.browser
def test_a_locked_page_asks_for_the_token_once(opened: Opened, server: Running) -> None:
    """A wrong token is said to be one, the right one opens, and a reload is let in."""
    window = opened(server=server, forgiven="status of 401")
    dialog, words = window("#token"), window("#token-field")
    dialog.wait_for()
    words.fill(TOKEN + "x")
    words.press("Enter")
    window.until(lambda: window("#token-wrong").inner_text() == table("en")["token.wrong"])
    words.fill(TOKEN)
    words.press("Enter")
    dialog.wait_for(state="hidden")
    window.drawn()
    window.drop(portraits(1))
    window.run()
    window.end()
    window.page.reload()
    window.drawn()
    window("#grid [data-state=done]").wait_for()
    assert not dialog.is_visible()


# --- its measures ---------------------------------------------------------------------------------

Say = Callable[[str], None]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Figures that are to be read however pytest was called."""

    def line(text: str) -> None:
        with capsys.disabled():
            print(f"\n  {text}")

    return line


@pytest.mark.browser
def test_it_weighs_little(opened: Opened, open_server: Running, say: Say) -> None:
    """All that a first visit loads, nothing packed: under 150 KB. How soon it stands is told."""
    window = opened()
    window.drawn()
    window.page.wait_for_load_state("networkidle")
    loaded, drawn = window.page.evaluate("[loaded, drawn]")
    asked = {url for url in window.asked if url[:5] != "data:"}
    got = {url: len(open_server.client.get(url).content) for url in asked}
    own = {url: size for url, size in got.items() if "/v1/" not in url}
    api = sum(size for url, size in got.items() if "/v1/" in url)
    whole = sum(path.stat().st_size for path in (STUDIO.parent / "index.html", *STUDIO.iterdir()))
    say(f"{sum(own.values())} bytes in {len(own)} files, {api} from the API; {whole} in all")
    say(f"DOMContentLoaded {loaded:.0f} ms, controls drawn {drawn:.0f} ms")
    assert len(own) > 5
    assert sum(own.values()) < MOST


@pytest.mark.browser
@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
@pytest.mark.parametrize("width", [1440, 768, 390])
def test_everything_fits_at_every_width(opened: Opened, width: int, locale: str) -> None:
    """On any tab, empty, with photos and with results: nothing is wider than the window, nothing
    lies over a photo, and the button that runs is in sight, as is the photo that was chosen."""
    height = 844
    window = opened(viewport={"width": width, "height": height}, locale=locale)
    window.drawn()
    assert window("html").get_attribute("lang") == locale.removesuffix("-US")

    def fits() -> None:
        for task in TASKS:
            window.tab(task)
            assert window.page.evaluate(WIDE) == []
            assert window.page.evaluate("document.documentElement.scrollWidth") <= width
            at = window("#run").bounding_box()
            assert 0 <= at["y"] <= height - at["height"]
        window.tab("matte")

    fits()
    long = "a long name without any place to break it " * 3 + ".jpg"
    window.drop({long: jpeg(9), **portraits(3)})
    fits()
    window.run()
    window.end()
    fits()
    for n in (4, 1, 2):
        window(f"#grid [aria-posinset='{n}']").click()
        window("#compare .stage[data-view=compare]").wait_for()
        window.until(
            lambda: (
                (at := window("#compare .stage").bounding_box())["y"] >= 0
                and at["y"] + 200 < height
            ),
            patience=2,
        )


@pytest.mark.browser
@pytest.mark.parametrize(("width", "height"), [(844, 390), (390, 664), (320, 640)])
def test_a_photo_is_chosen_and_seen_on_a_phone(opened: Opened, width: int, height: int) -> None:
    """Upright or on its side: each photo can be tapped, and then what is compared is in sight,
    with nothing over it."""
    window = opened(viewport={"width": width, "height": height}, is_mobile=True, has_touch=True)
    window.drop(portraits(6))
    window.run()
    window.end()
    assert window.page.evaluate(WIDE) == []
    for n in (6, 1, 4):
        window.page.evaluate("scrollTo(0, document.body.scrollHeight)")
        window(f"#grid [aria-posinset='{n}']").tap()
        window.until(
            lambda n=n: window("#compare .name").inner_text() == f"portrait {n - 1:02}.jpg"
        )
        window("#compare .stage[data-view=compare]").wait_for()
        window.until(lambda: window.page.evaluate(COVERED) == [], patience=2)


@pytest.mark.browser
def test_two_portraits_to_try_it_on(opened: Opened, open_server: Running) -> None:
    """One press on a first visit, and both are done; afterwards the page asks for nothing more."""
    window = opened()
    window("#samples").click()
    job = str(window.until(window.job))
    window.end()
    view = open_server.client.get(f"/v1/jobs/{job}").json()
    assert (view["total"], view["done"]) == (2, 2)
    window("#compare .stage[data-view=compare]").wait_for()
    for _ in range(10):  # its pictures come after it
        asked = len(window.asked)
        window.page.wait_for_timeout(3000)
        if len(window.asked) == asked:
            break
    assert window.asked[asked:] == []


@pytest.mark.browser
@pytest.mark.skipif(not AXE.exists(), reason=f"no axe-core at {AXE}")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(opened: Opened, scheme: str) -> None:
    """On any tab, empty, with a result, and with the dialogs and the device panel open."""
    window = opened(color_scheme=scheme)
    window.drawn()
    window.page.evaluate(AXE.read_text("utf-8"))

    def faults(where: str) -> list[str]:
        window.page.wait_for_timeout(300)  # colours that move are of neither state
        result = window.page.evaluate("axe.run()")
        assert len(result["passes"]) > 10
        found = result["violations"]
        return [
            f"{where}: {each['id']} ({each['impact']}): {each['nodes'][0]['html'][:120]}"
            for each in found
            if each["impact"] in ("serious", "critical")
        ]

    seen = []
    for stage in ("empty", "done"):
        if stage == "done":
            window.tab("matte")
            window.drop({**portraits(3), BROKEN: b"no photo"})
            window.run()
            window.end()
            window("#open-device").click()
            window("#device dl").first.wait_for()
        for task in TASKS:
            window.tab(task)
            seen += faults(f"{stage} {task}")
    window("#open-history").click()
    window("#history li, #history article").first.wait_for()
    seen += faults("history")
    assert seen == []


@pytest.mark.browser
@pytest.mark.slow
def test_two_thousand_photos_scroll_smoothly(
    opened: Opened, open_server: Running, say: Say
) -> None:
    """By the wheel, only what is seen is in the page. How long the frames took is told."""
    files = [("files", (f"{n:04}.jpg", jpeg(n % 256, 64), "image/jpeg")) for n in range(2000)]
    fields = {"task": "matte"}
    answer = open_server.client.post(
        "/v1/jobs", data=fields, files=files, timeout=httpx.Timeout(300)
    )
    job = answer.raise_for_status().json()["id"]
    open_server.client.delete(f"/v1/jobs/{job}").raise_for_status()  # the cores are for the page
    open_server.settled(job)
    window = opened(f"/#{job}")
    grid = window("#grid [role=option]")
    grid.first.wait_for()
    window.page.wait_for_load_state("networkidle")
    window("#grid").hover()
    window.page.evaluate(GAPS)
    for _ in range(150):
        window.page.mouse.wheel(0, 240)
        window.page.wait_for_timeout(16)
    gaps = np.array(window.page.evaluate("(enough = true, gaps)"))
    drawn, top = grid.count(), window.page.evaluate("document.querySelector('#grid').scrollTop")
    p50, p95, most = np.percentile(gaps, [50, 95, 100])
    say(f"{len(gaps)} frames over {top:.0f} px: p50 {p50:.1f}, p95 {p95:.1f}, most {most:.1f} ms")
    say(f"{np.mean(gaps > FRAME + 1):.1%} of them late; {drawn} tiles in the page")
    assert top > 10_000
    assert drawn < 200
