"""On a real GPU: the laws of the CPU, and those that only streams, graphs and caches can break."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from portrayer.engine.cuda import CudaDevice
from portrayer.engine.device import open_devices
from portrayer.engine.engine import Engine
from portrayer.engine.memory import Budget, Cost
from portrayer.errors import OutOfMemory
from portrayer.models.catalog import spec
from tests.engine.fakes import GIB, MIB

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.weights,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]
NAME = "portrait-matting"


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


def test_launches_ahead_keep_their_answers(gpu: CudaDevice) -> None:
    """Many launches before the first is finished, of mixed sizes: none writes over another."""
    model, _ = gpu.load(spec(NAME))
    batches = [pictures(1 + at % 4, at) for at in range(12)]
    plain = [gpu.finish(gpu.launch(model, batch)) for batch in batches]
    pending = [gpu.launch(model, batch.copy()) for batch in batches]
    for before, launched in zip(plain, pending, strict=True):
        np.testing.assert_allclose(gpu.finish(launched), before, atol=1 / 255)


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
