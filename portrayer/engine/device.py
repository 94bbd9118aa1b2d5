"""The devices torch runs on, behind one small contract: load, measure, launch, finish.

A device belongs to one replica's thread. ``launch`` may return before the work is done; ``finish``
waits for it.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from portrayer.engine.cores import cores
from portrayer.engine.host import available
from portrayer.engine.memory import Cost
from portrayer.errors import DeviceUnavailable, InvalidOption
from portrayer.models import onnx
from portrayer.models.model import Model, load, traced
from portrayer.models.onnx import OnnxModel
from portrayer.models.spec import ModelSpec

Array = NDArray[Any]
Loadable: TypeAlias = Model | OnnxModel
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# Allocators, cuDNN, cuBLAS and drivers run out of memory in their own words, as a RuntimeError.
EXHAUSTED = ("allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")


class Device(Protocol):
    """What a replica needs of the hardware.

    ``samples`` are (N, S, S, 3) uint8, None for a model that takes vectors alone; ``vectors`` are
    (N, width) float32, None for one that takes none; results are float32 arrays, N first.
    """

    name: str
    precision: str
    largest_batch: int
    asynchronous: bool

    def capacity(self) -> int:
        """Bytes that may be used by this process now; :class:`DeviceUnavailable` if none may."""

    def enter(self) -> None:
        """Called on the replica's own thread, before anything below, until it succeeds once."""

    def padded(self, samples: int) -> int:
        """How many samples a launch of so many really runs and takes memory for."""

    def load(self, spec: ModelSpec, memory: int = sys.maxsize) -> tuple[Any, int]:
        """A ready model and the bytes its weights take, until it is no longer referred to.

        ``memory``: what all models and forwards may take, for a runtime that can be told.
        """

    def largest(self, model: Any) -> int:
        """The largest batch of this model: ``largest_batch``, or 1 where it takes one at a time."""

    def precision_of(self, model: Any) -> str:
        """What this model runs in: ``precision``, or what its numbers ask for."""

    def measure(self, model: Any) -> Cost:
        """The memory a forward takes beside the weights, from forwards that were really run."""

    def launch(self, model: Any, samples: Array | None, vectors: Array | None = None) -> Any:
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
        super().__init__()  # type: ignore[no-untyped-call] # torch's own
        self.alive = self.most = 0
        self._known: dict[int, Any] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch would import its compiler for it: most of a second at start-up

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
    measured = (1, 2)  # the batches whose peaks make the cost

    def __init__(self, device: str, precision: str) -> None:
        self.name, self.precision = device, precision
        self.device, self.dtype = torch.device(device), PRECISIONS[precision]

    def enter(self) -> None:
        pass

    def padded(self, samples: int) -> int:
        return samples

    def load(self, spec: ModelSpec, memory: int = sys.maxsize) -> tuple[Loadable, int]:
        model: Loadable
        if spec.graph is None:
            model = load(spec, self.device, self.dtype)
        else:
            model = onnx.load(spec, self.name, memory)
        return model, model.bytes

    def largest(self, model: Loadable) -> int:
        return 1 if isinstance(model, OnnxModel) and model.single else self.largest_batch

    def precision_of(self, model: Loadable) -> str:
        return model.precision

    def launch(self, model: Loadable, samples: Array | None, vectors: Array | None = None) -> Any:
        if isinstance(model, OnnxModel):
            return torch.from_numpy(model(samples, vectors))
        with torch.inference_mode():
            return model(torch.from_numpy(samples).to(self.device))

    def finish(self, pending: Any) -> Array:
        result: Array = pending.to("cpu").numpy()
        return result

    def free(self) -> None:
        pass

    def capacity(self) -> int:
        return int(available() * 0.8)

    def measure(self, model: Loadable) -> Cost:
        if isinstance(model, OnnxModel):
            return Cost.through(*model.peaks)
        few, many = self.measured
        low = self.peak(model, few)
        try:
            high = self.peak(model, many)
        except Exception as error:
            if not self.is_out_of_memory(error):
                raise
            high = low * many // few  # the first fits, so it may run: each costs as much then
        return Cost.through((few, low), (many, high))

    def peak(self, model: Model, samples: int) -> int:
        """Bytes that a forward of so many takes at its peak, beside the weights."""
        blank = np.zeros((samples, model.spec.side, model.spec.side, 3), np.uint8)
        with Peak() as peak:
            self.finish(self.launch(model, blank))
        # Kernels have scratch space that no tensor shows; a quarter covers what was seen of it.
        return int(peak.most) * 5 // 4

    def is_out_of_memory(self, error: BaseException) -> bool:
        return isinstance(error, MemoryError) or (
            isinstance(error, RuntimeError) and any(words in str(error) for words in EXHAUSTED)
        )


class CpuDevice(TorchDevice):
    """One core. Replicas on the CPU share one set of weights, so many cost little more than one."""

    largest_batch = 4  # measured: a core is full at one picture, more only cost memory

    _shared: ClassVar[weakref.WeakValueDictionary[tuple[ModelSpec, str], Loadable]] = (
        weakref.WeakValueDictionary()
    )
    _costs: ClassVar[weakref.WeakKeyDictionary[Loadable, Cost]] = weakref.WeakKeyDictionary()
    _traced: ClassVar[weakref.WeakKeyDictionary[Loadable, Any]] = weakref.WeakKeyDictionary()
    _once: ClassVar[threading.Lock] = threading.Lock()  # one loads and measures, the others wait

    def __init__(self, precision: str) -> None:
        super().__init__("cpu", precision)

    def enter(self) -> None:
        torch.set_num_threads(1)

    def load(self, spec: ModelSpec, memory: int = sys.maxsize) -> tuple[Loadable, int]:
        key = (spec, self.precision)
        with self._once:
            model = self._shared.get(key)
            if model is None:
                self._shared[key] = model = super().load(spec, memory)[0]
        return model, model.bytes

    def launch(self, model: Loadable, samples: Array | None, vectors: Array | None = None) -> Any:
        serial = isinstance(model, OnnxModel) and model.where.serial
        with self._once if serial else contextlib.nullcontext():
            return super().launch(self._traced.get(model, model), samples, vectors)

    def measure(self, model: Loadable) -> Cost:
        with self._once:
            cost = self._costs.get(model)
            if cost is None:
                self._costs[model] = cost = super().measure(model)
                if isinstance(model, Model):  # only now: what counts tensors cannot see into it
                    self._traced[model] = traced(model)
        return cost


class MpsDevice(TorchDevice):
    """Apple's GPU. Unified memory: the host's free bytes are what there is."""

    def __init__(self, precision: str) -> None:
        super().__init__("mps", precision)

    def free(self) -> None:
        torch.mps.empty_cache()


def keep_memory() -> None:
    """Ask glibc to keep freed pages: fresh ones cost up to half of a forward on the CPU."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        # M_MMAP_THRESHOLD: larger ones go back when they are freed, and leave no holes
        libc.mallopt(ctypes.c_int(-3), ctypes.c_int(96 << 20))
        libc.mallopt(ctypes.c_int(-1), ctypes.c_int(512 << 20))  # M_TRIM_THRESHOLD
        libc.mallopt(
            ctypes.c_int(-8), ctypes.c_int(1)
        )  # M_ARENA_MAX: what one thread frees, all use


def trim_memory() -> None:
    """Give glibc's kept pages back: what lies between them, in use, makes them grow for ever."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(ctypes.c_size_t(0))


def cpu_precision() -> str:
    """bfloat16 where the processor multiplies it itself, float32 elsewhere."""
    check: Callable[[], bool] | None = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return "bfloat16" if check is not None and check() else "float32"


@dataclass(frozen=True, slots=True)
class Found:
    """Why the devices in use are the ones in use."""

    kind: str
    why: str
    faster: str


def discover() -> Found:
    """The best device there is, why, and what would be faster. A broken driver is only a reason."""
    built, reason = torch.version.cuda, "driver missing, too old, or hidden"
    try:
        if torch.cuda.is_available():
            gpus = range(torch.cuda.device_count())
            names = ", ".join(torch.cuda.get_device_name(i) for i in gpus)
            return Found("cuda", f"torch finds {names}", "")
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
    if torch.backends.mps.is_available():
        return Found("mps", "torch finds Apple's GPU", "")
    if built is None:
        why = f"torch {torch.__version__} is built without CUDA"
        faster = "on a machine with an NVIDIA GPU, install a CUDA build of torch"
    else:
        why = f"torch is built for CUDA {built} but finds no GPU it can use ({reason})"
        faster = "an NVIDIA GPU with a driver for CUDA " + built
    return Found("cpu", why, faster)


def open_devices(
    wanted: str, precision: str = "auto", replicas: int = 0, largest_batch: int = 0
) -> Sequence[Device]:
    """The devices meant by ``auto | cpu | cuda | cuda:0,1 | mps``, one per replica.

    ``replicas``: how many CPU replicas, 0 for one per core. ``largest_batch``: 0 for what pays on
    the kind of device. Raises :class:`DeviceUnavailable` when
    asked for what is not there, :class:`InvalidOption` for a name or precision that does not exist.
    """
    if precision not in ("auto", *PRECISIONS):
        raise InvalidOption(f"no precision is called {precision!r} (auto, {', '.join(PRECISIONS)})")
    kind, _, numbers = wanted.partition(":")
    if kind not in ("auto", "cpu", "cuda", "mps") or (numbers and kind != "cuda"):
        raise InvalidOption(f"no device is called {wanted!r} (auto, cpu, cuda, cuda:0,1, mps)")
    devices = _opened(kind, numbers, precision, replicas)
    for device in devices:
        device.largest_batch = largest_batch or device.largest_batch
    return devices


def _opened(kind: str, numbers: str, precision: str, replicas: int) -> Sequence[Device]:
    found = discover()
    if kind == "auto":
        kind = found.kind
    if kind == "cpu":
        chosen = cpu_precision() if precision == "auto" else precision
        keep_memory()
        return [CpuDevice(chosen) for _ in range(replicas or cores())]
    chosen = "float16" if precision == "auto" else precision
    if kind == "mps":
        if not torch.backends.mps.is_available():
            raise DeviceUnavailable("Apple's GPU was asked for and is not there")
        return [MpsDevice(chosen)]
    if found.kind != "cuda":
        raise DeviceUnavailable(f"a CUDA GPU was asked for, but {found.why}")
    from portrayer.engine.cuda import open_gpus  # it builds on this file

    return open_gpus(numbers, chosen)
