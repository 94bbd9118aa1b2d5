"""The ledger of a folder, or of a URL that results go to, and what is asked of it to name them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from portrayer.jobs.names import fold
from portrayer.jobs.store import Store
from portrayer.settings import ledgers
from portrayer.storage import Place, is_url

LEDGER = Path(".portrayer") / "jobs.sqlite"


class Ledger(Store):
    """A folder's ledger, and the names that are taken in it.

    ``results``: what any job writes, as far as it was :meth:`made` known. ``names``: of results,
    and of photos that are read: nothing is written over either.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.results: set[str] = set()
        self.names: dict[str, str] = {}

    def made(self, job: str) -> None:
        """Remember what a job writes."""
        targets = set(self.targets(job).values())
        self.results |= targets
        self.keep(targets)

    def keep(self, paths: Iterable[str]) -> None:
        """Remember photos that are read."""
        self.names |= {path: fold(os.path.basename(path)) for path in paths}


def ledger_of(output: Place) -> Path:
    """Where the ledger lies: in the folder, or for a URL among the user's own files."""
    if not is_url(output):
        return Path(output) / LEDGER
    digest = sha256(str(output).rstrip("/").encode("utf-8", "surrogatepass")).hexdigest()
    return ledgers() / digest[:16] / LEDGER.name
