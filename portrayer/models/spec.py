"""What a model is, as plain values: importing this costs nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Weights:
    """Where a model's numbers come from, and how to know that they are the right ones."""

    file: str
    sha256: str
    bytes: int
    licence: str
    origin: str


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One row of the catalogue.

    ``build``: the network as ``module:Class`` under ``portrayer.nets``. ``side``: it takes (N,
    side, side, 3) uint8 RGB.
    ``mean``, ``std``: of RGB in 0..255, applied on the device. ``output``: the rule that turns
    logits into what :class:`~portrayer.models.model.Model` returns.
    """

    name: str
    task: str
    build: str
    weights: Weights
    side: int
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    output: str = "alpha"
