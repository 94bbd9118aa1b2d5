"""One thing changed at a time: what each of the program's choices is worth on this machine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from portrayer.bench import flow
from portrayer.bench.apart import apart
from portrayer.bench.encoders import WRITERS
from portrayer.bench.figures import Lever
from portrayer.bench.rig import Rig, Setup, Work, opened
from portrayer.engine import device as devices

ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Run:
    """Photos end to end. ``keep``: whether freed memory is kept for the next forward."""

    setup: Setup
    work: Work
    out: Path
    images: int
    workers: int = 0
    writer: str = "own"
    keep: bool = True


@dataclass(frozen=True, slots=True)
class Choice:
    """A lever: its name, what becomes of it in words, and the run without it.

    ``fresh``: both are measured in processes of their own.
    """

    name: str
    change: str
    off: Run
    fresh: bool = False


def measure(run: Run, tell: Callable[[str], None]) -> Iterator[Lever]:
    """Every lever that this machine has, against ``run``."""
    with opened(run.setup) as rig:
        choices = tuple(offered(run, rig))
    for choice in choices:
        tell(f"lever: {choice.name}")
        rates: tuple[list[float], ...] = ([], [])
        for _ in range(ROUNDS):
            for each, seen in zip((run, choice.off), rates, strict=True):
                seen.append(apart(rate, each) if choice.fresh else rate(each))
        on, off = map(median, rates)
        yield Lever(choice.name, choice.change, on, off, off / on)


def offered(run: Run, rig: Rig) -> Iterator[Choice]:
    """The levers of this machine; one that changes nothing here is left out."""
    first, setup = rig.devices[0], run.setup

    def other(**changes: Any) -> Run:
        return replace(run, setup=replace(setup, **changes))

    if first.precision != "float32":
        full = setup.settings.model_copy(update={"precision": "float32"})
        yield Choice("precision", f"{first.precision} -> float32", other(settings=full))
    if first.largest_batch > 1:
        yield Choice("batch", f"{first.largest_batch} -> 1", other(batch=1))
    yield Choice("overlap", f"{rig.pipeline.workers} photos at once -> 1", replace(run, workers=1))
    if len(rig.devices) > 1:
        yield Choice("replicas", f"{len(rig.devices)} -> 1", other(replicas=1))
    if hasattr(first, "capturing"):
        yield Choice("graphs", "captured -> launched one by one", other(graphs=False))
    if run.work.suffix == ".png":
        for writer in WRITERS:
            if writer != run.writer:
                yield Choice("codec", f"own PNG -> {writer}", replace(run, writer=writer))
    if rig.on_cpu and sys.platform == "linux":
        change = "freed memory kept -> given back"
        yield Choice("allocator", change, replace(run, keep=False), fresh=True)


def rate(run: Run) -> float:
    """Images/s of a run, once all is loaded."""
    if not run.keep:  # in a process of its own, before any device is opened
        setattr(devices, "keep_memory", lambda: None)  # noqa: B010
    with opened(run.setup) as rig:
        rig.warm(run.work)
        return flow.run(
            rig, run.work, run.out, run.images, workers=run.workers, writer=run.writer
        ).rate
