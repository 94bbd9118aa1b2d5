"""A flow in several processes at once, as a folder is worked on by the program on the CPU."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from multiprocessing.synchronize import Barrier
from pathlib import Path

from portrayer.bench import flow
from portrayer.bench.apart import SPAWN, apart
from portrayer.bench.figures import Stages
from portrayer.bench.flow import Flow
from portrayer.bench.rig import Rig, Setup, Work, opened
from portrayer.engine.cores import counting
from portrayer.engine.host import available
from portrayer.engine.memory import parse
from portrayer.engine.processes import processes, shared
from portrayer.errors import CapacityError

START = 300.0  # seconds for all of them to be ready


def count(setup: Setup, models: Sequence[str], images: int) -> int:
    """How many processes the program would have, of those ``setup`` lets it have."""
    memory = parse(setup.settings.memory, available())
    return processes(setup.settings, memory, models, min(setup.replicas or images, images))


def run(
    setup: Setup,
    work: Work,
    out: Path,
    images: int,
    parts: int,
    *,
    turns: int = 1,
    writer: str = "own",
) -> list[Flow]:
    """``images`` photos, shared out to ``parts`` processes that begin each of the ``turns``
    together.

    Raises what :func:`apart` raises.
    """
    settings, _ = shared(setup.settings, parse(setup.settings.memory, available()), parts)
    own, gate = replace(setup, settings=settings, replicas=1), SPAWN.Barrier(parts)
    each = [len(range(number, images, parts)) for number in range(parts)]

    def part(number: int) -> list[Flow]:
        place = out / f"part-{number}"
        return apart(_part, gate, own, work, place, each[number], turns, writer)

    with ThreadPoolExecutor(parts) as pool:
        flows = list(pool.map(part, range(parts)))
    return [_together(turn) for turn in zip(*flows, strict=True)]


def _part(
    gate: Barrier, setup: Setup, work: Work, out: Path, images: int, turns: int, writer: str
) -> list[Flow]:
    try:
        with ExitStack() as stack:
            with counting(1):
                rig = stack.enter_context(opened(setup))
            rig.warm(work)
            return [_turn(gate, rig, work, out, images, writer) for _ in range(turns)]
    except BaseException:
        gate.abort()  # nobody waits for it
        raise


def _turn(gate: Barrier, rig: Rig, work: Work, out: Path, images: int, writer: str) -> Flow:
    try:
        gate.wait(START)
    except threading.BrokenBarrierError as error:
        raise CapacityError("a process beside this one did not get ready") from error
    return flow.run(rig, work, out, images, workers=1, writer=writer)


def _together(parts: Sequence[Flow]) -> Flow:
    """All of a turn: the slowest part's time, and means by the image."""
    images = sum(part.images for part in parts)
    stages = {
        name: sum(getattr(part.stages, name) * part.images for part in parts) / images
        for name in parts[0].stages.shares()
    }
    return Flow(
        images,
        max(part.seconds for part in parts),
        sum(part.busy for part in parts) / len(parts),
        Stages(**stages),
        tuple(latency for part in parts for latency in part.latencies),
    )
