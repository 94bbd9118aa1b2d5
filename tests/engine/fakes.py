"""A device at the real seam: memory with a hard end, answers that can be checked."""

from __future__ import annotations

import threading
import time
import weakref
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from portrayer.engine.engine import Engine
from portrayer.engine.memory import Budget, Cost
from portrayer.models.spec import ModelSpec, Weights

Array = NDArray[Any]
SIDE = 2
GIB = 2**30
MIB = 2**20


class Exhausted(RuntimeError):
    """The fake memory is at its end."""


def spec(name: str) -> ModelSpec:
    """A row for any name; ``name:100`` has 100 MiB of weights in use, 64 where nothing is said."""
    size = int(name.partition(":")[2] or 64) * MIB
    return ModelSpec(name, "matte", "fake:Fake", Weights(name, name, size // 2, "", ""), SIDE)


def pictures(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """(count, SIDE, SIDE, 3) uint8, no two alike."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)


def answers(model: str, samples: Array) -> Array:
    """What a correct forward gives: (N, 2) float32, a checksum of the sample and of the model."""
    key = float(zlib.crc32(model.encode()) % 2**20)
    rows = [[float(zlib.crc32(sample.tobytes()) % 2**24), key] for sample in samples]
    return np.array(rows, np.float32)


@dataclass(slots=True, eq=False, weakref_slot=True)
class Loaded:
    """A model on the fake device."""

    name: str


@dataclass(frozen=True, slots=True)
class Block:
    """Bytes asked for, and the bytes that are really kept for them."""

    amount: int
    size: int


@dataclass
class Memory:
    """A caching allocator: what is freed is kept, and serves only what is not larger.

    ``cap``: bytes of the device. ``others``: bytes that other programs hold of it now. ``used``:
    bytes asked for and not given back, ``most`` of them at once. ``weights``: what devices of one
    memory have loaded into it, and share.
    """

    cap: int
    others: int = 0
    used: int = 0
    most: int = 0
    held: int = 0
    cached: list[int] = field(default_factory=list)
    weights: weakref.WeakValueDictionary[str, Loaded] = field(
        default_factory=weakref.WeakValueDictionary
    )
    lock: Any = field(default_factory=threading.RLock)

    def take(self, amount: int) -> Block:
        with self.lock:
            size = min((size for size in self.cached if size >= amount), default=0)
            if size:
                self.cached.remove(size)
            elif self.held + sum(self.cached) + amount + self.others > self.cap:
                raise Exhausted(f"out of memory: tried to take {amount} bytes")
            block = Block(amount, size or amount)
            self.held += block.size
            self.used += amount
            self.most = max(self.most, self.used)
            return block

    def give(self, block: Block) -> None:
        with self.lock:
            self.held -= block.size
            self.used -= block.amount
            self.cached.append(block.size)

    def empty(self) -> None:
        with self.lock:
            self.cached.clear()


@dataclass(eq=False)
class FakeDevice:
    """``fixed`` + n * ``per_sample`` bytes a forward, beside the weights.

    ``seconds``: how long one takes. ``trouble``: called with the model's name and the batch before
    each launch, ``broken`` before each load; what they raise, the device raises. ``launched``: what
    was launched so far, as (name, batch).
    """

    memory: Memory = field(default_factory=lambda: Memory(8 * GIB))
    name: str = "fake"
    precision: str = "exact"
    largest_batch: int = 16
    asynchronous: bool = False
    fixed: int = 16 * MIB
    per_sample: int = 100 * MIB
    seconds: float = 0.0
    padding: Callable[[int], int] = lambda samples: samples
    trouble: Callable[[str, int], None] = lambda name, batch: None
    broken: Callable[[str], None] = lambda name: None
    launched: list[tuple[str, int]] = field(default_factory=list)
    entered: int = 0
    freed: int = 0
    running: int = 0

    def capacity(self) -> int:
        return self.memory.cap - self.memory.others

    def enter(self) -> None:
        self.entered += 1

    def padded(self, samples: int) -> int:
        return self.padding(samples)

    def largest(self, model: Loaded) -> int:
        return self.largest_batch

    def precision_of(self, model: Loaded) -> str:
        return self.precision

    def load(self, spec: ModelSpec, memory: int = 0) -> tuple[Loaded, int]:
        assert self.entered == 1, "a device is entered once, before anything else"
        self.broken(spec.name)
        size = 2 * spec.weights.bytes
        with self.memory.lock:
            model = self.memory.weights.get(spec.name)
            if model is None:
                block = self.memory.take(size)
                self.memory.weights[spec.name] = model = Loaded(spec.name)
                weakref.finalize(model, self.memory.give, block).atexit = False
        return model, size

    def measure(self, model: Loaded) -> Cost:
        def peak(samples: int) -> int:
            need = self._need(samples)
            self.memory.give(self.memory.take(need))
            self.memory.empty()
            return need

        return Cost.through((1, peak(1)), (2, peak(2)))

    def launch(self, model: Loaded, samples: Array) -> Any:
        self.launched.append((model.name, len(samples)))
        self.trouble(model.name, len(samples))
        taken = self.memory.take(self._need(self.padding(len(samples))))
        self.running += 1
        kept = samples.copy()
        samples[:] = 0  # a device owns what it is given
        if self.asynchronous:
            return model.name, kept, taken
        return answers(model.name, self._run(kept, taken)), None, taken

    def finish(self, pending: Any) -> Array:
        first, kept, taken = pending
        return first if kept is None else answers(first, self._run(kept, taken))

    def free(self) -> None:
        self.freed += 1
        self.memory.empty()

    def is_out_of_memory(self, error: BaseException) -> bool:
        return isinstance(error, Exhausted)

    def _need(self, samples: int) -> int:
        return self.fixed + samples * self.per_sample

    def _run(self, kept: Array, taken: Block) -> Array:
        if self.seconds:
            time.sleep(self.seconds)
        self.running -= 1
        self.memory.give(taken)
        return kept


class Gone(RuntimeError):
    """The fake device is no longer there: no shortage of memory, and nothing a retry mends."""


@dataclass(eq=False)
class Vanishing(FakeDevice):
    """A device that is gone after so many ``forwards``, until it is ``back``.

    An asynchronous one says so when a forward is waited for, as real ones do.
    """

    forwards: int = 0
    back: bool = False

    def load(self, spec: ModelSpec, memory: int = 0) -> tuple[Loaded, int]:
        self._look()
        return super().load(spec)

    def launch(self, model: Loaded, samples: Array) -> Any:
        pending = super().launch(model, samples)
        if not self.asynchronous:
            self._look()
        return pending

    def finish(self, pending: Any) -> Array:
        results = super().finish(pending)
        if self.asynchronous:
            self._look()
        self.forwards -= 1
        return results

    def _look(self) -> None:
        if self.forwards <= 0 and not self.back:
            raise Gone("the device fell off the bus")


@dataclass
class Pace:
    """Time for synchronous devices that take some: it passes when all that have work in hand wait
    for it.

    ``asleep``: when each wakes, and how many samples it has in hand.
    """

    now: float = 0.0
    asleep: list[tuple[float, int]] = field(default_factory=list)
    changed: Any = field(default_factory=threading.Condition)

    def sleep(self, seconds: float, samples: int) -> None:
        with self.changed:
            wakes = self.now + seconds
            self.asleep.append((wakes, samples))
            self.changed.wait_for(lambda: self.now >= wakes)

    def pass_until(self, one: Engine, total: int) -> None:
        """Let time pass until the engine has answered so many samples."""

        def answered() -> int:
            return sum(device.samples for device in one.stats().devices)

        def still() -> bool:
            # In this order what moves meanwhile is missed, and nothing is counted twice.
            held = sum(samples for _, samples in self.asleep)
            known = held + answered()
            waiting = one.stats().waiting
            busy = len(self.asleep) == len(one.replicas)
            return known + waiting == total and (busy or not waiting)

        try:
            while answered() < total:
                assert eventually(still)
                self._wake(min(self.asleep, default=(self.now, 0))[0])
        except BaseException:
            self._wake(float("inf"))
            raise

    def _wake(self, now: float) -> None:
        with self.changed:
            self.now = now
            self.asleep = [each for each in self.asleep if each[0] > now]
            self.changed.notify_all()


@dataclass(eq=False)
class Paced(FakeDevice):
    """A device that takes ``seconds`` of a :class:`Pace` for each sample."""

    pace: Pace = field(default_factory=Pace)

    def _run(self, kept: Array, taken: Block) -> Array:
        self.pace.sleep(self.seconds * len(kept), len(kept))
        self.running -= 1
        self.memory.give(taken)
        return kept


def engine(
    devices: Sequence[FakeDevice], budget: Budget | None = None, **options: Any
) -> tuple[Engine, list[Budget]]:
    """An engine over fakes: one shared budget, or one each of all that its memory has."""
    budgets = [budget or Budget(device.memory.cap, device.name) for device in devices]
    waiting = iter(budgets)
    return Engine(devices, lambda _: next(waiting), spec, **options), budgets


def eventually(holds: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether it comes to hold."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True
