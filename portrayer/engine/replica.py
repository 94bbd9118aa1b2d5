"""One device and the models on it: what is loaded, how many samples may share a batch, what to do when memory ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from portrayer.engine.device import Array, Device
from portrayer.engine.memory import Budget, Cost, show
from portrayer.errors import OutOfMemory
from portrayer.models.spec import ModelSpec

T = TypeVar("T")
REGROW = 32  # batches that must succeed at a lowered limit before it is raised again


@dataclass(slots=True)
class Loaded:
    """A model on the device. ``limit``: the largest batch that real memory has allowed."""

    model: Any
    bytes: int
    cost: Cost
    limit: int
    running: int = 0
    used: int = 0
    smooth: int = 0


@dataclass(frozen=True, slots=True)
class Running:
    """A launched batch: its samples, its model, and the bytes reserved for it until it is finished."""

    name: str
    samples: int
    reserved: int
    pending: Any


class Replica:
    """A device's models under a budget. Called from one thread; the budget may be shared with other replicas."""

    def __init__(self, device: Device, budget: Budget, spec: Callable[[str], ModelSpec]) -> None:
        self.device, self.budget, self._spec = device, budget, spec
        self.loaded: dict[str, Loaded] = {}
        self.splits = 0
        self._clock = 0

    def prepare(self, name: str) -> None:
        """Have the model on the device, with its cost measured.

        The least recently used idle models make room for it. Raises :class:`OutOfMemory` where weights and one sample
        do not fit the budget even alone, and whatever :mod:`portrayer.models` says of bad weights.
        """
        self._clock += 1
        if name in self.loaded:
            self.loaded[name].used = self._clock
            return
        spec = self._spec(name)
        self._make_room(2 * spec.weights.bytes)  # half precision on disk, at most twice that in use
        model, size = self._retrying(lambda: self.device.load(spec))
        while not self.budget.take(size):
            if not self._drop_one():
                raise OutOfMemory(
                    f"{name} needs {show(size)} for its weights, {show(self.budget.free)} are free"
                )
        try:
            cost = self._retrying(lambda: self.device.measure(model))
            if size + cost.of(1) > self.budget.total:
                needs = show(size + cost.of(1))
                raise OutOfMemory(f"{name} needs {needs}, the budget is {show(self.budget.total)}")
        except BaseException:
            self.budget.release(size)
            raise
        self.loaded[name] = Loaded(model, size, cost, self.device.largest_batch, used=self._clock)

    def reserve(self, name: str, wanted: int) -> int:
        """Reserve memory for up to ``wanted`` samples of a prepared model; how many it is for, 0 for not now."""
        entry = self.loaded.get(name)
        if entry is None:
            return 0
        self._make_room(entry.cost.of(1))
        count = min(wanted, entry.limit, entry.cost.fitting(self.budget.free))
        return count if count > 0 and self.budget.take(entry.cost.of(count)) else 0

    def launch(self, name: str, samples: Array, reserved: int) -> Running:
        """Start a batch in memory reserved for ``reserved`` samples. On any error the memory is released."""
        entry = self.loaded[name]
        held = entry.cost.of(len(samples))
        if reserved > len(samples):
            self.budget.release(entry.cost.of(reserved) - held)
        try:
            pending = self.device.launch(entry.model, samples)
        except BaseException:
            self.budget.release(held)
            raise
        entry.running += 1
        return Running(name, len(samples), held, pending)

    def finish(self, running: Running) -> Array:
        """The batch's results; its memory is released, whatever happens."""
        entry = self.loaded[running.name]
        try:
            results = self.device.finish(running.pending)
        finally:
            entry.running -= 1
            self.budget.release(running.reserved)
        entry.smooth += 1
        if entry.smooth >= REGROW and entry.limit < self.device.largest_batch:
            entry.limit, entry.smooth = min(2 * entry.limit, self.device.largest_batch), 0
        return results

    def shrink(self, name: str, failed: int) -> None:
        """A batch of ``failed`` samples ran out of real memory: smaller ones from now on, and caches given back."""
        entry = self.loaded[name]
        entry.limit, entry.smooth = max(1, min(entry.limit, failed // 2)), 0
        self.splits += 1
        if failed == 1:
            while self._drop_one(keep=name):
                pass
        self.device.free()

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

    def _make_room(self, amount: int) -> None:
        while self.budget.free < amount and self._drop_one():
            pass

    def _drop_one(self, keep: str = "") -> bool:
        """Unload the least recently used idle model; False where none is idle."""
        idle = [(e.used, n) for n, e in self.loaded.items() if not e.running and n != keep]
        if not idle:
            return False
        entry = self.loaded.pop(min(idle)[1])
        size = entry.bytes
        del entry
        self.device.free()
        self.budget.release(size)
        return True
