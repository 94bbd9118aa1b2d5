"""Photos from files to files, as a run of the program has them; each stage's CPU time is taken."""

from __future__ import annotations

import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from portrayer.bench.encoders import WRITERS
from portrayer.bench.figures import Stages
from portrayer.bench.rig import Load, Rig, Work, repeated

STAGES = ("decode", "task", "encode")  # those of a worker's thread; while it infers, it waits


@dataclass(frozen=True, slots=True)
class Flow:
    """What a run did: ``seconds`` from the first photo to the last, ``busy`` of them the device.

    ``latencies``: seconds of each photo, from its start to its file.
    """

    images: int
    seconds: float
    busy: float
    stages: Stages
    latencies: tuple[float, ...]

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.images / self.seconds

    @property
    def cores(self) -> float:
        """How many cores were busy, a mean."""
        return self.stages.total / 1000 * self.rate


class Marks:
    """CPU seconds of one photo by stage, in the thread that calls."""

    def __init__(self) -> None:
        self.spent: defaultdict[str, float] = defaultdict(float)
        self._stage, self._since = "", time.thread_time()

    def enter(self, stage: str) -> None:
        """A :data:`~portrayer.engine.precedence.Watch`."""
        now = time.thread_time()
        self.spent[self._stage] += now - self._since
        self._stage, self._since = stage, now


def run(
    rig: Rig, work: Work, out: Path, images: int, *, workers: int = 0, writer: str = "own"
) -> Flow:
    """``images`` photos of ``work`` into ``out``; ``workers`` at once, 0 for the program's own."""

    def one(number: int) -> tuple[Marks, float]:
        begun, marks = time.perf_counter(), Marks()
        target = out / f"{number:05}{work.suffix}"
        with rig.pipeline.process(
            work.task, work.inputs(number), work.options, watch=marks.enter
        ) as result:
            WRITERS[writer](result, target)
        marks.enter("")
        return marks, time.perf_counter() - begun

    with ThreadPoolExecutor(workers or rig.pipeline.workers) as pool:
        begun, cpu = time.perf_counter(), time.process_time()
        forward, busy = rig.spent, rig.busy
        try:
            done = list(pool.map(one, range(images)))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
        forward, busy = rig.spent - forward, rig.busy - busy
    spent: dict[str, float] = {name: sum(marks.spent[name] for marks, _ in done) for name in STAGES}
    spent["forward"] = forward
    spent["other"] = max(0.0, cpu - sum(spent.values()))
    stages = Stages(**{name: 1000 / images * taken for name, taken in spent.items()})
    return Flow(images, seconds, busy, stages, tuple(taken for _, taken in done))


def rate(rig: Rig, load: Load, batch: int, seconds: float) -> tuple[float, int]:
    """Images/s of forwards alone, and the largest batch that ran.

    As many callers as keep a batch waiting for every replica ask for ``batch`` images at a time.
    """
    engine = rig.pipeline.engine
    asked = [(model, repeated(one, batch)) for model, one in load]
    end = 0.0

    def ask(once: bool = False) -> tuple[int, int]:
        images = largest = 0
        while images == 0 or (not once and time.perf_counter() < end):
            for model, inputs in asked:
                largest = max(largest, engine.infer(model, *inputs).batch)
            images += batch
        return images, largest

    ask(once=True)
    depth = 2 if any(device.asynchronous for device in rig.devices) else 1
    callers = 2 * depth * len(rig.devices)
    with ThreadPoolExecutor(callers) as pool:
        begun = time.perf_counter()
        end = begun + seconds
        done = [future.result() for future in [pool.submit(ask) for _ in range(callers)]]
        taken = time.perf_counter() - begun
    return sum(images for images, _ in done) / taken, max(largest for _, largest in done)
