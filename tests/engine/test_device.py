"""The real devices: what they see of memory, what they share; and the engine over them."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from portrayer.engine import device as devices
from portrayer.engine.cuda import CudaDevice, _indices
from portrayer.engine.device import CpuDevice, Peak, discover, open_devices
from portrayer.engine.engine import Engine
from portrayer.engine.memory import Budget
from portrayer.errors import DeviceUnavailable, InvalidOption, PortrayerError
from portrayer.models import catalog, model, weights
from portrayer.models.spec import ModelSpec, Weights
from tests.engine.fakes import GIB, MIB

SIDE = 64


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Small(nn.Module):
    """A network with a known memory, and a logit for each pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), nn.ReLU(), nn.Conv2d(8, 1, 3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.body(x)
        return result


@pytest.fixture
def row(monkeypatch: pytest.MonkeyPatch) -> ModelSpec:
    """A small model's row, whose weights are made and not read."""
    torch.manual_seed(0)
    net = Small()
    monkeypatch.setattr(model, "build", lambda _: Small())
    monkeypatch.setattr(weights, "load", lambda _: net.state_dict())
    return ModelSpec("small", "matte", "", Weights("none", "", 2000, "", ""), SIDE)


def pictures(count: int, side: int = SIDE) -> np.ndarray[Any, np.dtype[np.uint8]]:
    coarse = np.random.default_rng(count).integers(0, 256, (count, 8, 8, 3), np.uint8)
    return coarse.repeat(side // 8, 1).repeat(side // 8, 2)


@pytest.mark.parametrize("inference", [False, True])
def test_peak_counts_what_is_alive(inference: bool) -> None:
    """Bytes rise with what is made, fall with what is dropped; views and in-place add nothing."""
    with torch.inference_mode(inference), Peak() as peak:
        a = torch.zeros(1000)
        assert (peak.alive, peak.most) == (4000, 4000)
        b = a + 1
        assert (peak.alive, peak.most) == (8000, 8000)
        del a
        assert (peak.alive, peak.most) == (4000, 8000)
        c = b.view(10, 100)[2:]
        b.mul_(2)
        assert (peak.alive, peak.most) == (4000, 8000)
        del b
        assert peak.alive == 4000, "a view keeps the whole"
        d = torch.cat([c.half(), c.half()])
        assert (peak.alive, peak.most) == (4000 + 3200, 4000 + 1600 + 1600 + 3200)
        del c, d
    assert peak.alive == 0


def test_a_measured_cost_is_positive_and_grows() -> None:
    """Two known convolutions: their activations are seen, and each sample costs as much more."""
    net = model.Model(ModelSpec("s", "matte", "", Weights("", "", 0, "", ""), SIDE), Small())
    device = CpuDevice("float32")
    cost = device.measure(net.eval())
    hidden = SIDE * SIDE * 8 * 4
    assert cost.of(1) >= 2 * hidden
    assert cost.of(2) - cost.of(1) >= hidden
    assert cost.of(4) <= 4 * cost.of(1)
    assert cost.of(1) < 10 * hidden


def test_cpu_replicas_share_one_model(row: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many threads that load at once hold one set of weights, measured once, gone with the last."""
    loads: list[ModelSpec] = []
    measures: list[int] = []
    load, peak = model.load, CpuDevice.peak

    def counted_load(row: ModelSpec, *where: Any) -> model.Model:
        loads.append(row)
        return load(row, *where)

    def counted_peak(device: CpuDevice, loaded: model.Model, samples: int) -> int:
        measures.append(samples)
        return peak(device, loaded, samples)

    monkeypatch.setattr(devices, "load", counted_load)
    monkeypatch.setattr(CpuDevice, "peak", counted_peak)
    together, found = threading.Barrier(6), []

    def replica() -> None:
        device = CpuDevice("float32")
        together.wait()
        loaded, size = device.load(row)
        found.append((loaded, size, device.measure(loaded)))

    threads = [threading.Thread(target=replica) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len({id(loaded) for loaded, _, _ in found}) == len(loads) == 1
    assert len({(size, cost) for _, size, cost in found}) == 1
    assert measures == [1, 2]
    assert found[0][1] == found[0][0].bytes > 0
    other = CpuDevice("bfloat16").load(row)[0]
    assert other is not found[0][0], "another precision is another model"
    gc.disable()
    try:
        found.clear()
        assert len(CpuDevice._shared) == 1
        del other
        assert len(CpuDevice._shared) == 0
    finally:
        gc.enable()


def test_too_large_to_measure_twice() -> None:
    """Where only the smaller of the measured batches fits, it is the measure for the larger."""

    class Tight(CpuDevice):
        def peak(self, model: Any, samples: int) -> int:
            if samples > 1:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to ...")
            return 1000

    cost = Tight("float32").measure(nn.Identity())  # type: ignore[arg-type]
    assert [cost.of(n) for n in (1, 2, 4)] == [1000, 2000, 4000]


OUT_OF_MEMORY = [
    MemoryError(),
    torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: ..."),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes."),
]
NOT = [
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    ValueError("out of memory"),
    KeyError("memory"),
]


@pytest.mark.parametrize("device", [CpuDevice("float32"), CudaDevice(0, "float16")])
def test_out_of_memory_is_told_from_everything_else(device: devices.TorchDevice) -> None:
    """The words of each allocator are known; other errors are not taken for it."""
    assert all(device.is_out_of_memory(error) for error in OUT_OF_MEMORY)
    assert not any(device.is_out_of_memory(error) for error in NOT)


def test_the_cpus_own_error_is_known() -> None:
    """What torch really raises for more than there is, is out of memory."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert CpuDevice("float32").is_out_of_memory(caught.value)


def test_gpus_run_powers_of_two() -> None:
    """A GPU's batch is filled up to the next power of two, never past its largest."""
    padded = CudaDevice(0, "float16").padded
    assert [padded(n) for n in (1, 2, 3, 4, 5, 17, 31, 32)] == [1, 2, 4, 4, 8, 32, 32, 32]


def test_opening_the_cpu() -> None:
    """One replica per core or as many as asked for, in the precision asked for."""
    assert len(open_devices("cpu")) == devices.cores() >= 1
    opened = open_devices("cpu", "float32", replicas=3)
    assert [(d.name, d.precision) for d in opened] == [("cpu", "float32")] * 3
    assert all(0 < d.capacity() < 2**50 for d in opened)
    assert open_devices("cpu")[0].precision == devices.cpu_precision()


@pytest.mark.parametrize("wanted", ["gpu", "", "cpu:0", "mps:1", "cuda0", "CUDA"])
def test_no_such_device(wanted: str) -> None:
    """A name that is none is an option's error, whatever the machine has."""
    with pytest.raises(InvalidOption, match="auto, cpu, cuda"):
        open_devices(wanted)


def test_no_such_precision() -> None:
    """Likewise a precision."""
    with pytest.raises(InvalidOption, match="float64"):
        open_devices("cpu", "float64")


def test_a_gpu_that_is_not_there_is_said_with_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for by name, a missing GPU is an error that gives the reason; auto takes the CPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    found = discover()
    assert found.kind == "cpu"
    assert found.faster
    with pytest.raises(DeviceUnavailable) as caught:
        open_devices("cuda:0")
    assert found.why in str(caught.value)
    with pytest.raises(DeviceUnavailable):
        open_devices("mps")
    assert {d.name for d in open_devices("auto", replicas=2)} == {"cpu"}


def test_a_broken_driver_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that answers, and then fails, leaves the CPU and says what it said, in one line."""

    def broken(index: int) -> str:
        raise RuntimeError("CUDA driver initialization failed\nsecond line")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", broken)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    found = discover()
    assert found.kind == "cpu"
    assert "CUDA driver initialization failed" in found.why
    assert "\n" not in found.why
    with pytest.raises(DeviceUnavailable, match="initialization failed"):
        open_devices("cuda")


def test_a_gpu_that_does_not_answer() -> None:
    """A GPU whose memory cannot be asked for is unavailable, in one line."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU, and it answers")
    with pytest.raises((DeviceUnavailable, AssertionError)):
        CudaDevice(0, "float16").capacity()


def test_numbers_of_gpus() -> None:
    """``0,1`` are GPUs 0 and 1; what is no number, or not there, is said."""
    assert list(_indices("0, 1", 2)) == [0, 1]
    for wrong in ("x", "-1", "", "0,,1", "²"):
        with pytest.raises(InvalidOption, match="not the number of a GPU"):
            list(_indices(wrong, 2))
    with pytest.raises(DeviceUnavailable, match="no GPU 2, only 2"):
        list(_indices("2", 2))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_engine_over_the_cpu(row: ModelSpec, precision: str) -> None:
    """Alone, in a batch, on either replica, through many callers: the same, within 1/255."""
    budget = Budget(GIB)
    one = Engine([CpuDevice(precision) for _ in range(2)], lambda _: budget, lambda _: row)
    samples = pictures(8)
    together = one.infer("small", samples)
    assert together.arrays.shape == (8, SIDE, SIDE)
    assert together.arrays.dtype == np.float32
    assert (together.device, together.precision) == ("cpu", precision)
    assert together.arrays.std() > 0.01
    with ThreadPoolExecutor(8) as pool:
        alone = list(pool.map(lambda s: one.infer("small", s[None]).arrays[0], samples))
    np.testing.assert_allclose(np.stack(alone), together.arrays, atol=1 / 255)
    one.close()
    assert budget.reserved == 0
    assert budget.peak <= budget.total


@pytest.mark.weights
def test_the_engine_over_the_shipped_weights() -> None:
    """The shipped matting network: the same alpha alone and in a batch, in the ledger's bounds."""
    shipped = catalog.spec("portrait-matting")
    try:
        weights.verify(shipped.weights)
    except PortrayerError as error:
        pytest.skip(str(error))
    budget = Budget(200 * MIB)
    one = Engine([CpuDevice(devices.cpu_precision())], lambda _: budget, catalog.spec)
    samples = pictures(3, shipped.side)
    together = one.infer(shipped.name, samples)
    assert together.batch == 3
    assert together.arrays.min() >= 0
    assert together.arrays.max() <= 1
    alone = np.concatenate([one.infer(shipped.name, sample[None]).arrays for sample in samples])
    assert np.abs(alone - together.arrays).max() <= 1 / 255
    one.close()
    assert budget.reserved == 0
