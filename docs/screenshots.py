"""The studio page as a person sees it: docs/screenshots/{task}-{width}-{scheme}-{language}.jpg.

    make screenshots

A server of its own, the two portraits of ``GET /v1/samples``, and Playwright with the system's
Chromium. What is to be seen is done as a person would: photos dropped, the button pressed.
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

from playwright.sync_api import sync_playwright

FOLDER = Path(__file__).parent / "screenshots"
QUALITY = 80
HEIGHTS = {1440: 900, 768: 1024, 390: 844}
LOCALES = {"en": "en-US", "zh": "zh-CN"}
SHOTS = (  # task, width, scheme, language
    ("matte", 1440, "light", "en"),
    ("enhance", 1440, "light", "en"),
    ("fuse", 1440, "light", "en"),
    ("matte", 1440, "dark", "zh"),
    ("enhance", 1440, "dark", "zh"),
    ("fuse", 1440, "dark", "zh"),
    ("matte", 768, "light", "zh"),
    ("matte", 768, "dark", "en"),
    ("matte", 390, "light", "en"),
    ("matte", 390, "dark", "zh"),
)

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
    page.mouse.move(0, 0)
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(300)  # the last transition


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    with serving() as address, sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        for task, width, scheme, language in SHOTS:
            context = browser.new_context(
                base_url=address,
                viewport={"width": width, "height": HEIGHTS[width]},
                color_scheme=scheme,
                locale=LOCALES[language],
                reduced_motion="reduce",
            )
            page = context.new_page()
            page.goto("/")
            worked(page, task)
            name = f"{task}-{width}-{scheme}-{language}.jpg"
            page.screenshot(path=FOLDER / name, type="jpeg", quality=QUALITY)
            print(f"{(FOLDER / name).stat().st_size:8} {name}")
            context.close()
        browser.close()


if __name__ == "__main__":
    main()
