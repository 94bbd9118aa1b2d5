"""What a model is, as plain values: importing this costs nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Weights:
    """Where a model's numbers come from, and how to know that they are the right ones.

    ``file``: what they are called here, ``NAME.safetensors`` or ``NAME.onnx``. ``sha256``: of the
    published file; "" where none is published, and the first file that is brought is pinned.
    ``bytes``: their size, about the size where the file is not ours. ``urls``: where they can be
    fetched, the origin first; () where they come with the package. ``consent``: whether a user must
    accept the licence first. ``folder``: where a user's models lie, None for the settings' own.
    ``md5``: published in place of a sha256. ``commercial``: whether the licence lets them be used
    for money.
    """

    file: str
    sha256: str
    bytes: int
    licence: str
    origin: str
    urls: tuple[str, ...] = ()
    consent: bool = False
    folder: Path | None = None
    md5: str = ""
    commercial: bool = True

    @property
    def name(self) -> str:
        return self.file.removesuffix(".safetensors").removesuffix(".onnx")

    @property
    def shipped(self) -> bool:
        """Whether they come with the package; otherwise a user brings them."""
        return not self.urls

    @property
    def brought(self) -> bool:
        """Whether a user has brought them: published ones, or the user's own."""
        return bool(self.urls) or self.folder is not None


@dataclass(frozen=True, slots=True)
class Graph:
    """How a published ONNX graph is called.

    ``image``: the name of its picture input, "" for its first. ``vector``: the name of a second
    input, one vector a sample, "" for none; ``width``: that vector's length. ``constants``: further
    inputs that are always the same, by name. ``outputs``: the outputs that are wanted, () for the
    first. ``matrix``: how a vector is prepared: "" as it is, "unit" scaled to length 1, "last"
    scaled to length 1 after multiplication with the graph's last initialiser (width x width).
    """

    image: str = ""
    vector: str = ""
    width: int = 0
    constants: tuple[tuple[str, float], ...] = ()
    outputs: tuple[str, ...] = ()
    matrix: str = ""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One row of the catalogue.

    ``build``: the network as ``module:Class`` under ``portrayer.nets``, or a function that returns
    it; "" where a ``graph`` is given, and the weights are one.
    ``side``: it takes (N, side, side, 3) uint8 RGB; 0 where it takes a vector alone.
    ``mean``, ``std``: of RGB in 0..255, applied on the device. ``output``: the rule that turns
    logits into what :class:`~portrayer.models.model.Model` returns. ``precision``: what it runs in
    where the device runs in half precision and that is too coarse or too narrow for it; "" for the
    device's own. ``order``: of the channels the graph wants, "RGB" or "BGR". ``peak``: whether a
    sample is divided by its own brightest value, so that it spans 0..255, before mean and std.
    ``like``: the row whose conventions a user's own model follows.
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
    graph: Graph | None = None
    order: str = "RGB"
    peak: bool = False
    like: str = ""
