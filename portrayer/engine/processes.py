"""How many processes work beside one another on the CPU, and what each of them may take."""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path

from portrayer.engine.cores import cores
from portrayer.engine.memory import Budget, for_models
from portrayer.models.catalog import spec
from portrayer.settings import Settings

PROCESS = 192 * 2**20  # bytes of one before it has seen a photo
ROOM = 704 * 2**20  # bytes of the memory for each, so that two have room for the largest photo
DEVICES = Path("/dev")
GPUS = ("kfd", "nvidiactl", "nvhost-ctrl-gpu", "dxg")  # in there: AMD, NVIDIA, its Tegra, WSL


def processes(settings: Settings, memory: int, models: Collection[str], photos: int) -> int:
    """How many work on so many ``photos`` with these ``models``; 1 where threads of one do.

    One a core, for threads take turns at the interpreter. But a GPU wants photos of all in one
    batch; a large network, which a user has brought, leaves the interpreter little to do and would
    be loaded by each; and where ``memory`` is for less than half of the cores, threads need less.
    """
    brought = any(spec(name, settings.models).weights.brought for name in models)
    if brought or settings.require_gpu or not _on_cpu(settings.device):
        return 1
    most = min(settings.workers or cores(), cores(), photos)
    found = min(most, memory // ROOM)
    return found if 2 * found >= most else 1


def shared(settings: Settings, memory: int, count: int) -> tuple[Settings, Budget]:
    """The settings of each of ``count`` processes, and the ledger of all their photos."""
    each = memory // count
    own = settings.model_copy(update={"device": "cpu", "memory": str(each), "workers": 1})
    return own, Budget(memory - count * (PROCESS + for_models(each)), "host memory")


def _on_cpu(device: str) -> bool:
    """Whether the work is for the CPU, without asking torch, which takes a second to load, where
    there can be nothing else.
    """
    if device != "auto":
        return device == "cpu"
    if sys.platform == "linux" and not any((DEVICES / name).exists() for name in GPUS):
        return True
    from portrayer.engine.device import discover

    return discover().kind == "cpu"
