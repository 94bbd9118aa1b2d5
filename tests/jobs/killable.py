"""A small program around a Runner, made to be killed: ``python -m tests.jobs.killable FOLDER``.

FOLDER holds ``jobs.db`` with a job "j" whose items copy a file. A source that reads ``die at
PLACE`` kills the process at that place of the copy, the first time only; ``poison`` does always,
and ``slow`` takes its time. Every copy that was moved into place adds its source's name to
``FOLDER/trace``, every one that is begun its process's id to ``FOLDER/pids``.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from portrayer.jobs.backend import LocalBackend
from portrayer.jobs.record import JSON
from portrayer.jobs.runner import Child, Runner
from portrayer.jobs.store import Store

WIDTH = 2


class Copier:
    """Copies a file in two halves to a temporary name, then moves it into place."""

    workers = WIDTH

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self.trace, self.pids = (os.open(folder / name, flags) for name in ("trace", "pids"))

    def process_file(
        self, task: str, options: Mapping[str, JSON], source: Path, target: Path
    ) -> Mapping[str, JSON]:
        content = source.read_bytes()
        os.write(self.pids, f"{source.name} {os.getpid()}\n".encode())
        if content == b"poison":
            os.kill(os.getpid(), signal.SIGKILL)
        self.die(content, "start")
        temporary = target.with_name(f".{target.name}.{os.getpid()}.{threading.get_ident()}")
        with temporary.open("wb") as file:
            file.write(content[: len(content) // 2])
            file.flush()
            self.die(content, "half")
            # The work; more than a tick of any file system's clock.
            time.sleep(60 if content == b"slow" else 0.02)
            file.write(content[len(content) // 2 :])
        temporary.replace(target)
        os.write(self.trace, f"{source.name}\n".encode())
        self.die(content, "moved")
        return {"bytes": len(content)}

    def die(self, content: bytes, place: str) -> None:
        if content == f"die at {place}".encode():
            died = self.folder / f"died at {place}"
            if not died.exists():
                died.touch()
                os.kill(os.getpid(), signal.SIGKILL)


def main(folder: Path) -> None:
    with Store(folder / "jobs.db") as store, store.own():
        store.recover("j")
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        with Child(partial(Copier, folder)) as apart:
            Runner(store, LocalBackend(Copier(folder), apart)).run("j")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
