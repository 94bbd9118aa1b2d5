"""One device and the models on it: what is loaded, how many samples may share a batch.

And what to do when memory ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from portrayer.engine.answer import DeviceStats
from portrayer.engine.device import Array, Device
from portrayer.engine.memory import Budget, Cost, show
from portrayer.errors import OutOfMemory
from portrayer.models.spec import ModelSpec

T = TypeVar("T")
REGROW = 32  # batches that must succeed at a lowered limit before it is raised again


@dataclass(slots=True)
class Loaded:
    """A model on the device, as ``spec`` says. ``limit``: the largest batch that real memory has
    allowed, since one of ``failed`` samples did not fit.
    """

    spec: ModelSpec
    model: Any
    cost: Cost
    limit: int
    failed: int = 0
    running: int = 0
    used: int = 0
    smooth: int = 0


@dataclass(frozen=True, slots=True)
class Running:
    """A launched batch, with the bytes reserved for it until it is finished."""

    name: str
    samples: int
    reserved: int
    precision: str
    pending: Any


class Replica:
    """A device's models under a budget.

    Called from one thread; the budget may be shared with other replicas.
    """

    def __init__(
        self,
        device: Device,
        budget: Budget,
        spec: Callable[[str], ModelSpec],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.device, self.budget, self._spec, self._clock = device, budget, spec, clock
        self.loaded: dict[str, Loaded] = {}
        self.splits = self._uses = self._running = self._samples = self._forwards = 0
        self._busy: tuple[float, float | None] = 0.0, None  # seconds that are over, since when more
        self._last = 0, ""  # a batch, and why it was no larger
        self._entered = False

    def prepare(self, name: str) -> None:
        """Have the model on the device, with its cost measured.

        One that has become another under its name is loaded anew, once it is idle. The least
        recently used idle models make room for it. Where another replica of the same
        budget holds what is missing, it is not loaded, and can be later. Raises
        :class:`OutOfMemory` where weights and one sample do not fit the budget even alone,
        whatever :mod:`portrayer.models` says of bad weights and the device of itself.
        """
        if not self._entered:
            self.device.enter()
            self._entered = True
        self._uses += 1
        spec = self._spec(name)
        if name in self.loaded and self._outdated(self.loaded[name], spec):
            self._drop(name)
        if name in self.loaded:
            self.loaded[name].used = self._uses
            return
        self._make_room(2 * spec.weights.bytes)  # half precision on disk, at most twice in use
        model, size = self._retrying(lambda: self.device.load(spec, self.budget.total))
        self._fits(name, size)
        while not self.budget.hold(model, size):
            if not self._drop_one():
                return
        cost = self._retrying(lambda: self.device.measure(model))
        self._fits(name, size + cost.of(self.device.padded(1)))
        self.loaded[name] = Loaded(spec, model, cost, self.device.largest(model), used=self._uses)

    def reserve(self, name: str, waiting: int, sharing: int = 1) -> int:
        """Reserve memory for samples of a prepared model: one in ``sharing`` of those ``waiting``.

        How many it is for, 0 for not now.
        """
        entry = self.loaded.get(name)
        if entry is None:
            return 0
        self._make_room(self._need(entry, 1), keep=name)
        free, wanted = self.budget.free, -(-waiting // sharing)
        bounds = {
            entry.cost.fitting(free): f"memory: {show(free)} of {show(self.budget.total)} free",
            entry.limit: self._limited(entry),
        }
        most = min(bounds)
        count = min(wanted, most)
        while count > 0 and self.device.padded(count) > most:
            count -= 1
        if count <= 0 or not self.budget.take(self._need(entry, count)):
            return 0
        whole = "all that waited" if wanted == waiting else f"its share of {waiting} that waited"
        self._last = count, whole if count == wanted else bounds[most]
        return count

    def launch(
        self,
        name: str,
        samples: Sequence[Array | None],
        reserved: int,
        vectors: Sequence[Array | None] = (),
    ) -> Running:
        """Start a batch in memory reserved for ``reserved`` samples; on any error it is released.

        ``samples``: each (S, S, 3) uint8, or all None; ``vectors``: each (width,) float32, or all
        None.
        """
        entry = self.loaded[name]
        held = self._need(entry, len(samples))
        self.budget.release(self._need(entry, reserved) - held)
        self._begin(entry)
        try:
            pending = self.device.launch(entry.model, *_arrays(samples, vectors))
        except BaseException:
            self._end(entry, held)
            raise
        precision = self.device.precision_of(entry.model)
        return Running(name, len(samples), held, precision, pending)

    def finish(self, running: Running) -> Array:
        """The batch's results, one a sample; its memory is released, whatever happens."""
        entry = self.loaded[running.name]
        try:
            results = self.device.finish(running.pending)
            if len(results) != running.samples:
                raise ValueError(f"{len(results)} results for {running.samples} samples")
        finally:
            self._end(entry, running.reserved)
        self._samples += running.samples
        self._forwards += 1
        entry.smooth += 1
        largest = self.device.largest(entry.model)
        if entry.smooth >= REGROW and entry.limit < largest:
            entry.limit, entry.smooth = min(2 * entry.limit, largest), 0
        return results

    def shrink(self, name: str, failed: int) -> None:
        """A batch of ``failed`` samples ran out of real memory.

        Smaller ones from now on, and caches given back.
        """
        entry = self.loaded[name]
        entry.limit, entry.smooth = max(1, min(entry.limit, failed // 2)), 0
        entry.failed = failed
        self.splits += 1
        if failed == 1:
            while self._drop_one(keep=name):
                pass
        self.device.free()

    def stats(self) -> DeviceStats:
        """What it does and has done; from any thread."""
        over, since = self._busy
        batch, why = self._last
        return DeviceStats(
            name=self.device.name,
            precision=self.device.precision,
            reserved=self.budget.reserved,
            total=self.budget.total,
            models=tuple(self.loaded),
            busy=over if since is None else over + self._clock() - since,
            samples=self._samples,
            forwards=self._forwards,
            batch=batch,
            why=why,
        )

    def close(self) -> None:
        """Unload every model; nothing may be running."""
        while self._drop_one():
            pass

    def _begin(self, entry: Loaded) -> None:
        entry.running += 1
        self._running += 1
        if self._running == 1:
            self._busy = self._busy[0], self._clock()

    def _end(self, entry: Loaded, reserved: int) -> None:
        entry.running -= 1
        self._running -= 1
        self.budget.release(reserved)
        over, since = self._busy
        if not self._running and since is not None:
            self._busy = over + self._clock() - since, None

    def _outdated(self, entry: Loaded, spec: ModelSpec) -> bool:
        return entry.spec != spec and not entry.running

    def _limited(self, entry: Loaded) -> str:
        """Why a batch is no larger than the model's limit."""
        largest = self.device.largest(entry.model)
        if entry.limit < largest:
            return f"an out-of-memory at {entry.failed}"
        fewer = largest < self.device.largest_batch
        return "the graph takes one at a time" if fewer else "the device's best"

    def _need(self, entry: Loaded, samples: int) -> int:
        return entry.cost.of(self.device.padded(samples))

    def _fits(self, name: str, needs: int) -> None:
        if needs > self.budget.total:
            raise OutOfMemory(
                f"{name} needs {show(needs)}, the {self.budget.name} budget is "
                f"{show(self.budget.total)}"
            )

    def _retrying(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except Exception as error:
            if not self.device.is_out_of_memory(error):
                raise
        while self._drop_one():
            pass
        self.device.free()
        try:
            return action()
        except Exception as error:
            if not self.device.is_out_of_memory(error):
                raise
            raise OutOfMemory(f"a model does not fit on {self.device.name}") from error

    def _make_room(self, amount: int, keep: str = "") -> None:
        while self.budget.free < amount and self._drop_one(keep):
            pass

    def _drop_one(self, keep: str = "") -> bool:
        """Unload the least recently used idle model; False where none is idle."""
        idle = [(e.used, n) for n, e in self.loaded.items() if not e.running and n != keep]
        if not idle:
            return False
        self._drop(min(idle)[1])
        return True

    def _drop(self, name: str) -> None:
        del self.loaded[name]  # the budget has the bytes back when the model dies
        self.device.free()


def _arrays(samples: Sequence[Array | None], vectors: Sequence[Array | None]) -> list[Array | None]:
    """What a device is given: the pictures in one array, None for none; the vectors, if any."""
    pictures, told = ([a for a in given if a is not None] for given in (samples, vectors))
    return [np.stack(pictures) if pictures else None, *([np.stack(told)] if told else [])]
