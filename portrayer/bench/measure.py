"""A bench from its plan to its report: photos made, then part by part what was asked for."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any

import portrayer
from portrayer.bench import beside, command, flow, levers, memory, photos
from portrayer.bench.apart import apart
from portrayer.bench.figures import (
    EndToEnd,
    ForwardMemory,
    Latency,
    Machine,
    PhotoMemory,
    Rate,
    Report,
    Stages,
)
from portrayer.bench.rig import Load, Rig, Setup, Work, opened
from portrayer.engine.cores import cores
from portrayer.engine.host import available
from portrayer.engine.nvml import utilisation
from portrayer.tasks import task as find_task

FORWARDS = "the device's forwards"
Size = tuple[int, int]
Tell = Callable[[str], None]
SMALL = (320, 240)  # of the photo that is done before memory is measured
COLD, WARM, TURNS = 3, 20, 3  # runs that a median is taken of
WHOLE = 60  # images at which a rate is measured for a second
FULL = 0.7  # what is busy for less than this share of the time holds nothing up


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for. ``sizes``: (width, height) of photos; ``folder``: of one's own photos;
    ``images``: of a run end to end, and what all other runs are as long as in proportion.
    """

    setup: Setup
    task: str
    folder: Path | None
    images: int
    batches: tuple[int, ...]
    sizes: tuple[Size, ...]
    replicas: tuple[int, ...]
    parts: tuple[str, ...]


class Bench:
    """A plan under way, in a folder that goes with it.

    Each part opens a rig of its own: what one holds on the device is not there for the next.
    """

    def __init__(self, plan: Plan, folder: Path, tell: Tell) -> None:
        self.plan, self.folder, self.tell = plan, folder, tell
        self._scenes = photos.scenes(plan.folder, faces=plan.task != "matte")
        self._beside = len(find_task(plan.task).inputs) - 1

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def seconds(self) -> float:
        """How long a rate is measured."""
        return min(1.0, self.plan.images / WHOLE)

    @property
    def largest(self) -> Size:
        return max(self.plan.sizes, key=lambda size: size[0] * size[1])

    def work(self, size: Size, count: int) -> Work:
        """The plan's task over ``count`` photos of a size."""
        self.tell(f"photos of {size[0]}x{size[1]}")
        name = f"{size[0]}x{size[1]}-{count}"
        made = photos.write(self._scenes, *size, count, self.folder / name)
        beside = photos.write(self._scenes[-1:], *size, self._beside, self.folder / f"by-{name}")
        return Work(self.plan.task, made, beside)

    # --- the parts --------------------------------------------------------------------------------

    def latency(self) -> dict[str, Any]:
        found, settings = [], self.plan.setup.settings
        for width, height in self.plan.sizes:
            work = self.work((width, height), min(photos.DISTINCT, self.plan.images))
            self.tell(f"latency at {width}x{height}")
            target = self.out / f"cold{work.suffix}"
            cold = [command.seconds(settings, work, work.photos[0], target) for _ in range(COLD)]
            with opened(self.plan.setup) as rig:
                rig.warm(work)
                count = max(2, min(WARM, self.plan.images))
                warm = flow.run(rig, work, self.out, count, workers=1).latencies
            late = quantiles(warm, n=20, method="inclusive")[-1]
            found.append(Latency(width, height, median(cold), median(warm), late))
        return {"latency": tuple(found)}

    def memory(self) -> dict[str, Any]:
        setup, small = self.plan.setup, self.work(SMALL, 1)
        with opened(setup) as rig:
            rig.warm(small)
            costs = rig.costs()
        model = max(costs, key=lambda name: costs[name].of(1))
        forwards, each = [], []
        for batch in self.plan.batches:
            self.tell(f"memory of a batch of {batch}")
            one = replace(setup, replicas=1, batch=batch)
            used = apart(memory.forward, one, model, batch)
            forwards.append(ForwardMemory(model, batch, costs[model].of(batch), used))
        for width, height in self.plan.sizes:
            work = self.work((width, height), 1)
            self.tell(f"memory of a photo of {width}x{height}")
            figures = apart(memory.photo, setup, small, work, self.out)
            each.append(PhotoMemory(width, height, *figures))
        return {"forward_memory": tuple(forwards), "photo_memory": tuple(each)}

    def throughput(self) -> dict[str, Any]:
        with opened(self.plan.setup) as rig:
            load = rig.load(self.work(self.largest, 1))
            # The CPU has as many replicas as are asked for, a machine only the GPUs that it has.
            most = max(self.plan.replicas) if rig.on_cpu else len(rig.devices)
        by_batch = [self._rate(load, 1, batch) for batch in self.plan.batches]
        best = max(by_batch, key=lambda row: row.images_per_second).batch
        counts = dict.fromkeys(min(count, most) for count in self.plan.replicas)
        by_replicas = [self._rate(load, count, best) for count in counts]
        return {"by_batch": tuple(by_batch), "by_replicas": tuple(by_replicas)}

    def _rate(self, load: Load, replicas: int, batch: int) -> Rate:
        self.tell(f"throughput: batches of {batch}, replicas: {replicas}")
        with opened(replace(self.plan.setup, replicas=replicas, batch=batch)) as rig:
            found, ran = flow.rate(rig, load, batch, self.seconds)
        return Rate(replicas, batch, ran, found)

    def end_to_end(self) -> dict[str, Any]:
        count = self.plan.images
        work = self.work(self.largest, count)
        flows, alones, limit, by = [], [], 0.0, "the cores"
        with opened(self.plan.setup) as rig:
            load = rig.warm(work)
            parts = beside.count(self.plan.setup, [model for model, _ in load], count)
            for turn in range(TURNS):
                self.tell(f"end to end, {turn + 1} of {TURNS}")
                if parts == 1:
                    flows.append(flow.run(rig, work, self.out, count))
                alones.append(flow.run(rig, work, self.out, max(2, count // 3), workers=1))
            if not rig.on_cpu:
                best = max(device.largest_batch for device in rig.devices)
                limit, by = flow.rate(rig, load, best, self.seconds)[0], FORWARDS
        if parts > 1:
            self.tell(f"end to end, {parts} processes")
            flows = beside.run(self.plan.setup, work, self.out, count, parts, turns=TURNS)
        turns = list(zip(flows, alones, strict=True))
        together, alone = sorted(turns, key=lambda pair: pair[0].rate)[len(turns) // 2]
        limit = limit or 1000 * cores() / together.stages.total
        self.tell("end to end, the command")
        folder = work.photos[0].parent
        whole = command.seconds(self.plan.setup.settings, work, folder, self.folder / "command")
        cores_busy, device_busy = together.cores / cores(), together.busy / together.seconds
        held = bottleneck(together.stages, cores_busy, device_busy if by == FORWARDS else 0.0)
        figures = EndToEnd(
            *self.largest,
            images=count,
            images_per_second=together.rate,
            with_start=count / whole,
            limit=limit,
            limited_by=by,
            fraction=together.rate / limit,
            processes=parts,
            cores_busy=cores_busy,
            device_busy=device_busy,
            bottleneck=held,
            together=together.stages,
            alone=alone.stages,
        )
        return {"end_to_end": figures}

    def levers(self) -> dict[str, Any]:
        count = max(2, self.plan.images // 3)
        run = levers.Run(self.plan.setup, self.work(self.largest, count), self.out, count)
        return {"levers": tuple(levers.measure(run, self.tell))}


PARTS: Mapping[str, Callable[[Bench], dict[str, Any]]] = {
    "latency": Bench.latency,
    "memory": Bench.memory,
    "throughput": Bench.throughput,
    "end-to-end": Bench.end_to_end,
    "levers": Bench.levers,
}
"""What can be measured, each giving fields of the :class:`Report`."""


def measure(plan: Plan, tell: Tell) -> Report:
    """Do what the plan asks for; ``tell`` hears what is being done. Nothing is left behind.

    Raises :class:`PortrayerError` for what the program would, and where no photos can be had.
    """
    with TemporaryDirectory(prefix="portrayer-bench-", ignore_cleanup_errors=True) as name:
        bench = Bench(plan, Path(name), tell)
        with opened(plan.setup) as rig:
            machine = described(rig)
        found: dict[str, Any] = {}
        for part in PARTS:
            if part in plan.parts:
                found |= PARTS[part](bench)
        return Report(plan.task, machine, **found)


def bottleneck(stages: Stages, cores_busy: float, device_busy: float) -> str:
    """What holds a run up, in words: the device, the stage that takes most of the cores, or
    neither, where both have time. ``device_busy``: 0 where the cores are the device.
    """
    if device_busy >= max(FULL, cores_busy):
        return FORWARDS
    if cores_busy < FULL:
        return "neither cores nor device: the disk, other programs, or too few photos at once"
    shares = stages.shares()
    return f"the cores, most of all by {max(shares, key=lambda name: shares[name])}"


def described(rig: Rig) -> Machine:
    """The machine, and what the program uses of it."""
    return Machine(
        portrayer=portrayer.__version__,
        python=platform.python_version(),
        torch=version("torch"),
        system=f"{platform.system()} {platform.machine()}",
        processor=chip(),
        cores=cores(),
        memory=available(),
        devices=tuple(device.name for device in rig.devices),
        gpus=tuple(gpu.name for gpu in utilisation()) if not rig.on_cpu else (),
        precision=rig.devices[0].precision,
        workers=rig.pipeline.workers,
    )


def chip() -> str:
    """The processor's own name, as far as the system tells."""
    return next(_models(), platform.processor() or platform.machine())


def _models() -> Iterator[str]:
    with suppress(OSError):
        cpus = Path("/proc/cpuinfo").read_text()
        yield from re.findall(r"^model name\s*: (.+)$", cpus, re.MULTILINE)
