"""The work of jobs, done in the server's folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from portrayer.errors import CapacityError, OutputError
from portrayer.jobs.backend import Backend
from portrayer.jobs.record import JSON, Item, Job
from portrayer.server.shelf import Shelf


class ShelfBackend:
    """Another backend, that leaves the disk's last bytes to the ledger, and no files of a job that
    was removed.
    """

    def __init__(self, shelf: Shelf, backend: Backend) -> None:
        self._shelf, self._backend = shelf, backend

    @property
    def width(self) -> int:
        return self._backend.width

    def run(self, job: Job, item: Item, watch: Callable[[str], None]) -> Mapping[str, JSON]:
        try:
            self._shelf.check()
        except CapacityError as full:
            raise OutputError(str(full)) from full
        try:
            return self._backend.run(job, item, watch)
        finally:
            self._shelf.forsake(job.id)

    def close(self) -> None:
        self._backend.close()
