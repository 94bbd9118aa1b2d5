"""A small program around a Runner, made to be killed: ``python -m tests.jobs.killable FOLDER``.

FOLDER holds ``jobs.db`` with a job "j" whose items copy a file. With ``serve`` as second argument
all jobs are served: lines ``cancel JOB``, ``remove JOB``, ``retry JOB`` and ``stop`` are obeyed and
repeated when they are done, and ``idle`` is said when there is nothing to do.

A source that reads ``die at PLACE`` kills the process at that place of the copy, the first time
only; ``poison`` does always, and ``slow`` takes its time. Every copy that was moved into place adds
its source's name to ``FOLDER/trace``, every one that is begun its process's id to ``FOLDER/pids``.
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

from portrayer.engine.memory import Budget
from portrayer.jobs.backend import LocalBackend, Watch, unwatched
from portrayer.jobs.child import Child
from portrayer.jobs.record import JSON
from portrayer.jobs.runner import Event, Runner
from portrayer.jobs.store import Store

WIDTH = 2


class Copier:
    """Copies a file in two halves to a temporary name, then moves it into place."""

    workers = WIDTH

    def __init__(self, folder: Path, host: Budget) -> None:
        self.folder = folder
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self.trace, self.pids = (os.open(folder / name, flags) for name in ("trace", "pids"))

    def process_file(
        self,
        task: str,
        options: Mapping[str, JSON],
        source: Path,
        target: Path,
        watch: Watch = unwatched,
    ) -> Mapping[str, JSON]:
        watch("read")
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
            watch("write")
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


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def main(folder: Path, serves: bool) -> None:
    with Store(folder / "jobs.db") as store, store.own():
        store.recover()
        say("ready")
        host = Budget(2**20)
        with Child(partial(Copier, folder), host) as apart:
            backend = LocalBackend(Copier(folder, host), apart)
            if serves:
                serve(store, backend)
            else:
                Runner(store, backend).run("j")


def serve(store: Store, backend: LocalBackend) -> None:
    def look(_: Event | None = None) -> None:
        standing = store.standing()
        if not standing.queued and not standing.running:
            say("idle")

    def obey() -> None:
        calls = {"cancel": runner.cancel, "remove": store.remove, "retry": store.retry}
        for line in sys.stdin:
            verb, _, job = line.strip().partition(" ")
            if verb == "stop":
                return runner.stop(now=True)
            calls[verb](job)
            runner.wake()
            say(line.strip())
            look()

    runner = Runner(store, backend, on_event=look)
    threading.Thread(target=obey, daemon=True).start()
    look()
    runner.serve()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] == ["serve"])
