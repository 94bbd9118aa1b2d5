"""The server's folder: uploads under way, each job's photos and results, what is kept how long."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Collection, Container, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from portrayer.errors import OutputError
from portrayer.image import files
from portrayer.jobs.record import Job
from portrayer.server.refusal import DiskFull

LEDGER = "jobs.sqlite"


class Shelf:
    """``root/incoming/ID`` while a request is received, ``root/jobs/ID/in`` and ``.../out`` then.

    All names are the server's own. For one thread, but for what is static.
    """

    def __init__(self, root: Path, spare: int) -> None:
        """``spare``: bytes that stay free on the disk."""
        self.root, self.spare = root, spare
        self._held: Counter[str] = Counter()

    @property
    def ledger(self) -> Path:
        return self.root / LEDGER

    def incoming(self, id: str) -> Path:
        """Where the files of a request go while it is not yet known to be whole."""
        return self.root / "incoming" / id

    def folder(self, job: str) -> Path:
        """All that a job has on the disk."""
        return self.root / "jobs" / job

    def photos(self, job: str) -> Path:
        """Where the uploads of a job lie once it is kept."""
        return self.folder(job) / "in"

    def photo(self, job: str, name: str) -> Path:
        return self.photos(job) / name

    def result(self, job: str, name: str) -> Path:
        return self.folder(job) / "out" / name

    def thumbnail(self, job: str, name: str) -> Path:
        return self.folder(job) / "thumb" / name

    def keep(self, id: str) -> None:
        """What was received becomes the job's, by one rename."""
        (self.folder(id) / "out").mkdir(parents=True)
        self.incoming(id).rename(self.photos(id))

    def forget(self, id: str) -> None:
        """What was not kept leaves nothing behind."""
        shutil.rmtree(self.incoming(id), ignore_errors=True)

    def drop(self, id: str) -> None:
        """Nothing of it stays; it need not be there."""
        for folder in (self.incoming(id), self.folder(id)):
            shutil.rmtree(folder, ignore_errors=True)

    def sweep(self, known: Container[str]) -> None:
        """Remove what a dead process left: uploads under way, folders of jobs nobody knows, and
        results that were not written to their end.
        """
        shutil.rmtree(self.root / "incoming", ignore_errors=True)
        for folder in (self.root / "jobs").glob("*"):
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)
            for made in ("out", "thumb"):
                files.sweep(folder / made)

    def size(self, job: str) -> int:
        """Bytes of a job's files."""
        return sum(path.stat().st_size for path in self.folder(job).rglob("*") if path.is_file())

    def check(self) -> None:
        """:class:`DiskFull` where no more may be taken in; :class:`OutputError` without a disk."""
        try:
            free = shutil.disk_usage(self.root).free
        except OSError as error:
            raise OutputError(f"{self.root} cannot be used: {error.strerror}") from error
        if free < self.spare:
            raise DiskFull(f"the disk is full ({free >> 20} MiB left)")

    @contextmanager
    def hold(self, job: str) -> Iterator[None]:
        """Nothing of the job is removed meanwhile."""
        self._held[job] += 1
        try:
            yield
        finally:
            self._held[job] -= 1

    def held(self, job: str) -> bool:
        """Whether somebody is looking at it."""
        return self._held[job] > 0


def expired(
    finished: Iterable[tuple[Job, float, int]], now: float, keep: float, most: int
) -> Collection[str]:
    """The jobs that go: what ended more than ``keep`` seconds ago, and the oldest beyond ``most``
    bytes.

    ``finished``: job, end (seconds), bytes; the oldest first.
    """
    rows = list(finished)
    left = sum(size for _, _, size in rows)
    gone = []
    for job, ended, size in rows:
        if ended < now - keep or left > most:
            gone.append(job.id)
            left -= size
    return gone
