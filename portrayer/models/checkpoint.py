"""Reading the weights a user brings. The file is never trusted: nothing in it is run, and all of it
is held against the network before it is used.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from portrayer.errors import InputError, ModelError, PortrayerError, WeightsMismatch

WRAPPERS = ("g_ema", "params_ema", "params", "state_dict")
"""Keys below which trainings save their weights, the ones to be used for inference first."""

SAFE = (2, 10)
"""The first torch whose ``weights_only`` keeps what it promises (CVE-2025-32434,
CVE-2026-24747).
"""


def read(path: Path, name: str) -> dict[str, Tensor]:
    """The state dict in a safetensors or torch file, as it was saved, on the CPU.

    ``name``: what the file is called in errors. The state dict may lie flat or below one of
    :data:`WRAPPERS`; ``module.`` before every key is dropped. Raises :class:`InputError` for a file
    that cannot be opened, :class:`WeightsMismatch` for one that is damaged, holds something else or
    asks for code to be run, :class:`ModelError` where torch is too old to read it safely.
    """
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or error}") from error
    # Its first bytes say what it is, not its name: eight of length, then JSON, is safetensors.
    try:
        found = load_file(path) if head[8:] == b"{" else _torch(path, name)
    except (PortrayerError, MemoryError):
        raise
    except Exception as error:  # bytes that mean nothing fail in every way
        raise WeightsMismatch(
            f"{name} cannot be read: it is cut short, damaged, or no file of weights"
        ) from error
    return _state(found, name)


def check(tensors: Mapping[str, Tensor], net: nn.Module, what: str) -> None:
    """Whether these are the network's weights, all of them and nothing else.

    :class:`WeightsMismatch` says ``what`` is wrong and names the first key that is missing, in the
    network's own order, else the first that is too much, else the first of another shape.
    """
    wrong = next(_complaints(tensors, net.state_dict()), None)
    if wrong is not None:
        raise WeightsMismatch(f"{what}: {wrong}")


def _complaints(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Iterator[str]:
    yield from (f"{key!r} is missing" for key in expected if key not in found)
    yield from (f"{key!r} is not in the network" for key in found if key not in expected)
    for key, tensor in expected.items():
        shape, wanted = tuple(found[key].shape), tuple(tensor.shape)
        if shape != wanted:
            yield f"{key!r} has shape {shape}, the network's is {wanted}"


def _torch(path: Path, name: str) -> Any:
    if tuple(map(int, torch.__version__.split(".")[:2])) < SAFE:
        raise ModelError(
            f"{name} is a torch file, which torch {torch.__version__} does not read safely: "
            f"install torch {SAFE[0]}.{SAFE[1]} or newer, or bring it as safetensors"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd files, which are refused anyway
            return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        if asked is None:
            raise
        raise WeightsMismatch(
            f"{name} wants {asked[1]}, which is more than weights, and code in a file is never "
            "run: save its state dict alone, best as safetensors"
        ) from error


def _state(found: Any, name: str) -> dict[str, Tensor]:
    if isinstance(found, Mapping):
        inner = (found[key] for key in WRAPPERS if isinstance(found.get(key), Mapping))
        found = next(inner, found)
    if not (isinstance(found, Mapping) and found and all(map(_plain, found, found.values()))):
        raise WeightsMismatch(
            f"{name} holds no state dict, neither flat nor below {', '.join(WRAPPERS)}"
        )
    whole = all(key.startswith("module.") for key in found)
    return {key.removeprefix("module.") if whole else key: found[key] for key in found}


def _plain(key: Any, tensor: Any) -> bool:
    """A named array of real numbers, and no other kind of tensor."""
    return (
        isinstance(key, str)
        and isinstance(tensor, Tensor)
        and tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and not (tensor.is_quantized or tensor.is_complex())
    )
