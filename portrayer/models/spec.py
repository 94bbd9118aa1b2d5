"""What a model is, as plain values: importing this costs nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Weights:
    """Where a model's numbers come from, and how to know that they are the right ones.

    ``file``: what they are called here, ``NAME.safetensors``. ``sha256``: of the published file; ""
    where none is published, and the first file that is brought is pinned. ``bytes``: their size,
    about the size where the file is not ours. ``urls``: where they can be fetched, the origin
    first; () where they come with the package. ``consent``: whether a user must accept the licence
    first. ``folder``: where a user's models lie, None for the settings' own.
    """

    file: str
    sha256: str
    bytes: int
    licence: str
    origin: str
    urls: tuple[str, ...] = ()
    consent: bool = False
    folder: Path | None = None

    @property
    def name(self) -> str:
        return self.file.removesuffix(".safetensors")

    @property
    def shipped(self) -> bool:
        """Whether they come with the package; otherwise a user brings them."""
        return not self.urls


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One row of the catalogue.

    ``build``: the network as ``module:Class`` under ``portrayer.nets``, or a function that returns
    it. ``side``: it takes (N, side, side, 3) uint8 RGB.
    ``mean``, ``std``: of RGB in 0..255, applied on the device. ``output``: the rule that turns
    logits into what :class:`~portrayer.models.model.Model` returns. ``precision``: what it runs in
    where the device runs in half precision and that is too coarse or too narrow for it; "" for the
    device's own.
    """

    name: str
    task: str
    build: str
    weights: Weights
    side: int
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    output: str = "alpha"
    precision: str = ""
