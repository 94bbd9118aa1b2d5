"""The work of jobs, done in the server's folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from portrayer.errors import CapacityError, OutputError
from portrayer.jobs.backend import Files, LocalBackend
from portrayer.jobs.record import JSON, Item, Job
from portrayer.server.shelf import Shelf


class ShelfBackend(LocalBackend):
    """Leaves the disk's last bytes to the ledger, and no files of a job that was removed."""

    def __init__(self, shelf: Shelf, files: Files, apart: Files | None = None) -> None:
        super().__init__(files, apart)
        self._shelf = shelf

    def run(self, job: Job, item: Item, watch: Callable[[str], None]) -> Mapping[str, JSON]:
        try:
            self._shelf.check()
        except CapacityError as full:
            raise OutputError(str(full)) from full
        try:
            return super().run(job, item, watch)
        finally:
            self._shelf.forsake(job.id)
