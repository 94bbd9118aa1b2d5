"""A Ray cluster of several nodes on this machine, and pipelines for its workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from portrayer.jobs.backend import Files, Watch, unwatched
from portrayer.jobs.cluster import studio_files
from portrayer.jobs.record import JSON
from portrayer.settings import Settings
from portrayer.storage import Place

STORE = 100 << 20  # bytes; the least that Ray takes is 75 MiB
POISON = b"poison"  # at the end of a file: whoever works on it dies


class Nodes:
    """A head that does no work, and nodes of one core each."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._own = {"include_dashboard": False, "object_store_memory": STORE}
        self._cluster: Any = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, **self._own}
        )
        self._living: list[Any] = []

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def fill(self, count: int) -> None:
        """So many nodes live."""
        while len(self._living) < count:
            self._living.append(self._cluster.add_node(num_cpus=1, **self._own))

    def kill(self) -> None:
        """SIGKILL to a node; its workers die with it."""
        [raylet] = self._living.pop().all_processes["raylet"]
        os.kill(raylet.process.pid, signal.SIGKILL)

    def close(self) -> None:
        self._cluster.shutdown()


@contextmanager
def nodes() -> Iterator[Nodes]:
    """Nodes until left."""
    there = Nodes()
    try:
        yield there
    finally:
        there.close()


class Poisoned:
    """A node's own pipeline, and the death of it."""

    def __init__(self, files: Files) -> None:
        self._files, self.workers = files, files.workers

    def process_file(
        self,
        task: str,
        options: Mapping[str, JSON],
        source: Place,
        target: Place,
        watch: Watch = unwatched,
    ) -> Mapping[str, JSON]:
        if Path(source).read_bytes().endswith(POISON):
            os.kill(os.getpid(), signal.SIGKILL)
        return self._files.process_file(task, options, source, target, watch)


def poisoned(settings: Settings) -> Files:
    """See :class:`Poisoned`."""
    return Poisoned(studio_files(settings))
