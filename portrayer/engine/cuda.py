"""NVIDIA GPUs: half precision, copies on their own stream, a graph for each batch size."""

from __future__ import annotations

import contextlib
import sys
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from portrayer.engine.device import Array, Loadable, TorchDevice
from portrayer.engine.memory import Cost
from portrayer.errors import DeviceUnavailable, InvalidOption
from portrayer.models.model import Model
from portrayer.models.onnx import OnnxModel
from portrayer.models.spec import ModelSpec

SHARE = 0.92  # of what is free: the driver's own needs and what fragments are not counted


@dataclass(slots=True)
class Graph:
    """A captured forward of one batch size, with the tensors it reads and writes."""

    graph: Any
    samples: Tensor
    result: Tensor


class CudaDevice(TorchDevice):
    """One GPU: pinned copies in on one stream, forwards and copies out on another."""

    largest_batch = 32
    asynchronous = True
    measured = (1, 4)
    capturing = True  # one graph a batch size; without, every forward launches its own kernels

    # torch allows one capture at a time in a process, and no cache to be emptied beside it.
    _alone: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, index: int, precision: str) -> None:
        super().__init__(f"cuda:{index}", precision)

    def enter(self) -> None:
        torch.cuda.set_device(self.device)
        torch.backends.cudnn.benchmark = True
        self.copies = torch.cuda.Stream(self.device)
        self.compute = torch.cuda.Stream(self.device)
        self.pool = torch.cuda.graph_pool_handle()  # replays follow one another, so they can share
        self.graphs: weakref.WeakKeyDictionary[Model, dict[int, Graph | None]] = (
            weakref.WeakKeyDictionary()
        )

    def capacity(self) -> int:
        try:
            free, _ = torch.cuda.mem_get_info(self.device)
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            raise DeviceUnavailable(f"{self.name} does not answer ({reason})") from error
        return int((free + torch.cuda.memory_reserved(self.device)) * SHARE)

    def cap(self, amount: int) -> None:
        """Have torch's allocator refuse what passes ``amount`` bytes, whatever is free."""
        total = torch.cuda.get_device_properties(self.device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, amount / total), self.device)

    def padded(self, samples: int) -> int:
        return min(self.largest_batch, 1 << (samples - 1).bit_length())  # graphs of powers of two

    def load(self, spec: ModelSpec, memory: int = sys.maxsize) -> tuple[Loadable, int]:
        loaded = super().load(spec, memory)
        torch.cuda.synchronize(self.device)  # the streams of this class do not wait for torch's own
        return loaded

    def launch(self, model: Loadable, samples: Array | None, vectors: Array | None = None) -> Any:
        if isinstance(model, OnnxModel) or samples is None:
            return super().launch(model, samples, vectors)  # its runtime copies and waits itself
        count = len(samples)
        shape = (self.padded(count), *samples.shape[1:])
        host = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
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
            # On the stream of the forwards: the next replay writes over a graph's result.
            answer = torch.empty(result.shape, dtype=result.dtype, pin_memory=True)
            answer.copy_(result, non_blocking=True)
            done = torch.cuda.Event()
            done.record(self.compute)
        return answer, done, host  # the pinned source must outlive the copy

    def finish(self, pending: Any) -> Array:
        if isinstance(pending, Tensor):
            return super().finish(pending)
        answer, done, _ = pending
        done.synchronize()
        result: Array = answer.numpy()
        return result

    def measure(self, model: Loadable) -> Cost:
        cost = super().measure(model)
        self.free()
        return cost

    def free(self) -> None:
        torch.cuda.synchronize(self.device)  # before the graphs go: one may still be running
        self.graphs.clear()
        with self._alone:
            torch.cuda.empty_cache()

    def _forward(self, model: Model, samples: Tensor) -> Tensor:
        graphs = self.graphs.setdefault(model, {})
        size = len(samples)
        if size not in graphs:
            graphs[size] = self._capture(model, samples) if self.capturing else None
        graph = graphs[size]
        if graph is None:
            eager: Tensor = model(samples)
            return eager
        graph.samples.copy_(samples, non_blocking=True)
        graph.graph.replay()
        return graph.result

    def _capture(self, model: Model, samples: Tensor) -> Graph | None:
        """A graph of this batch size; None (run eagerly) where the network cannot be captured."""
        model(samples)  # lets cuDNN choose its kernels outside the capture
        still = samples.clone()
        graph = torch.cuda.CUDAGraph()
        # What other threads do on other GPUs meanwhile is no fault of this capture.
        capture = torch.cuda.graph(
            graph, stream=self.compute, pool=self.pool, capture_error_mode="thread_local"
        )
        with self._alone:
            try:
                with capture:
                    result = model(still)
            except RuntimeError as error:
                self._abandon()
                if self.is_out_of_memory(error):
                    raise
                return None
        return Graph(graph, still, result)

    def _abandon(self) -> None:
        """Leave a capture that failed: torch may still count it as under way, and free nothing."""
        with contextlib.suppress(AttributeError, RuntimeError):
            torch._C._cuda_endAllocateToPool(self.device.index, self.pool)
        torch.cuda.synchronize(self.device)

    def peak(self, model: Model, samples: int) -> int:
        blank = np.zeros((samples, model.spec.side, model.spec.side, 3), np.uint8)
        self.free()
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_reserved(self.device)
        self.finish(self.launch(model, blank))
        return max(1, torch.cuda.max_memory_reserved(self.device) - before)


def open_gpus(numbers: str, precision: str) -> list[CudaDevice]:
    """The GPUs of ``0,1`` (all for none); for what there is not, :class:`DeviceUnavailable`."""
    # Segments that grow in place keep a long run from fragmenting. The setting has moved between
    # versions of torch; one that has it nowhere runs without.
    general = getattr(torch._C, "_accelerator_setAllocatorSettings", None)
    with contextlib.suppress(AttributeError, RuntimeError):
        (general or torch.cuda.memory._set_allocator_settings)("expandable_segments:True")
    there = torch.cuda.device_count()
    indices = _indices(numbers, there) if numbers else range(there)
    return [CudaDevice(i, precision) for i in dict.fromkeys(indices)]


def _indices(numbers: str, there: int) -> Iterator[int]:
    for number in numbers.split(","):
        if not number.strip().isdecimal():
            raise InvalidOption(f"{number!r} is not the number of a GPU: write cuda:0 or cuda:0,1")
        if int(number) >= there:
            raise DeviceUnavailable(f"there is no GPU {number.strip()}, only {there} (from 0)")
        yield int(number)
