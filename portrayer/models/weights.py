"""Finding, checking and reading weights. Only safetensors are ever read."""

from __future__ import annotations

import hashlib
import struct
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from portrayer.errors import ChecksumMismatch, DownloadFailed, WeightsMismatch
from portrayer.models.spec import Weights

if TYPE_CHECKING:
    from torch import Tensor


def locate(weights: Weights) -> Path:
    """Where the file lies; :class:`DownloadFailed` where it does not."""
    path = Path(str(resources.files("portrayer") / "weights" / weights.file))
    if not path.is_file():
        raise DownloadFailed(
            f"{weights.file} is missing from {path.parent}: install portrayer again"
        )
    return path


@lru_cache
def verify(weights: Weights) -> Path:
    """The file, once its sha256 is the catalogue's; :class:`ChecksumMismatch` otherwise."""
    path = locate(weights)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != weights.sha256:
        raise ChecksumMismatch(
            f"{path} has sha256 {found[:12]}..., the catalogue says {weights.sha256[:12]}..."
        )
    return path


def load(weights: Weights) -> dict[str, Tensor]:
    """The verified file's tensors, as float32 on the CPU.

    :class:`WeightsMismatch` for a file that is no safetensors, :class:`DownloadFailed` for one that
    cannot be read, and what :func:`verify` raises.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return {name: tensor.float() for name, tensor in load_file(verify(weights)).items()}
    except (SafetensorError, struct.error) as error:
        raise WeightsMismatch(f"{weights.file} cannot be read: {error}") from error
    except OSError as error:
        raise DownloadFailed(f"{weights.file} cannot be read: {error.strerror or error}") from error
