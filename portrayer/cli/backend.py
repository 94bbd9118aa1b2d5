"""Who does the work of a command: this machine, or the nodes of a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Protocol

from portrayer.jobs.backend import Backend, LocalBackend
from portrayer.jobs.child import Child
from portrayer.settings import Settings

if TYPE_CHECKING:
    from portrayer.engine.answer import Stats
    from portrayer.pipeline import Pipeline


class Figures(Protocol):
    """What the engines at work have done and hold; ``now``: no earlier answer will do."""

    def __call__(self, *, now: bool = False) -> Stats: ...


@contextmanager
def employed(settings: Settings, cluster: str) -> Iterator[tuple[Backend, Figures]]:
    """This machine's pipeline, or with ``cluster`` the workers there.

    Raises what :class:`Studio` and :class:`RayBackend` raise.
    """
    if cluster:
        from portrayer.jobs.cluster import RayBackend

        with RayBackend(cluster, settings) as backend:
            yield backend, backend.stats
        return
    from portrayer.studio import Studio

    with Studio(settings) as studio, Child(partial(_pipeline, settings)) as apart:
        engine = studio.pipeline.engine
        yield LocalBackend(studio.pipeline, apart), lambda now=False: engine.stats()


def _pipeline(settings: Settings) -> Pipeline:
    """One like the studio's, in a process of its own."""
    from portrayer.studio import Studio

    return Studio(settings).pipeline
