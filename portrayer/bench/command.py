"""The command line itself, in a fresh process: what a user waits for."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from portrayer.bench.rig import Work
from portrayer.errors import PortrayerError
from portrayer.settings import Settings


def seconds(settings: Settings, work: Work, source: Path, out: Path) -> float:
    """How long ``portrayer TASK source -o out`` takes from its start to its end.

    Raises :class:`PortrayerError` with the line that it ends with, where it does not do it all.
    """
    yes = ["--yes"] if "consent" in work.options else []
    inputs = [*work.beside, source]
    command = [sys.executable, "-m", "portrayer", work.task, *map(str, inputs), "-o", str(out)]
    begun = time.perf_counter()
    done = subprocess.run(
        [*command, *yes, *flags(settings)], capture_output=True, text=True, check=False
    )
    taken = time.perf_counter() - begun
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise PortrayerError(f"`portrayer {work.task}` failed while it was measured: {said[-1]}")
    return taken


def flags(settings: Settings) -> list[str]:
    """The settings that a command line may have changed, as it would say them; the rest of them
    comes from where these came from.
    """
    named = ("device", "precision", "memory", "gpu_memory", "workers", "max_pixels")
    said = [
        word
        for name in named
        for word in (f"--{name.replace('_', '-')}", str(getattr(settings, name)))
    ]
    return said + ["--require-gpu"] * settings.require_gpu
