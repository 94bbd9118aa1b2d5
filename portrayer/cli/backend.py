"""Who does the work of a command: this process, one for each core, or the nodes of a cluster."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from portrayer.engine.cores import cores, counting
from portrayer.engine.host import available
from portrayer.engine.memory import Budget, for_models, parse
from portrayer.engine.nvml import utilisation
from portrayer.jobs.backend import Backend, LocalBackend
from portrayer.jobs.child import Child
from portrayer.jobs.children import Children
from portrayer.models.catalog import spec
from portrayer.settings import Settings

if TYPE_CHECKING:
    from portrayer.engine.answer import Stats
    from portrayer.pipeline import Pipeline

PROCESS = 192 * 2**20  # bytes of a process before it has seen a photo
ROOM = 640 * 2**20  # bytes of the budget for each process: with less there are fewer


class Figures(Protocol):
    """What the engines at work have done and hold; ``now``: no earlier answer will do."""

    def __call__(self, *, now: bool = False) -> Stats: ...


@contextmanager
def employed(
    settings: Settings, cluster: str, models: Collection[str], photos: int
) -> Iterator[tuple[Backend, Figures]]:
    """This machine's processes, or with ``cluster`` the workers there.

    ``models`` that the work is for, and at least how many ``photos``. Raises what :class:`Studio`
    and :class:`RayBackend` raise.
    """
    if cluster:
        from portrayer.jobs.cluster import RayBackend

        with RayBackend(cluster, settings) as backend:
            yield backend, backend.stats
        return
    memory = parse(settings.memory, available())
    count = processes(settings, memory, models, photos)
    if count > 1:
        each = memory // count
        own = settings.model_copy(update={"memory": str(each), "device": "cpu", "workers": 1})
        host = Budget(memory - count * (PROCESS + for_models(each)), "host memory")
        opened = partial(_pipeline, own)
        with Children(opened, host, count) as children, Child(opened, host) as apart:
            yield LocalBackend(children, apart), lambda now=False: children.stats()
        return
    from portrayer.studio import Studio

    with Studio(settings) as studio:
        engine, host = studio.pipeline.engine, studio.pipeline.host
        with Child(partial(_pipeline, settings), host) as apart:
            yield LocalBackend(studio.pipeline, apart), lambda now=False: engine.stats()


def processes(settings: Settings, memory: int, models: Collection[str], photos: int) -> int:
    """How many processes work on photos beside one another; 1 where threads of one do.

    One a core, for threads take turns at the interpreter. But a GPU wants photos of all in one
    batch; a large network, which a user has brought, leaves the interpreter little to do and would
    be loaded by each; and where ``memory`` is for less than half of the cores, threads need less.
    """
    brought = any(spec(name, settings.models).weights.brought for name in models)
    if brought or settings.require_gpu or not _on_cpu(settings.device):
        return 1
    most = min(settings.workers or cores(), cores())
    found = min(most, photos, memory // ROOM)
    return found if 2 * found >= min(most, photos) else 1


def _on_cpu(device: str) -> bool:
    """Whether the work is for the CPU, without asking torch, which takes a second to load, where
    there can be nothing else.
    """
    if device != "auto":
        return device == "cpu"
    if sys.platform != "darwin" and not Path("/dev/kfd").exists() and not utilisation():
        return True
    from portrayer.engine.device import discover

    return discover().kind == "cpu"


def _pipeline(settings: Settings, host: Budget) -> Pipeline:
    """A pipeline for one core, in a process of its own."""
    from portrayer.studio import Studio

    with counting(1):
        return Studio(settings, host=host).pipeline
