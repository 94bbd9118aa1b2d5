"""Who does the work of a command: this process, one for each core, or the nodes of a cluster."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Protocol

from portrayer.engine.cores import counting
from portrayer.engine.host import available
from portrayer.engine.memory import Budget, parse
from portrayer.engine.processes import processes, shared
from portrayer.jobs.backend import Backend, LocalBackend
from portrayer.jobs.child import Child
from portrayer.jobs.children import Children
from portrayer.settings import Settings

if TYPE_CHECKING:
    from portrayer.engine.answer import Stats
    from portrayer.pipeline import Pipeline


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
        own, host = shared(settings, memory, count)
        opened = partial(_for_one_core, own)
        with Children(opened, host, count) as children, Child(opened, host) as apart:
            yield LocalBackend(children, apart), lambda now=False: children.stats()
        return
    from portrayer.studio import Studio

    with Studio(settings) as studio:
        engine, host = studio.pipeline.engine, studio.pipeline.host
        with Child(partial(_pipeline, settings), host) as apart:
            yield LocalBackend(studio.pipeline, apart), lambda now=False: engine.stats()


def _pipeline(settings: Settings, host: Budget) -> Pipeline:
    """One like the studio's, in a process of its own."""
    from portrayer.studio import Studio

    return Studio(settings, host=host).pipeline


def _for_one_core(settings: Settings, host: Budget) -> Pipeline:
    """One of several, each in a process of its own."""
    with counting(1):
        return _pipeline(settings, host)
