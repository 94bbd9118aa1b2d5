"""onnxruntime: which part of it runs on which device, within how much memory."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from portrayer.errors import ModelError, WeightsMismatch

CPU = "CPUExecutionProvider"
UNBOUNDED = sys.maxsize

# The first that is offered is used. Only the CPU's has been run by us: the others follow what is
# documented. TensorRT comes after CUDA because it builds an engine for minutes, in memory that
# nobody counts; CUDA's is in every build that has TensorRT's.
PROVIDERS: Mapping[str, Sequence[str]] = {
    "cuda": ("CUDAExecutionProvider", "TensorrtExecutionProvider"),
    "mps": ("CoreMLExecutionProvider",),
    "cpu": ("OpenVINOExecutionProvider", "DmlExecutionProvider", CPU),
}
OPTIONS: Mapping[str, Mapping[str, str]] = {
    "CUDAExecutionProvider": {
        "device_id": "{index}",
        "gpu_mem_limit": "{memory}",
        "arena_extend_strategy": "kSameAsRequested",
    },
    "TensorrtExecutionProvider": {"device_id": "{index}", "trt_max_workspace_size": "{memory}"},
    "OpenVINOExecutionProvider": {"device_type": "CPU", "num_of_threads": "1"},
}
ARENAS = {"CUDAExecutionProvider": "gpu:{index}"}  # whose sessions keep a device's memory
SERIAL = ("DmlExecutionProvider",)  # its sessions may not run twice at once

# Kernels, arenas, CUDA and Direct3D run out of memory in their own words.
EXHAUSTED = (
    "allocate memory",
    "smaller than requested bytes",
    "out of memory",
    "ot enough memory",
    "bad_alloc",
    "bad allocation",
    "ALLOC_FAILED",
)


def onnxruntime() -> Any:
    """The runtime; :class:`ModelError` says what to install where it is not there."""
    try:
        import onnxruntime as found
    except ImportError as error:
        raise ModelError(
            "models in ONNX need onnxruntime: `pip install 'portrayer[onnx]'`, "
            "or 'portrayer[onnx-gpu]' for an NVIDIA GPU"
        ) from error
    found.set_default_logger_severity(4)  # what goes wrong is raised
    found.disable_telemetry_events()
    return found


@dataclass(frozen=True, slots=True)
class Place:
    """A provider on a device, with the bytes its arena may grow to."""

    provider: str
    index: str = "0"
    memory: int = UNBOUNDED

    @property
    def serial(self) -> bool:
        return self.provider in SERIAL

    @property
    def arena(self) -> bool:
        """Whether a session has an arena of a device's own memory."""
        return self.provider in ARENAS

    def providers(self) -> list[Any]:
        """In the runtime's own form; what this one cannot run is the CPU's."""
        known = OPTIONS.get(self.provider, {})
        options = {key: self._filled(value) for key, value in known.items()}
        return [(self.provider, options), *([CPU] if self.provider != CPU else [])]

    def run_options(self) -> Any:
        options = onnxruntime().RunOptions()
        options.log_severity_level = 4
        if self.arena:  # what a run took is given back at its end: kept, nobody would count it
            which = self._filled(ARENAS[self.provider])
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", which)
        return options

    def _filled(self, text: str) -> str:
        return text.format(index=self.index, memory=self.memory)


def place(device: str, memory: int = UNBOUNDED) -> Place:
    """Where a graph runs for a device of torch's (``cpu``, ``cuda:1``, ``mps``).

    :class:`ModelError` where the onnxruntime that is installed cannot run on it.
    """
    kind, _, index = device.partition(":")
    offered = onnxruntime().get_available_providers()
    for provider in PROVIDERS[kind]:
        if provider in offered:
            return Place(provider, index or "0", memory)
    raise ModelError(
        f"this onnxruntime cannot run on {device}: install 'portrayer[onnx-gpu]' in its place, or "
        "choose --device cpu"
    )


def open_session(path: Path, where: Place, profile: str = "") -> Any:
    """A session over the graph in a file, on one core where it runs on the CPU.

    ``profile``: where to write down what it does, for :class:`Trial`. Only the file is read: no
    library of operators is ever loaded. Raises as :func:`told` says.
    """
    runtime = onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # A run's memory is laid out beforehand, and taken from the allocator that torch uses too, and
    # given back to it. Measured: as fast as the runtime's own arena, which three replicas at once
    # have grow to twice what they need; like this they take that and no more. Only the arena keeps
    # count, so a session that is measured has one.
    options.enable_cpu_mem_arena = bool(profile)
    if profile:
        options.enable_profiling, options.profile_file_prefix = True, profile
    try:
        session = runtime.InferenceSession(
            str(path), options, providers=where.providers(), enable_fallback=0
        )
    except Exception as error:
        raise told(error, path.name) from error
    if where.provider not in session.get_providers():  # all that some say of missing libraries
        raise ModelError(f"{where.provider} cannot be used: its libraries or driver are missing")
    return session


def told(error: Exception, name: str) -> Exception:
    """What the runtime raised, in the house's words: ``MemoryError`` where memory ran out,
    :class:`WeightsMismatch` for anything else, as the graph is all there is that can be wrong.
    """
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", " ".join(str(error).split()))
    if isinstance(error, MemoryError) or any(words in text for words in EXHAUSTED):
        return MemoryError(f"{name}: {text}")
    return WeightsMismatch(f"{name} cannot be run: {text}")


@dataclass(frozen=True, slots=True)
class Trial:
    """What forwards took, as the runtime's own arenas count it.

    ``peaks``: bytes at the peak of each run, beside the weights; () where the provider does not
    say. ``weights``: bytes of what the nodes were given of the graph's own numbers.
    """

    peaks: tuple[int, ...]
    weights: int


class Profile:
    """A block in which a session can be opened that is measured, and read before its end.

    The runtime hands out no statistics of its arenas, but writes them down beside every node it
    ran when it is asked for a profile. They are of this session alone, however busy the process is.
    :class:`ModelError` where they cannot be written down.
    """

    def __init__(self) -> None:
        try:
            self._folder = TemporaryDirectory(prefix="portrayer-", ignore_cleanup_errors=True)
        except OSError as error:
            raise _unmeasured(error) from error

    def __enter__(self) -> Profile:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def open(self, path: Path, where: Place) -> Any:
        """As :func:`open_session`."""
        return open_session(path, where, str(Path(self._folder.name) / "run"))

    def read(self, session: Any) -> Trial:
        """Of every run so far, in their order."""
        try:
            return _trial(json.loads(Path(session.end_profiling()).read_text("utf-8")))
        except (OSError, ValueError) as error:  # cut short, where the disk was full
            raise _unmeasured(error) from error


def _unmeasured(error: Exception) -> ModelError:
    return ModelError(
        f"what memory a model takes cannot be measured ({type(error).__name__}): have TMPDIR name "
        "a folder with a few MiB to write to"
    )


def _trial(events: Sequence[Mapping[str, Any]]) -> Trial:
    peaks: list[int] = []
    weights = 0
    most: dict[str, int] = {}
    before: dict[str, int] = {}
    for event in events:
        noted = event.get("args") or {}
        if "mem_in_use_peak" in noted:
            used, grown = int(noted["mem_bytes_in_use"]), int(noted["mem_in_use_delta"])
            provider = noted["provider"]
            before.setdefault(provider, used - grown)  # weights, where the arena holds them
            most[provider] = max(most.get(provider, 0), int(noted["mem_in_use_peak"]))
        if not peaks:
            weights += int(noted.get("parameter_size", 0))
        if event.get("name") == "model_run":
            peaks.append(sum(peak - before[provider] for provider, peak in most.items()))
    return Trial(tuple(peaks) if most else (), weights)
