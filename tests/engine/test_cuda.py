"""The CUDA device: over a fake GPU, how it fills a hard cap and no more; on a real one the laws of
the CPU, and those that only streams, graphs and caches can break.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from portrayer.engine import cuda
from portrayer.engine import device as devices
from portrayer.engine.cuda import CudaDevice
from portrayer.engine.device import open_devices
from portrayer.engine.engine import Engine
from portrayer.engine.memory import Budget, Cost
from portrayer.engine.replica import REGROW
from portrayer.errors import OutOfMemory
from portrayer.models.catalog import spec
from tests.engine import fakes
from tests.engine.fakes import GIB, MIB, Memory
from tests.engine.graphics import Graphics, Net

NAME = "portrait-matting"


def real(test: Any) -> Any:
    """A test for which a GPU must be there."""
    for mark in (
        pytest.mark.gpu,
        pytest.mark.weights,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
    ):
        test = mark(test)
    return test


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[[Memory], CudaDevice]:
    """A CUDA device over a fake GPU of this memory."""

    def opened(memory: Memory) -> CudaDevice:
        graphics = Graphics(memory)
        monkeypatch.setattr(cuda, "torch", graphics)
        monkeypatch.setattr(devices, "load", lambda row, *_: Net(row, graphics).loaded())
        return CudaDevice(0, "float16")

    return opened


def checked(one: Engine, name: str, count: int, seed: int = 0) -> int:
    """Infer, check every answer, and say how large the batch was."""
    samples = fakes.pictures(count, seed)
    answer = one.infer(name, samples)
    np.testing.assert_array_equal(answer.arrays, fakes.answers(name, samples))
    return answer.batch


@pytest.mark.parametrize("gib", [2, 4, 6, 8])
def test_a_hard_cap_is_filled_and_not_passed(
    gib: int, fake: Callable[[Memory], CudaDevice]
) -> None:
    """Measured, captured, replayed and padded under a cap: the batch is the largest power of two
    that the measured cost allows, no forward is tried in vain, every answer is right.
    """
    memory = Memory(gib * GIB)
    device = fake(memory)
    budget = Budget(device.capacity(), "fake")
    one = Engine([device], lambda _: budget, fakes.spec)
    checked(one, "a", 1)
    fits = one.replicas[0].loaded["a"].cost.fitting(budget.free)
    best = min(device.largest_batch, 1 << (fits.bit_length() - 1))
    assert [checked(one, "a", count, count) for count in (100, 64, 3, 1)] == [
        best,
        best,
        3,
        1,
    ]
    assert best == {2: 8, 4: 16, 6: 16, 8: 32}[gib]
    assert one.stats().splits == 0
    assert budget.peak <= budget.total <= memory.cap
    one.close()
    assert budget.reserved == memory.used == 0


def test_the_allocators_own_cap(fake: Callable[[Memory], CudaDevice]) -> None:
    """Where the allocator itself refuses more, a budget that knows nothing of it loses nothing."""
    memory = Memory(8 * GIB)
    device = fake(memory)
    device.cap(2 * GIB)
    one = Engine([device], lambda _: Budget(8 * GIB, "fake"), fakes.spec)
    assert 0 < checked(one, "a", 100) < device.largest_batch
    assert one.stats().splits > 0
    assert memory.used <= 2 * GIB
    one.close()


def test_without_graphs(fake: Callable[[Memory], CudaDevice]) -> None:
    """Forwards that are not captured give the same answers."""
    device = fake(Memory(8 * GIB))
    device.capturing = False
    one = Engine([device], lambda _: Budget(device.capacity(), "fake"), fakes.spec)
    checked(one, "a", 40)
    assert all(graph is None for sizes in device.graphs.values() for graph in sizes.values())
    assert device.graphs
    one.close()


@pytest.mark.parametrize("gib", [2, 4, 6, 8])
def test_a_cap_that_another_tenant_shares(gib: int, fake: Callable[[Memory], CudaDevice]) -> None:
    """While another program holds most of the GPU batches are smaller, and nothing is lost; once it
    has let go they grow to what they were.
    """
    memory = Memory(gib * GIB)
    device = fake(memory)
    one = Engine([device], lambda _: Budget(device.capacity(), "fake"), fakes.spec)
    before = checked(one, "a", 64)
    device.free()
    memory.others = memory.cap - 500 * MIB
    less = [checked(one, "a", 64, seed) for seed in range(4)]
    assert max(less) <= before
    assert one.stats().splits > 0
    assert less[-1] == 1 or less[-1] < before
    memory.others = 0
    for seed in range(3 * REGROW):
        checked(one, "a", 8, seed)
    assert checked(one, "a", 64) == before
    one.close()
    assert memory.used == 0


def pictures(count: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    side = spec(NAME).side
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), np.uint8)
    return coarse.repeat(side // 8, 1).repeat(side // 8, 2)


@pytest.fixture
def gpu() -> Iterator[CudaDevice]:
    (device, *_) = open_devices("cuda:0")
    assert isinstance(device, CudaDevice)
    device.enter()
    yield device
    device.free()


@real
def test_a_graph_says_what_the_network_says(gpu: CudaDevice) -> None:
    """Captured, replayed, padded or eager: the same alpha; and most were really captured."""
    model, _ = gpu.load(spec(NAME))
    for count in (1, 2, 3, 5, 8):
        samples = pictures(count, count)
        with torch.inference_mode():
            eager = model(torch.from_numpy(samples).to(gpu.device)).cpu().numpy()
        for _ in range(2):
            answer = gpu.finish(gpu.launch(model, samples))
            assert np.abs(answer - eager).max() <= 1 / 255
    assert set(gpu.graphs[model]) == {1, 2, 4, 8}
    assert all(graph is not None for graph in gpu.graphs[model].values())


@real
def test_launches_ahead_keep_their_answers(gpu: CudaDevice) -> None:
    """Many launches before the first is finished, of mixed sizes: none writes over another."""
    model, _ = gpu.load(spec(NAME))
    batches = [pictures(1 + at % 4, at) for at in range(12)]
    plain = [gpu.finish(gpu.launch(model, batch)) for batch in batches]
    pending = [gpu.launch(model, batch.copy()) for batch in batches]
    for before, launched in zip(plain, pending, strict=True):
        np.testing.assert_allclose(gpu.finish(launched), before, atol=1 / 255)


@real
def test_the_measured_cost_covers_what_is_taken(gpu: CudaDevice) -> None:
    """A forward of n samples takes no more of the device than the cost said."""
    model, _ = gpu.load(spec(NAME))
    cost = gpu.measure(model)
    assert isinstance(cost, Cost)
    for count in (1, 4, 16):
        gpu.free()
        torch.cuda.reset_peak_memory_stats(gpu.device)
        before = torch.cuda.memory_reserved(gpu.device)
        gpu.finish(gpu.launch(model, pictures(count)))
        taken = torch.cuda.max_memory_reserved(gpu.device) - before
        assert taken <= cost.of(count) + 64 * MIB


@real
@pytest.mark.parametrize("gib", [1, 2, 4])
def test_the_engine_keeps_to_a_budget(gib: int) -> None:
    """Callers at once under a small budget: everyone served, the same alone and in a batch."""
    budget = Budget(gib * GIB)
    (device, *_) = open_devices("cuda:0")
    one = Engine([device], lambda _: budget, spec)
    samples = pictures(40)
    together = one.infer(NAME, samples).arrays
    with ThreadPoolExecutor(16) as pool:
        alone = list(pool.map(lambda s: one.infer(NAME, s[None]).arrays[0], samples))
    assert np.abs(np.stack(alone) - together).max() <= 1 / 255
    one.close()
    assert budget.reserved == 0
    assert budget.peak <= budget.total


@real
def test_real_exhaustion_is_survived() -> None:
    """With the device full of someone else's tensors, it is OutOfMemory; after that, as before."""
    (device, *_) = open_devices("cuda:0")
    one = Engine([device], lambda _: Budget(64 * GIB), spec)
    one.infer(NAME, pictures(32))
    full = []
    for size in (GIB, 64 * MIB, 2 * MIB):
        try:
            while True:
                full.append(torch.empty(size, dtype=torch.uint8, device="cuda:0"))
        except torch.cuda.OutOfMemoryError:
            continue
    with contextlib.suppress(OutOfMemory):  # raised where not even one fits
        one.infer(NAME, pictures(32))
    full.clear()
    torch.cuda.empty_cache()
    assert one.infer(NAME, pictures(32)).arrays.shape[0] == 32
    one.close()
