"""Graphs that others publish, behind the contract of :class:`~portrayer.models.model.Model`: uint8
in, documented arrays out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from portrayer.errors import ModelError, WeightsMismatch
from portrayer.models import initialisers, interface, runtime, weights
from portrayer.models.model import normalise, rows
from portrayer.models.outputs import OUTPUTS, raw_shape
from portrayer.models.runtime import Place, Profile
from portrayer.models.spec import ModelSpec

Array = NDArray[Any]


class OnnxModel:
    """``(N, side, side, 3)`` uint8 RGB, ``(N, width)`` float32 vectors, or both, to float32 as the
    spec's output rule says. Every sample is treated alone.

    Tried when it is made: with one sample, and with two where the graph says that it takes any
    number. ``bytes``: what its weights take. ``peaks``: samples, and the bytes that a forward of so
    many took at its peak beside them. ``single``: whether the graph takes one at a time. Raises
    :class:`WeightsMismatch` for a graph that is not what the spec says, ``MemoryError``.
    """

    def __init__(self, spec: ModelSpec, path: Path, where: Place) -> None:
        assert spec.graph is not None
        self.spec, self.where, self._path = spec, where, path
        self._rule, self._wanted = OUTPUTS[spec.output], raw_shape(spec.output, spec.side)
        self._mean, self._scale = rows(spec)
        self._width, self._prepare = spec.graph.width, spec.graph.matrix
        self._matrix: Array | None = None
        self._options = where.run_options()
        self._session: Any = None
        self.bytes, self.peaks = self._tried()
        self._session = None  # before there is another: never two of the weights
        self._session = runtime.open_session(path, where)

    @property
    def precision(self) -> str:
        """Of the numbers that the graph takes; on some devices their like is computed with less."""
        port = self._interface.image or self._interface.vector
        assert port is not None
        return str(np.dtype(port.dtype))

    def __call__(self, samples: Array | None, vectors: Array | None = None) -> Array:
        count = len(_given(samples, vectors))
        step = 1 if self.single else count
        parts = [
            self._forward(_part(samples, at, step), _part(vectors, at, step))[0]
            for at in range(0, count, step)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _forward(self, samples: Array | None, vectors: Array | None) -> tuple[Array, int]:
        """The result, and the bytes of the arrays around the graph: each as it comes, and as it is
        made into.
        """
        called, feeds = self._interface, dict(self._interface.constants)
        if called.image is not None and samples is not None:
            prepared = self._prepared(samples)
            feeds[called.image.name] = prepared.astype(called.image.dtype, copy=False)
        if called.vector is not None and vectors is not None:
            directed = self._directed(vectors)
            feeds[called.vector.name] = directed.astype(called.vector.dtype, copy=False)
        raw = self._joined(self._run(feeds))
        shape = len(_given(samples, vectors)), *self._wanted
        interface.fits(self.spec, called.outputs, raw.shape, shape)
        if self.spec.order == "BGR" and self._wanted[0] == 3:
            raw = raw.flip(1)
        result: Array = self._rule(raw).numpy()
        around = 2 * sum(array.nbytes for array in feeds.values()) + raw.nbytes + result.nbytes
        return result, around

    def _prepared(self, samples: Array) -> Array:
        """Normalised, in the graph's own order of channels, (N, 3, S, S) float32."""
        images = torch.from_numpy(samples)
        if self.spec.peak:
            brightest = images.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1)
            images = images * (255 / brightest)
        x = normalise(images, self._mean, self._scale)
        array: Array = (x.flip(1) if self.spec.order == "BGR" else x).contiguous().numpy()
        return array

    def _directed(self, vectors: Array) -> Array:
        """As the graph wants them; one of no length stays as it is."""
        if not self._prepare:
            return vectors
        turned = vectors if self._matrix is None else vectors @ self._matrix
        length = np.linalg.norm(turned, axis=1, keepdims=True)
        scaled: Array = turned / np.where(length > 0, length, 1)
        return scaled

    def _joined(self, outputs: list[Array]) -> Tensor:
        try:
            return joined([torch.from_numpy(array) for array in outputs])
        except (RuntimeError, IndexError) as error:
            names = ", ".join(map(repr, self._interface.outputs))
            shapes = ", ".join(str(array.shape) for array in outputs)
            what = f"its outputs {names} have shapes {shapes}, which do not go together"
            raise interface.mismatch(self.spec, what) from error

    def _run(self, feeds: dict[str, Array]) -> list[Array]:
        if self._session is None:
            self._session = runtime.open_session(self._path, self.where)
        try:
            outputs: list[Array] = self._session.run(
                list(self._interface.outputs), feeds, self._options
            )
        except Exception as error:
            raise self._failed(error) from error  # in no name of this frame, which it refers to
        return outputs

    def _failed(self, error: Exception) -> Exception:
        told = runtime.told(error, self._path.name)
        if self.where.arena and isinstance(told, MemoryError):
            self._session = None  # an arena that has failed may go on failing: a new one
        return told

    def _tried(self) -> tuple[int, tuple[tuple[int, int], tuple[int, int]]]:
        trial, around = self._trial(self.where)
        if not trial.peaks:  # a provider that does not say: the same arrays, on one that does
            trial, around = self._trial(Place(runtime.CPU))
        if not trial.peaks:
            raise ModelError(
                "this onnxruntime does not tell what memory it takes: install 1.28 or newer"
            )
        # Later runs of a batch size take what was counted. The first, which is not laid out yet,
        # takes more, and so do many at once, between whose pieces the allocator leaves gaps: half
        # as much again, measured as the resident size of three replicas with batches of four.
        counted = zip(trial.peaks, around, strict=False)  # a forward that failed is in neither
        one, *more = [(peak + beside) * 3 // 2 for peak, beside in counted]
        two = more[0] if more else 2 * one
        return max(self._path.stat().st_size, trial.weights), ((1, one), (2, max(one, two)))

    def _trial(self, where: Place) -> tuple[runtime.Trial, list[int]]:
        """What forwards took, those that came out well, and the arrays around each."""
        with Profile() as profile:
            self._session = None
            self._session = profile.open(self._path, where)
            self._interface = interface.agree(
                self.spec, self._session.get_inputs(), self._session.get_outputs()
            )
            if self._prepare == "last":
                self._matrix = self._last()
            around = self._forwards()
            return profile.read(self._session), around

    def _forwards(self) -> list[int]:
        """One sample, then two, where it takes two: the bytes around each."""
        self.single = self._interface.single
        chance, side = np.random.default_rng(0), self.spec.side
        samples = vectors = None
        if self._interface.image is not None:
            samples = chance.integers(0, 256, (2, side, side, 3), np.uint8)
        if self._interface.vector is not None:
            vectors = chance.standard_normal((2, self._width), np.float32)
        alone, beside = self._forward(_part(samples, 1, 1), _part(vectors, 1, 1))
        if not np.isfinite(alone).all():
            raise interface.mismatch(self.spec, "of a picture of noise it makes what is no number")
        around = [beside]
        if self.single:
            return around
        try:
            pair, beside = self._forward(samples, vectors)
            around.append(beside)
            self.single = not alike(pair[1:], alone)
        except WeightsMismatch:  # it says any number, and means one
            self.single = True
        except MemoryError:
            pass  # the first fits, so it may run: each costs as much then
        return around

    def _last(self) -> Array:
        matrix = initialisers.last(self._path)
        shape = self._width, self._width
        if matrix.shape != shape:
            what = f"its last initialiser has shape {matrix.shape}, it should have {shape}"
            raise interface.mismatch(self.spec, what)
        return matrix


def load(spec: ModelSpec, device: str = "cpu", memory: int = runtime.UNBOUNDED) -> OnnxModel:
    """The model with its verified graph, on a device of torch's (``cpu``, ``cuda:0``, ``mps``).

    ``memory``: bytes that the runtime's arena may grow to, where the device keeps one. Raises what
    :func:`weights.verify`, :func:`runtime.place` and :class:`OnnxModel` do.
    """
    where = runtime.place(device, memory)
    weights.verify(spec.weights)
    # Located again: a file that was removed since is told as one that is not there.
    return OnnxModel(spec, weights.locate(spec.weights), where)


def joined(outputs: list[Tensor]) -> Tensor:
    """Several outputs (N, anchors, n) as one: those of as many anchors side by side, then the
    groups, in the order of their first, one after another.
    """
    if len(outputs) == 1:
        return outputs[0]
    groups: dict[int, list[Tensor]] = {}
    for output in outputs:
        groups.setdefault(output.shape[1], []).append(output)
    return torch.cat([torch.cat(group, dim=2) for group in groups.values()], dim=1)


def alike(one: Array, other: Array) -> bool:
    """Equal up to rounding, as large as the numbers are."""
    largest = float(np.abs(other).max())
    return np.allclose(one, other, rtol=0.01, atol=0.01 * largest, equal_nan=True)


def _given(samples: Array | None, vectors: Array | None) -> Array:
    """Whichever there is: both are of as many samples."""
    given = vectors if samples is None else samples
    assert given is not None
    return given


def _part(array: Array | None, at: int, count: int) -> Array | None:
    return None if array is None else array[at : at + count]
