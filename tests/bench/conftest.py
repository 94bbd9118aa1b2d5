"""A machine that is always there, and photos small enough to wait for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from portrayer.bench import levers, measure, photos
from portrayer.bench.measure import PARTS, Bench, Plan
from portrayer.bench.rig import Rig, Setup, Work, opened
from portrayer.settings import Settings

SIZE = (320, 240)
SETUP = Setup(Settings(device="cpu", memory="1GiB", workers=2))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """Cut-outs of three small photos."""
    folder = tmp_path_factory.mktemp("photos")
    return Work("matte", photos.write(photos.scenes(None, faces=False), *SIZE, 3, folder))


@pytest.fixture(scope="module")
def rig(work: Work) -> Iterator[Rig]:
    """The program on the CPU, warm."""
    with opened(SETUP) as warm:
        warm.warm(work)
        yield warm


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Everything, as small as it gets."""
    for module, name in ((measure, "COLD"), (measure, "TURNS"), (levers, "ROUNDS")):
        monkeypatch.setattr(module, name, 1)
    monkeypatch.setattr(photos, "DISTINCT", 2)
    return Plan(SETUP, "matte", None, 4, (1, 2), (SIZE, (160, 120)), (1, 2), tuple(PARTS))


@pytest.fixture
def bench(tmp_path: Path) -> Callable[[Plan], Bench]:
    """A plan under way in a folder of its own."""
    return lambda plan: Bench(plan, tmp_path, lambda line: None)
