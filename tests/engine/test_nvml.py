"""What the driver says, or that there is none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from portrayer.engine import nvml
from portrayer.engine.nvml import Gpu, utilisation


def driven() -> bool:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return False
    return True


@pytest.mark.skipif(driven(), reason="there is a driver")
def test_without_a_driver_there_is_nothing_to_say() -> None:
    """No GPU is no error, however often one asks."""
    assert [utilisation() for _ in range(3)] == [(), (), ()]


class Driver:
    """Two GPUs, as pynvml shows them. ``lost``: they do not answer any more."""

    class NVMLError(Exception):
        pass

    def __init__(self) -> None:
        self.begun, self.lost = 0, False

    def nvmlInit(self) -> None:  # noqa: N802
        self.begun += 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetName(self, handle: int) -> str:  # noqa: N802
        return f"GPU {handle}"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:  # noqa: N802
        if self.lost:
            raise self.NVMLError
        return SimpleNamespace(used=2**30, total=4 * 2**30)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:  # noqa: N802
        return SimpleNamespace(gpu=37 * handle, memory=0)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Driver]:
    driver = Driver()
    nvml._handles.cache_clear()
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    yield driver
    nvml._handles.cache_clear()


def test_every_gpu_is_told(driver: Driver) -> None:
    """Name, the share of the time something ran, bytes; the library is begun once."""
    for _ in range(3):
        assert utilisation() == (
            Gpu("GPU 0", 0.0, 2**30, 4 * 2**30),
            Gpu("GPU 1", 0.37, 2**30, 4 * 2**30),
        )
    assert driver.begun == 1


def test_a_gpu_that_does_not_answer_is_no_error(driver: Driver) -> None:
    """What worked before may be lost, and may come back."""
    assert len(utilisation()) == 2
    driver.lost = True
    assert utilisation() == ()
    driver.lost = False
    assert len(utilisation()) == 2
