"""What NVIDIA's driver says of its GPUs, whoever uses them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any


@dataclass(frozen=True, slots=True)
class Gpu:
    """``utilisation``: 0..1, the share of the last moment in which something ran on it; memory in
    bytes, of all programs.
    """

    name: str
    utilisation: float
    memory_used: int
    memory_total: int


def utilisation() -> tuple[Gpu, ...]:
    """Every GPU of the machine; () where there is no driver, or one that does not answer."""
    import pynvml  # type: ignore[import-untyped] # its 60 ms are for who asks

    try:
        return tuple(_read(pynvml, handle) for handle in _handles(pynvml))
    except pynvml.NVMLError:
        return ()


@lru_cache(maxsize=1)
def _handles(nvml: Any) -> tuple[Any, ...]:
    nvml.nvmlInit()
    return tuple(nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount()))


def _read(nvml: Any, handle: Any) -> Gpu:
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    share = nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100
    return Gpu(nvml.nvmlDeviceGetName(handle), share, memory.used, memory.total)
