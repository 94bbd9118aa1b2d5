"""The devices torch runs on, behind one small contract: load, measure, launch, finish. The only place that knows CUDA.

A device belongs to one replica's thread. ``launch`` may return before the work is done; ``finish`` waits for it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from portrayer.engine.memory import Cost
from portrayer.errors import DeviceUnavailable, InvalidOption
from portrayer.models.model import Model, load
from portrayer.models.spec import ModelSpec

Array = NDArray[Any]
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Device(Protocol):
    """What a replica needs of the hardware. ``samples`` are (N, S, S, 3) uint8; results are float32 arrays, N first."""

    name: str
    precision: str
    largest_batch: int
    asynchronous: bool

    def capacity(self) -> int:
        """Bytes that may be used by this process now."""

    def enter(self) -> None:
        """Called once, on the replica's own thread."""

    def load(self, spec: ModelSpec) -> tuple[Any, int]:
        """A ready model and the bytes its weights take."""

    def measure(self, model: Any) -> Cost:
        """The memory a forward takes beside the weights, from forwards that were really run."""

    def launch(self, model: Any, samples: Array) -> Any:
        """Start a forward; what comes back goes to :meth:`finish`."""

    def finish(self, pending: Any) -> Array:
        """Wait for a launched forward."""

    def free(self) -> None:
        """Give cached memory back to the device."""

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether an error means that memory ran out, and nothing else."""


class Peak(TorchDispatchMode):
    """Counts the bytes of the tensors alive, and the most there were at once."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = self.most = 0
        self._known: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        return result

    def _count(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known[key] = weakref.ref(storage, lambda _: self._forget(key, size))
        self.alive += size
        self.most = max(self.most, self.alive)

    def _forget(self, key: int, size: int) -> None:
        del self._known[key]
        self.alive -= size


class TorchDevice:
    """What all torch devices share: one model, one forward, plain and synchronous."""

    largest_batch = 8
    asynchronous = False

    def __init__(self, device: str, precision: str) -> None:
        self.name, self.precision = device, precision
        self.device, self.dtype = torch.device(device), PRECISIONS[precision]

    def enter(self) -> None:
        pass

    def load(self, spec: ModelSpec) -> tuple[Model, int]:
        model = load(spec, self.device, self.dtype)
        return model, model.bytes

    def launch(self, model: Model, samples: Array) -> Any:
        with torch.inference_mode():
            return model(torch.from_numpy(samples).to(self.device))

    def finish(self, pending: Any) -> Array:
        result: Array = pending.to("cpu").numpy()
        return result

    def free(self) -> None:
        pass

    def capacity(self) -> int:
        return int(psutil.virtual_memory().available * 0.8)

    def measure(self, model: Model) -> Cost:
        few, many = 1, 2
        return Cost.through((few, self._peak(model, few)), (many, self._peak(model, many)))

    def _peak(self, model: Model, samples: int) -> int:
        blank = np.zeros((samples, model.spec.side, model.spec.side, 3), np.uint8)
        with Peak() as peak:
            self.finish(self.launch(model, blank))
        # Kernels have scratch space that no tensor shows; a quarter covers what was seen of it.
        return peak.most * 5 // 4

    def is_out_of_memory(self, error: BaseException) -> bool:
        # The CPU allocator raises a plain RuntimeError; its text is all there is to tell it by.
        return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
            isinstance(error, RuntimeError) and "allocate memory" in str(error)
        )


class CpuDevice(TorchDevice):
    """One core. Replicas on the CPU share one set of weights, so many cost little more than one."""

    largest_batch = 4  # measured: a core is full at one picture, more only cost memory

    _shared: weakref.WeakValueDictionary[tuple[str, str], Model] = weakref.WeakValueDictionary()

    def __init__(self, precision: str) -> None:
        super().__init__("cpu", precision)

    def enter(self) -> None:
        torch.set_num_threads(1)
        keep_memory()

    def load(self, spec: ModelSpec) -> tuple[Model, int]:
        key = (spec.weights.sha256, self.precision)
        model = self._shared.get(key)
        if model is not None:
            return model, 0
        model, size = super().load(spec)
        self._shared[key] = model
        return model, size


class MpsDevice(TorchDevice):
    """Apple's GPU. Unified memory: the host's free bytes are what there is."""

    def __init__(self, precision: str) -> None:
        super().__init__("mps", precision)

    def free(self) -> None:
        torch.mps.empty_cache()


@dataclass(slots=True)
class Graph:
    """A captured forward of one batch size, with the tensors it reads and writes."""

    graph: Any
    samples: Tensor
    result: Tensor


class CudaDevice(TorchDevice):
    """One NVIDIA GPU: half precision, copies on their own stream from pinned memory, a graph for each batch size."""

    largest_batch = 32
    asynchronous = True

    def __init__(self, index: int, precision: str) -> None:
        super().__init__(f"cuda:{index}", precision)

    def enter(self) -> None:
        torch.cuda.set_device(self.device)
        torch.backends.cudnn.benchmark = True
        self.copies = torch.cuda.Stream(self.device)
        self.compute = torch.cuda.Stream(self.device)
        self.pool = torch.cuda.graph_pool_handle()  # replays follow one another, so graphs can share
        self.graphs: weakref.WeakKeyDictionary[Model, dict[int, Graph | None]] = weakref.WeakKeyDictionary()

    def capacity(self) -> int:
        free, _ = torch.cuda.mem_get_info(self.device)
        return int((free + torch.cuda.memory_reserved(self.device)) * 0.92)

    def launch(self, model: Model, samples: Array) -> Any:
        count = len(samples)
        size = min(self.largest_batch, 1 << (count - 1).bit_length())  # graphs exist for powers of two
        host = torch.empty((size, *samples.shape[1:]), dtype=torch.uint8, pin_memory=True)
        host[:count] = torch.from_numpy(samples)
        host[count:] = 0
        with torch.inference_mode(), torch.cuda.stream(self.copies):
            on_device = host.to(self.device, non_blocking=True)
            copied = torch.cuda.Event()
            copied.record(self.copies)
        with torch.inference_mode(), torch.cuda.stream(self.compute):
            self.compute.wait_event(copied)
            on_device.record_stream(self.compute)
            result = self._forward(model, on_device)[:count]
            answer = torch.empty(result.shape, dtype=result.dtype, pin_memory=True)
            answer.copy_(result, non_blocking=True)
            done = torch.cuda.Event()
            done.record(self.compute)
        return answer, done, host  # the pinned source must outlive the copy

    def finish(self, pending: Any) -> Array:
        answer, done, _ = pending
        done.synchronize()
        result: Array = answer.numpy()
        return result

    def _forward(self, model: Model, samples: Tensor) -> Tensor:
        graphs = self.graphs.setdefault(model, {})
        size = len(samples)
        if size not in graphs:
            graphs[size] = self._capture(model, samples)
        graph = graphs[size]
        if graph is None:
            return model(samples)
        graph.samples.copy_(samples, non_blocking=True)
        graph.graph.replay()
        # The next replay overwrites the graph's own result while this one may still be on its way to the host.
        return graph.result.clone()

    def _capture(self, model: Model, samples: Tensor) -> Graph | None:
        """A graph of this batch size; None (run eagerly) where the network cannot be captured."""
        model(samples)  # lets cuDNN choose its kernels outside the capture
        self.compute.synchronize()
        still = samples.clone()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self.compute, pool=self.pool):
                result = model(still)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            torch.cuda.synchronize(self.device)
            return None
        return Graph(graph, still, result)

    def measure(self, model: Model) -> Cost:
        sizes = (1, min(4, self.largest_batch))
        few, many = ((n, self._peak(model, n)) for n in sizes)
        self.graphs.pop(model, None)
        self.free()
        return Cost.through(few, many)

    def _peak(self, model: Model, samples: int) -> int:
        blank = np.zeros((samples, model.spec.side, model.spec.side, 3), np.uint8)
        self.free()
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_reserved(self.device)
        self.finish(self.launch(model, blank))
        return max(1, torch.cuda.max_memory_reserved(self.device) - before)

    def free(self) -> None:
        self.graphs.clear()
        torch.cuda.synchronize(self.device)
        torch.cuda.empty_cache()

    def is_out_of_memory(self, error: BaseException) -> bool:
        return isinstance(error, torch.OutOfMemoryError)


def keep_memory() -> None:
    """Ask glibc to keep freed pages: fresh ones for every activation cost up to half of a forward on the CPU."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(ctypes.c_int(-3), ctypes.c_int(256 << 20))  # M_MMAP_THRESHOLD
        libc.mallopt(ctypes.c_int(-1), ctypes.c_int(512 << 20))  # M_TRIM_THRESHOLD


def cpu_precision() -> str:
    """bfloat16 where the processor multiplies it itself, float32 elsewhere."""
    check: Callable[[], bool] | None = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return "bfloat16" if check is not None and check() else "float32"


def cores() -> int:
    """The processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class Found:
    """Why the devices in use are the ones in use."""

    kind: str
    why: str
    faster: str


def discover() -> Found:
    """The best device there is, why, and what would be faster."""
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        return Found("cuda", f"torch finds {names}", "")
    if torch.backends.mps.is_available():
        return Found("mps", "torch finds Apple's GPU", "")
    built = torch.version.cuda
    if built is None:
        why = f"torch {torch.__version__} is built without CUDA"
        faster = "on a machine with an NVIDIA GPU, install a CUDA build of torch"
    else:
        why = f"torch is built for CUDA {built} but finds no GPU it can use (driver missing, too old, or hidden)"
        faster = "an NVIDIA GPU with a driver for CUDA " + built
    return Found("cpu", why, faster)


def open_devices(wanted: str, precision: str = "auto", replicas: int = 0) -> list[Device]:
    """The devices meant by ``auto | cpu | cuda | cuda:0,1 | mps``, one per replica.

    ``replicas``: how many CPU replicas, 0 for one per core. Raises :class:`DeviceUnavailable` when asked for what is
    not there, :class:`InvalidOption` for a name or precision that does not exist.
    """
    if precision not in ("auto", *PRECISIONS):
        raise InvalidOption(f"no precision is called {precision!r} (auto, {', '.join(PRECISIONS)})")
    kind, _, numbers = wanted.partition(":")
    found = discover()
    if kind == "auto":
        kind = found.kind
    if kind == "cpu":
        chosen = cpu_precision() if precision == "auto" else precision
        return [CpuDevice(chosen) for _ in range(replicas or cores())]
    if kind == "mps":
        if not torch.backends.mps.is_available():
            raise DeviceUnavailable("Apple's GPU was asked for and is not there")
        return [MpsDevice("float16" if precision == "auto" else precision)]
    if kind != "cuda":
        raise InvalidOption(f"no device is called {wanted!r} (auto, cpu, cuda, cuda:0,1, mps)")
    if not torch.cuda.is_available():
        raise DeviceUnavailable(f"a CUDA GPU was asked for, but {found.why}")
    # Segments that grow in place keep a long run from fragmenting; torch reads this before its first allocation.
    torch.cuda.memory._set_allocator_settings("expandable_segments:True")
    there = torch.cuda.device_count()
    indices = list(_indices(numbers, there)) if numbers else list(range(there))
    return [CudaDevice(i, "float16" if precision == "auto" else precision) for i in indices]


def _indices(numbers: str, there: int) -> Iterator[int]:
    for number in numbers.split(","):
        if not number.strip().isdigit():
            raise InvalidOption(f"{number!r} is not the number of a GPU: write cuda:0 or cuda:0,1")
        if int(number) >= there:
            raise DeviceUnavailable(f"there is no GPU {number.strip()}, only {there} (from 0)")
        yield int(number)
