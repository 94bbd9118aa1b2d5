"""The server's folder: uploads under way, each job's photos and results, what is kept how long."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from portrayer.errors import OutputError
from portrayer.image import files
from portrayer.jobs.record import Job
from portrayer.server.refusal import DiskFull

LEDGER = "jobs.sqlite"
PARTS = ("in", "out", "thumb")  # of a job's folder

Stamp = tuple[int, ...]
"""When files last came to each part of a job's folder, or went, in nanoseconds."""


class Shelf:
    """``root/incoming/ID`` while a request is received, ``root/jobs/ID/in`` and ``.../out`` then.

    All names are the server's own. Holds and sizes are for one thread at a time each, all else is
    for any.
    """

    def __init__(self, root: Path, spare: int) -> None:
        """``spare``: bytes that stay free on the disk."""
        self.root, self.spare = root.absolute(), spare  # the ledger may be read from elsewhere
        self._held: Counter[str] = Counter()
        self._sizes: dict[str, tuple[Stamp, int]] = {}

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
        """What was received becomes the job's, by one rename, and outlasts a power cut there."""
        folder = self.folder(id)
        (folder / "out").mkdir(parents=True)
        self.incoming(id).rename(self.photos(id))
        for changed in (folder, folder.parent):
            files.settle(changed)

    def forget(self, id: str) -> None:
        """What was not kept leaves nothing behind."""
        shutil.rmtree(self.incoming(id), ignore_errors=True)

    def drop(self, id: str) -> None:
        """Nothing of it stays; it need not be there.

        It goes out of the way in one step: what is written to it later makes a new folder, without
        photos, which :meth:`forsake` finds.
        """
        gone = self.incoming(f"{id}-gone")
        with suppress(OSError):
            gone.parent.mkdir(parents=True, exist_ok=True)
            self.folder(id).rename(gone)
        for folder in (self.incoming(id), gone, self.folder(id)):
            shutil.rmtree(folder, ignore_errors=True)

    def forsake(self, job: str) -> None:
        """Called when something of the job was written: that goes too if the job was dropped."""
        if not self.photos(job).exists():
            self.drop(job)

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

    def sizes(self, jobs: Iterable[str]) -> Mapping[str, int]:
        """Bytes of each job's files. Only where files came or went are they counted again."""
        found = {}
        for job in jobs:
            stamp = tuple(_changed(self.folder(job) / part) for part in PARTS)
            known = self._sizes.get(job)
            found[job] = known if known and known[0] == stamp else (stamp, self._counted(job))
        self._sizes = found
        return {job: size for job, (_, size) in found.items()}

    def _counted(self, job: str) -> int:
        total = 0
        for path in self.folder(job).rglob("*"):
            with suppress(OSError):  # it may go just now
                total += path.stat().st_size if path.is_file() else 0
        return total

    def check(self) -> None:
        """:class:`DiskFull` where no more may be taken in; :class:`OutputError` without a disk."""
        try:
            free = shutil.disk_usage(self.root).free
        except OSError as error:
            raise OutputError(f"the server's folder cannot be used: {error.strerror}") from error
        if free < self.spare:
            raise DiskFull(f"the disk is full ({free >> 20} MiB left)")

    @contextmanager
    def hold(self, job: str) -> Iterator[None]:
        """No file of the job is removed meanwhile, if the ledger knows it once this is entered."""
        self._held[job] += 1
        try:
            yield
        finally:
            self._held[job] -= 1
            if not self._held[job]:
                del self._held[job]

    def held(self, job: str) -> bool:
        """Whether somebody is looking at it."""
        return job in self._held


def expired(
    finished: Iterable[tuple[Job, float, int]], now: float, keep: float, most: int
) -> Collection[str]:
    """The jobs that go: what ended more than ``keep`` seconds ago, and the oldest beyond ``most``
    bytes. The newest does not go for its size: nobody could have seen its results.

    ``finished``: job, end (seconds), bytes; the oldest first.
    """
    rows = list(finished)
    left = sum(size for _, _, size in rows)
    gone = []
    for place, (job, ended, size) in enumerate(rows, 1):
        if ended < now - keep or (left > most and place < len(rows)):
            gone.append(job.id)
            left -= size
    return gone


def _changed(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0
