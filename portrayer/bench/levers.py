"""One thing changed at a time: what each of the program's choices is worth on this machine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from portrayer.bench import beside, flow
from portrayer.bench.apart import apart
from portrayer.bench.encoders import WRITERS
from portrayer.bench.figures import Lever
from portrayer.bench.rig import Rig, Setup, Work, opened
from portrayer.engine import device as devices

ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Run:
    """Photos end to end, in so many ``processes``. ``keep``: whether freed memory is kept for the
    next forward.
    """

    setup: Setup
    work: Work
    out: Path
    images: int
    workers: int = 0
    writer: str = "own"
    keep: bool = True
    processes: int = 1


@dataclass(frozen=True, slots=True)
class Choice:
    """A lever: its name, what becomes of it in words, and the runs with and without it.

    ``fresh``: both are measured in a process of their own.
    """

    name: str
    change: str
    on: Run
    off: Run
    fresh: bool = False


def measure(run: Run, tell: Callable[[str], None]) -> Iterator[Lever]:
    """Every lever that this machine has, against ``run``."""
    with opened(run.setup) as rig:
        models = [model for model, _ in rig.load(run.work)]
        run = replace(run, processes=beside.count(run.setup, models, run.images))
        choices = tuple(offered(run, rig))
    for choice in choices:
        tell(f"lever: {choice.name}")
        rates: tuple[list[float], ...] = ([], [])
        for _ in range(ROUNDS):
            for each, seen in zip((choice.on, choice.off), rates, strict=True):
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
        yield Choice("precision", f"{first.precision} -> float32", run, other(settings=full))
    if run.processes > 1:
        change = f"{run.processes} -> {rig.pipeline.workers} threads of one"
        yield Choice("processes", change, run, replace(run, processes=1))
        change = f"{run.processes} -> 1, one photo at a time"
        yield Choice("overlap", change, run, replace(run, processes=1, workers=1))
    else:
        if first.largest_batch > 1:
            yield Choice("batch", f"{first.largest_batch} -> 1", run, other(batch=1))
        change = f"{rig.pipeline.workers} photos at once -> 1"
        yield Choice("overlap", change, run, replace(run, workers=1))
        if len(rig.devices) > 1:
            yield Choice("replicas", f"{len(rig.devices)} -> 1", run, other(replicas=1))
    if hasattr(first, "capturing"):
        yield Choice("graphs", "captured -> launched one by one", run, other(graphs=False))
    if run.work.suffix == ".png":
        for writer in WRITERS:
            if writer != run.writer:
                yield Choice("codec", f"own PNG -> {writer}", run, replace(run, writer=writer))
    if rig.on_cpu and sys.platform == "linux":
        change = "freed memory kept -> given back"
        one = replace(run, processes=1)
        yield Choice("allocator", change, one, replace(one, keep=False), fresh=True)


def rate(run: Run) -> float:
    """Images/s of a run, once all is loaded."""
    if not run.keep:  # in a process of its own, before any device is opened
        setattr(devices, "keep_memory", lambda: None)  # noqa: B010
    if run.processes > 1:
        return beside.run(
            run.setup, run.work, run.out, run.images, run.processes, writer=run.writer
        )[0].rate
    with opened(run.setup) as rig:
        rig.warm(run.work)
        return flow.run(
            rig, run.work, run.out, run.images, workers=run.workers, writer=run.writer
        ).rate
