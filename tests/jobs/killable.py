"""A small program around a Runner, made to be killed: ``python -m tests.jobs.killable FOLDER``.

FOLDER holds ``jobs.db`` with a job "j" whose items copy a file. A source that reads ``die at
PLACE`` kills the program at that place of the copy, the first time only; ``poison`` does always.
Every copy that was moved into place adds its source's name to ``FOLDER/trace``.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from portrayer.jobs.record import JSON, Item, Job
from portrayer.jobs.runner import Runner
from portrayer.jobs.store import Store

WIDTH = 2


class Copier:
    """Copies a file in two halves to a temporary name, then moves it into place."""

    width = WIDTH

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trace = os.open(folder / "trace", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def run(self, job: Job, item: Item) -> Mapping[str, JSON]:
        source, target = Path(item.source), Path(item.target)
        content = source.read_bytes()
        if content == b"poison":
            os.kill(os.getpid(), signal.SIGKILL)
        self.die(content, "start")
        temporary = target.with_name(f".{target.name}.{os.getpid()}.{threading.get_ident()}")
        with temporary.open("wb") as file:
            file.write(content[: len(content) // 2])
            file.flush()
            self.die(content, "half")
            time.sleep(0.02)  # the work; more than a tick of any file system's clock
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

    def close(self) -> None:
        os.close(self.trace)


def main(folder: Path) -> None:
    with Store(folder / "jobs.db") as store, store.own():
        store.recover("j")
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        backend = Copier(folder)
        Runner(store, backend).run("j")
        backend.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
