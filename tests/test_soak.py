"""Memory over a run: the soak is whole, all three tasks mixed, and judged as it should be; and a
named budget holds for photos that are large for it.
"""

from __future__ import annotations

import contextlib
import io
import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image as Pillow
from skimage.data import astronaut

from portrayer.engine.memory import CPU_SHARE, LARGE, LEAST, for_models
from portrayer.image import codec
from tests.portraits import admiral

BENCH = Path(__file__).parent.parent / "bench"


@pytest.fixture
def soak(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names in the script."""
    if not BENCH.is_dir():
        pytest.skip("the bench is not beside the tests")
    monkeypatch.syspath_prepend(BENCH)
    return runpy.run_path(str(BENCH / "soak.py"))


def test_the_stretches_are_those_of_the_law(soak: dict[str, Any]) -> None:
    """Of 2,000 photos, a reading after every ten: photos 100 to 600, and the last 500."""
    readings = [float(photo) for photo in range(10, 2001, 10)]
    parts = [soak["stretch"](readings, *soak[name]) for name in ("EARLY", "LATE")]
    assert [(part.median, part.peak) for part in parts] == [(355.0, 600.0), (1755.0, 2000.0)]


@pytest.mark.parametrize(
    ("growth", "flat"), [((0.0, 0.0), True), ((0.02, -0.3), True), ((0.021, 0.0), False)]
)
def test_what_is_flat(soak: dict[str, Any], growth: tuple[float, float], flat: bool) -> None:
    """Memory may fall, and neither its median nor its peak may grow by more than 2 %."""
    part = soak["Stretch"](1.0, 1.0)
    assert soak["Soak"](2000, 1.0, 1.0, part, part, growth).flat is flat


@pytest.mark.stress
@pytest.mark.usefixtures("soak")
def test_a_short_soak(tmp_path: Path) -> None:
    """120 photos through one process stay within its budget, and what is told agrees with itself.

    Whether so short a run is flat depends on which photos met: that is the long one's to say.
    """
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "admiral.jpg").write_bytes(admiral())
    (photos / "astronaut.png").write_bytes(codec.encode(astronaut(), "png"))
    command = [sys.executable, str(BENCH / "soak.py"), str(photos), "--images", "120", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode in (0, 1), done.stderr
    told = json.loads(done.stdout)
    assert len(told["resident_mib"]) == told["images"] // 10 == 12
    assert done.returncode == (0 if told["flat"] else 1)
    assert told["late"]["peak"] == pytest.approx(max(told["resident_mib"][-3:]), abs=0.1)
    assert max(told["resident_mib"]) < told["budget_mib"]


@pytest.mark.parametrize("memory", [2**28, 2**29, 2**30, 2**31, 2**34, 2**40])
def test_photos_and_models_have_parts_of_their_own(memory: int) -> None:
    """Neither part is ever less than the least memory gives it, models never have more than their
    share but there, and from a GiB on a large photo has room.
    """
    least, models = for_models(LEAST), for_models(memory)
    assert least <= models <= max(CPU_SHARE * memory, least)
    assert memory - models >= LEAST - least
    assert memory - models >= LARGE or memory < 2**30


@pytest.mark.slow
@pytest.mark.parametrize("task", ["matte", "enhance", "fuse"])
def test_large_photos_under_a_small_budget(tmp_path: Path, task: str) -> None:
    """Photos of 50 MP are worked on under ``--memory 1GiB``: slower, all of them, and within it."""
    portrait = Pillow.open(io.BytesIO(admiral())).convert("RGB")
    larger = (50e6 / (portrait.width * portrait.height)) ** 0.5
    size = round(portrait.width * larger), round(portrait.height * larger)
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(4 if task == "fuse" else 3):
        portrait.resize(size).save(photos / f"{number}.jpg", quality=90)
    given = [str(photos)]
    if task == "fuse":
        given = [str((photos / "0.jpg").rename(tmp_path / "source.jpg")), *given, "--yes"]
    command = [sys.executable, "-m", "portrayer", task, *given, "-o", str(tmp_path / "o")]
    command += ["--memory", "1GiB", "--device", "cpu", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        watched, most = psutil.Process(process.pid), 0
        while process.poll() is None:
            with contextlib.suppress(psutil.Error):
                most = max(most, watched.memory_info().rss)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
        assert process.stdout is not None
        told = json.loads(process.stdout.read())
    assert (process.returncode, told["done"], told["failed"]) == (0, 3, [])
    assert 200 * 2**20 < most <= 2**30
