"""What the CUDA device needs of torch, over memory with a hard end: its own code without a GPU.

Forwards run at once and on the CPU. What is kept is how torch holds memory: freed blocks stay in a
cache and are given up before it raises; a graph's forward has memory of its own, that all graphs of
a pool share, until the last of them is gone.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from portrayer.models.spec import ModelSpec
from tests.engine.fakes import MIB, Block, Exhausted, Memory, answers


class Resident(Tensor):
    """A tensor that is everywhere at once."""

    def to(self, *_: Any, **__: Any) -> Any:
        return self

    def record_stream(self, stream: Any) -> None:
        pass


class Stream:
    """A stream or an event: all is over as soon as it is asked for."""

    def __init__(self, device: Any = None) -> None:
        pass

    def record(self, stream: Any) -> None:
        pass

    def wait_event(self, event: Any) -> None:
        pass

    def synchronize(self) -> None:
        pass


@dataclass(eq=False)
class Pool:
    """The memory that graphs share: as much as the largest of them needs."""

    memory: Memory
    blocks: list[Block] = field(default_factory=list)
    graphs: int = 0

    def hold(self, amount: int) -> None:
        more = amount - sum(block.size for block in self.blocks)
        if more > 0:
            self.blocks.append(fresh(self.memory, more))

    def leave(self) -> None:
        self.graphs -= 1
        if not self.graphs:
            for block in self.blocks:
                self.memory.give(block)
            self.blocks.clear()


class Graph:
    """A captured forward: where it reads and writes, and what runs between."""

    def __init__(self) -> None:
        self.forward: Any = None

    def replay(self) -> None:
        net, samples, result = self.forward
        result.copy_(net.answer(samples))


class Graphics:
    """``torch`` for :mod:`portrayer.engine.cuda`, and ``torch.cuda`` with one GPU of ``memory``."""

    def __init__(self, memory: Memory) -> None:
        self.memory, self.peak = memory, 0
        self.cuda = self
        self.Stream = self.Event = Stream
        self.CUDAGraph = Graph
        self.capturing: tuple[Graph, Pool] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def empty(self, *shape: Any, pin_memory: bool = False, **options: Any) -> Tensor:
        return torch.empty(*shape, **options).as_subclass(Resident)

    def set_device(self, device: Any) -> None:
        pass

    def synchronize(self, device: Any) -> None:
        pass

    def stream(self, stream: Any) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def graph_pool_handle(self) -> Pool:
        return Pool(self.memory)

    @contextlib.contextmanager
    def graph(self, graph: Graph, *, pool: Pool, **_: Any) -> Iterator[None]:
        self.capturing = graph, pool
        try:
            yield
        finally:
            self.capturing = None
        pool.graphs += 1
        weakref.finalize(graph, pool.leave).atexit = False

    def mem_get_info(self, device: Any) -> tuple[int, int]:
        free = self.memory.cap - self.memory.others - self.memory_reserved(device)
        return free, self.memory.cap

    def get_device_properties(self, device: Any) -> Any:
        return SimpleNamespace(total_memory=self.memory.cap)

    def set_per_process_memory_fraction(self, fraction: float, device: Any) -> None:
        self.memory.cap = round(self.memory.cap * fraction)

    def memory_reserved(self, device: Any) -> int:
        return self.memory.held + sum(self.memory.cached)

    def max_memory_reserved(self, device: Any) -> int:
        return max(self.peak, self.memory_reserved(device))

    def reset_peak_memory_stats(self, device: Any) -> None:
        self.peak = self.memory_reserved(device)

    def empty_cache(self) -> None:
        self.memory.empty()

    def run(self, net: Net, samples: Tensor) -> Tensor:
        """A forward, eager or captured, in the memory it takes."""
        need = net.fixed + len(samples) * net.per_sample
        result = net.answer(samples)
        if self.capturing is None:
            block = take(self.memory, need)
            self.peak = max(self.peak, self.memory_reserved(None))
            self.memory.give(block)
        else:
            graph, pool = self.capturing
            pool.hold(need)
            self.peak = max(self.peak, self.memory_reserved(None))
            graph.forward = net, samples, result
        return result


@dataclass(eq=False)
class Net:
    """A model on the fake GPU: it needs ``fixed`` + n * ``per_sample`` bytes beside its weights."""

    spec: ModelSpec
    graphics: Graphics
    fixed: int = 16 * MIB
    per_sample: int = 100 * MIB
    precision: str = "float16"
    sizes: list[int] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        return 2 * self.spec.weights.bytes

    def answer(self, samples: Tensor) -> Tensor:
        return torch.from_numpy(answers(self.spec.name, samples.numpy()))

    def __call__(self, samples: Tensor) -> Tensor:
        return self.graphics.run(self, samples)

    def loaded(self) -> Net:
        """The same, its weights in the memory for as long as it lives."""
        block = take(self.graphics.memory, self.bytes)
        weakref.finalize(self, self.graphics.memory.give, block).atexit = False
        return self


def take(memory: Memory, amount: int) -> Block:
    """As torch does: the cache is given up before anything is refused."""
    try:
        return memory.take(amount)
    except Exhausted:
        memory.empty()
        return memory.take(amount)


def fresh(memory: Memory, amount: int) -> Block:
    """Not from the cache: a graph's pool takes none of the blocks that others have freed."""
    with memory.lock:
        kept = list(memory.cached)
        memory.empty()
        block = memory.take(amount)
        if memory.held + sum(kept) + memory.others <= memory.cap:
            memory.cached.extend(kept)
        return block
