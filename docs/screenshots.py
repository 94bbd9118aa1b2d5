"""The studio page as a person sees it: docs/screenshots/{task}-{width}.jpg.

    make screenshots

On each sheet: English left, Chinese right, light above, dark below. A server of its own, the two
portraits of ``GET /v1/samples``, and Playwright with the system's Chromium. What is to be seen is
done as a person would: photos dropped, buttons pressed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import sync_playwright

from portrayer.image import codec
from portrayer.types import Image

FOLDER = Path(__file__).parent / "screenshots"
QUALITY = 50
GUTTER = 8  # px of grey around each shot
HEIGHTS = {1440: 900, 768: 1024, 390: 844}  # px, by width
TASKS = ("matte", "enhance", "fuse")
SCHEMES = ("light", "dark")
LANGUAGES = ("en", "zh-CN")

DROP = """async (names) => {
  const transfer = new DataTransfer();
  for (const name of names) {
    const blob = await (await fetch(`/v1/samples/${name}`)).blob();
    const file = `${name}.${blob.type.slice(6).replace("jpeg", "jpg")}`;
    transfer.items.add(new File([blob], file, { type: blob.type }));
  }
  const how = { dataTransfer: transfer, bubbles: true, cancelable: true };
  document.body.dispatchEvent(new DragEvent("drop", how));
}"""


@contextmanager
def serving() -> Iterator[str]:
    """The address of a server that asks for no token and forgets everything at the end."""
    with tempfile.TemporaryDirectory() as folder:
        own = {name: text for name, text in os.environ.items() if name[:10] != "PORTRAYER_"}
        own["XDG_CONFIG_HOME"] = folder
        command = [sys.executable, "-m", "portrayer", "serve", "--port", "0", "--data"]
        process = subprocess.Popen(
            [*command, f"{folder}/served"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=own,
        )
        try:
            assert process.stdout is not None
            address = process.stdout.readline().rpartition(" ")[2].strip()
            if not address.startswith("http"):
                sys.exit("the server did not start: python -m portrayer serve says why")
            yield address
        finally:
            process.terminate()
            process.wait()


def worked(page: Any, task: str) -> None:
    """The page with the portraits done, the last of them looked at."""
    page.locator("#controls .option").first.wait_for()
    page.locator(f"#tab-{task}").click()
    names = page.evaluate("fetch('/v1/samples').then((answer) => answer.json())")
    if not names:
        sys.exit("there are no portraits to show: pip install 'portrayer[demo]'")
    if task == "fuse":
        page.locator("#fuse .well").first.wait_for()
        picture = page.request.get(f"/v1/samples/{names[0]}")
        face = {"name": names[0], "mimeType": "image/png", "buffer": picture.body()}
        page.locator("#fuse .well input[type=file]").first.set_input_files(face)
        page.locator("#fuse-consent").check()
        names = names[1:]
    page.evaluate(DROP, names)
    page.locator("#grid [role=option]").nth(len(names) - 1).wait_for()
    if task == "fuse":
        page.locator("#fuse .box").nth(1).wait_for()
    page.locator("#run").click()
    page.locator("#after").wait_for()
    page.locator("#bar").wait_for(state="hidden")
    page.locator(f"#grid [aria-posinset='{len(names)}']").click()
    page.locator("#compare .stage[data-view=compare]").wait_for()


def spoken(page: Any, language: str) -> None:
    """The page in this language, of the two that it speaks."""
    html = page.locator("html")
    if html.get_attribute("lang") != language:
        page.locator("#language").click()
        page.locator(f"html[lang={language}]").wait_for()


def sheet(page: Any) -> Image:
    """The page as it stands, in every scheme and language: (H, W, 3)."""

    def shot(scheme: str, language: str) -> Image:
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        spoken(page, language)
        page.mouse.move(0, 0)
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(300)  # the last transition
        seen = codec.decode(page.screenshot()).image[..., :3]
        return np.pad(seen, ((GUTTER,) * 2, (GUTTER,) * 2, (0, 0)), constant_values=128)

    rows = [np.hstack([shot(scheme, name) for name in LANGUAGES]) for scheme in SCHEMES]
    return np.vstack(rows)


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    with serving() as address, sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        for task in TASKS:
            for width, height in HEIGHTS.items():
                page = browser.new_page(
                    base_url=address, viewport={"width": width, "height": height}, locale="en-US"
                )
                page.goto("/")
                worked(page, task)
                path = FOLDER / f"{task}-{width}.jpg"
                path.write_bytes(codec.encode(sheet(page), "jpeg", quality=QUALITY))
                print(f"{path.stat().st_size:8} {path.name}")
                page.close()
        browser.close()


if __name__ == "__main__":
    main()
