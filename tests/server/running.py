"""A real server in a process of its own, as an operator starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

TOKEN = "a-token-for-tests"
PATIENCE = 60.0  # seconds for whatever must come in the end


@dataclass(frozen=True)
class Running:
    """A server that answers. ``client`` sends its token."""

    process: subprocess.Popen[str]
    address: str
    folder: Path
    client: httpx.Client

    def kill(self) -> None:
        """As a crash does."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def stop(self) -> float:
        """As an operator does; the seconds it took. It must end as if all were well."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE) == 0
        return time.monotonic() - begun

    def settled(self, job: str) -> Mapping[str, Any]:
        """The job, once nothing more will happen to it."""
        deadline = time.monotonic() + PATIENCE
        while True:
            view: dict[str, Any] = self.client.get(f"/v1/jobs/{job}").raise_for_status().json()
            if view["done"] + view["failed"] + view["canceled"] == view["total"]:
                return view
            assert time.monotonic() < deadline, view
            time.sleep(0.05)

    def ready(self) -> None:
        """Wait for the models."""
        deadline = time.monotonic() + PATIENCE
        while self.client.get("/readyz").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@contextmanager
def serving(folder: Path, *flags: str, **settings: str) -> Iterator[Running]:
    """A server over ``folder`` with environment variables PORTRAYER_SERVER_<SETTING>."""
    own = {f"PORTRAYER_SERVER_{name.upper()}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "portrayer", "serve", "--port", "0", "--data", str(folder)]
    with (folder.parent / f"{folder.name}.log").open("a") as errors:
        process = subprocess.Popen(
            [*command, *flags],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "PORTRAYER_SERVER_TOKEN": TOKEN, **own},
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = line.rpartition(" ")[2].strip()
        assert address.startswith("http"), (line, log(folder))
        with httpx.Client(
            base_url=address, headers={"X-Api-Key": TOKEN}, timeout=PATIENCE, trust_env=False
        ) as client:
            yield Running(process, address, folder, client)
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def log(folder: Path) -> str:
    """What the servers over ``folder`` have written."""
    return (folder.parent / f"{folder.name}.log").read_text()
