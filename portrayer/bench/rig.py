"""The program as users run it, its devices timed: what every measurement is taken on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from portrayer.engine.device import Array, Device, open_devices
from portrayer.engine.engine import Engine
from portrayer.engine.memory import Cost, parse
from portrayer.errors import DeviceUnavailable, InputError
from portrayer.image import codec
from portrayer.models.catalog import spec
from portrayer.pipeline import Pipeline
from portrayer.settings import Settings
from portrayer.studio import ON_HOST, Studio
from portrayer.tasks import task as find_task
from portrayer.tasks.options import options
from portrayer.types import Image


@dataclass(frozen=True, slots=True)
class Setup:
    """How devices are opened. ``replicas``: at most, 0 for all; ``batch``: the largest, 0 for the
    device's own; ``graphs``: captured where the device can; ``hard``: the GPU's allocator itself
    refuses more than the settings' ``gpu_memory``.
    """

    settings: Settings
    replicas: int = 0
    batch: int = 0
    graphs: bool = True
    hard: bool = False


@dataclass(frozen=True, slots=True)
class Work:
    """A task over photos. ``beside``: the inputs before each photo."""

    task: str
    photos: tuple[Path, ...]
    beside: tuple[Path, ...] = ()

    @property
    def options(self) -> dict[str, Any]:
        """The task's own, as names and values."""
        asked = {option.name for option in options(find_task(self.task).options)}
        return {"consent": True} if "consent" in asked else {}  # no result outlives the bench

    @property
    def suffix(self) -> str:
        """The ending of a result's name."""
        return codec.FORMATS[find_task(self.task).options().format].suffix

    def inputs(self, number: int) -> list[Path]:
        """Of the photo at ``number``, which begins anew beyond the last."""
        return [*self.beside, self.photos[number % len(self.photos)]]


Asked = tuple[Array | None, Array | None]
"""Samples and vectors of one request: see :class:`~portrayer.tasks.task.Infer`."""

Load = tuple[tuple[str, Asked], ...]
"""What a photo asks of the engine, in order, by model."""


class Timed:
    """A device, and the CPU seconds that forwards ``spent`` in its replica's thread."""

    def __init__(self, device: Device) -> None:
        self._device, self.spent = device, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)

    def launch(self, model: Any, *inputs: Array | None) -> Any:
        begun = time.thread_time()
        try:
            return self._device.launch(model, *inputs)
        finally:
            self.spent += time.thread_time() - begun

    def finish(self, pending: Any) -> Array:
        begun = time.thread_time()
        try:
            return self._device.finish(pending)
        finally:
            self.spent += time.thread_time() - begun


@dataclass(frozen=True, slots=True)
class Rig:
    """A pipeline over timed devices."""

    pipeline: Pipeline
    devices: tuple[Timed, ...]

    @property
    def on_cpu(self) -> bool:
        return all(device.name == "cpu" for device in self.devices)

    @property
    def spent(self) -> float:
        """CPU seconds of all forwards so far."""
        return sum(device.spent for device in self.devices)

    @property
    def busy(self) -> float:
        """Seconds in which devices had a batch, a mean over them."""
        stats = self.pipeline.engine.stats().devices
        return sum(device.busy for device in stats) / len(stats)

    def costs(self) -> dict[str, Cost]:
        """What forwards cost, by model that is loaded."""
        return {
            name: entry.cost
            for replica in self.pipeline.engine.replicas
            for name, entry in replica.loaded.items()
        }

    def load(self, work: Work, number: int = 0) -> Load:
        """What a photo of ``work`` asks of the engine; it is run for that.

        Raises :class:`InputError` where the task looks for faces and finds none.
        """
        images: list[Image] = [codec.decode(p.read_bytes()).image for p in work.inputs(number)]
        asked: list[tuple[str, Asked]] = []

        def infer(model: str, samples: Array | None, vectors: Array | None = None) -> Array:
            asked.append((model, (samples, vectors)))
            return self.pipeline.engine.infer(model, samples, vectors).arrays

        row = find_task(work.task)
        product = row.run(images, row.options(**work.options), infer)
        if product.faces == ():
            raise InputError("no face is found: give --photos with faces")
        return tuple(asked)

    def warm(self, work: Work) -> Load:
        """Have everything loaded, every size of batch run once; what a photo asks, as ``load``."""
        load = self.load(work)
        largest = max(device.largest_batch for device in self.devices)
        sizes = [1 << bit for bit in range(largest.bit_length())]
        for model, one in dict(load).items():
            for size in sizes:
                self.pipeline.engine.infer(model, *repeated(first(one), size * len(self.devices)))
        return load


def repeated(one: Asked, times: int) -> Asked:
    """A request for each of its samples so many times."""
    samples, vectors = (part if part is None else part.repeat(times, axis=0) for part in one)
    return samples, vectors


def first(one: Asked) -> Asked:
    """A request for the first of its samples alone."""
    samples, vectors = (part if part is None else part[:1] for part in one)
    return samples, vectors


def devices(setup: Setup) -> tuple[Device, ...]:
    """The devices of a setup, capped; :class:`DeviceUnavailable` where one cannot be."""
    s = setup.settings
    found = open_devices(s.device, s.precision, setup.replicas, setup.batch or s.max_batch)
    chosen = tuple(found)[: setup.replicas or None]
    for device in chosen:
        if setup.hard:
            cap = getattr(device, "cap", None)
            if cap is None:
                raise DeviceUnavailable(f"{device.name} has no allocator with a hard cap")
            cap(parse(s.gpu_memory, device.capacity()))
        if not setup.graphs:
            cast(Any, device).capturing = False
    return chosen


@contextmanager
def opened(setup: Setup) -> Iterator[Rig]:
    """A rig, within the budgets that a :class:`Studio` of these settings gives."""
    with Studio(setup.settings) as studio:
        like = studio.pipeline
        budgets = {replica.device.name: replica.budget for replica in like.engine.replicas}
        timed = tuple(map(Timed, devices(setup)))
        engine = Engine(
            cast("tuple[Device, ...]", timed),
            lambda device: budgets[device.name],
            partial(spec, folder=setup.settings.models),
        )
        pipeline = Pipeline(engine, like.host, workers=like.workers, max_pixels=like.max_pixels)
        try:
            yield Rig(pipeline, timed)
        finally:
            pipeline.close()


def of_its_own(device: Device) -> bool:
    """Whether the device has memory that is not the host's."""
    return device.name not in ON_HOST
