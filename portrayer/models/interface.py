"""What a graph declares, held against what its row says of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from portrayer.errors import WeightsMismatch
from portrayer.models.spec import ModelSpec

FLOATS: Mapping[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
}


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output, as a graph declares it. ``shape``: a name or None where any number will
    do.
    """

    name: str
    shape: tuple[int | str | None, ...]
    kind: str

    @classmethod
    def of(cls, declared: Any) -> Port:
        """From the runtime's own."""
        return cls(declared.name, tuple(declared.shape), declared.type)

    @property
    def dtype(self) -> Any:
        return FLOATS[self.kind]

    @property
    def single(self) -> bool:
        """Whether it is of one sample, and no more."""
        return self.shape[0] == 1

    def takes(self, shape: Sequence[int]) -> bool:
        """Whether an array of this shape may be here, N of any number that a graph may fix: 1."""
        return len(shape) == len(self.shape) and all(
            found == (wanted if at else 1) or not isinstance(found, int)
            for at, (wanted, found) in enumerate(zip(shape, self.shape, strict=True))
        )


@dataclass(frozen=True, slots=True)
class Interface:
    """How a graph is called: its inputs for pictures and vectors, what its constants are, and the
    names of the outputs that are wanted.
    """

    image: Port | None
    vector: Port | None
    constants: Mapping[str, NDArray[Any]]
    outputs: tuple[str, ...]

    @property
    def single(self) -> bool:
        """Whether the graph takes one sample at a time."""
        return any(port is not None and port.single for port in (self.image, self.vector))


def agree(spec: ModelSpec, inputs: Iterable[Any], outputs: Iterable[Any]) -> Interface:
    """The interface of a graph with these inputs and outputs, as the runtime tells them.

    :class:`WeightsMismatch` names the one that is missing, left over, or of another shape or type
    than the row says.
    """
    asked, found = spec.graph, {port.name: port for port in map(Port.of, inputs)}
    assert asked is not None
    constants, left = dict(asked.constants), dict(found)

    def taken(name: str) -> Port:
        if name not in left:
            what = repr(name) if name else "for pictures"
            raise mismatch(spec, f"it has no input {what} ({_listed(found)})")
        return left.pop(name)

    fixed = {name: _constant(spec, taken(name), value) for name, value in constants.items()}
    vector = _floats(spec, taken(asked.vector), (0, asked.width)) if asked.vector else None
    image = None
    if spec.side:
        first = asked.image or next(iter(left), "")
        image = _floats(spec, taken(first), (0, 3, spec.side, spec.side))
    if left:
        raise mismatch(spec, f"nothing is known of its input {next(iter(left))!r}")
    there = {port.name: port for port in map(Port.of, outputs)}
    wanted = asked.outputs or tuple(there)[:1]
    for name in wanted:
        if name not in there:
            raise mismatch(spec, f"it has no output {name!r} ({_listed(there)})")
        if there[name].kind not in FLOATS:
            raise mismatch(spec, f"its output {name!r} is a {there[name].kind}")
    return Interface(image, vector, fixed, wanted)


def fits(
    spec: ModelSpec, outputs: Sequence[str], found: Sequence[int], wanted: Sequence[int]
) -> None:
    """:class:`WeightsMismatch` where what came out is not of the shape that is wanted, 0 being any
    number but none.
    """
    same = (f > 0 and w in (0, f) for w, f in zip(wanted, found, strict=False))
    if len(found) == len(wanted) and all(same):
        return
    names, sizes = ", ".join(map(repr, outputs)), ", ".join(map(str, found))
    raise mismatch(
        spec,
        f"its output {names} has shape ({sizes}), it should have ({_sizes(wanted)})",
    )


def _floats(spec: ModelSpec, port: Port, shape: tuple[int, ...]) -> Port:
    if port.kind not in FLOATS:
        raise mismatch(spec, f"its input {port.name!r} is a {port.kind}, not one of real numbers")
    if not port.takes(shape):
        sizes = f"(N, {_sizes(shape[1:])})"
        raise mismatch(
            spec,
            f"its input {port.name!r} has shape ({_sizes(port.shape)}), it should have {sizes}",
        )
    return port


def _constant(spec: ModelSpec, port: Port, value: float) -> NDArray[Any]:
    if port.kind not in FLOATS:
        raise mismatch(spec, f"its input {port.name!r} is a {port.kind}, not one of real numbers")
    sizes = [size if isinstance(size, int) else 1 for size in port.shape]
    return np.full(sizes, value, port.dtype)


def mismatch(spec: ModelSpec, what: str) -> WeightsMismatch:
    """``what`` is wrong with the file of this row."""
    return WeightsMismatch(f"{spec.weights.file} does not fit {spec.like or spec.name}: {what}")


def _sizes(shape: Iterable[object]) -> str:
    return ", ".join("any" if not size or isinstance(size, str) else str(size) for size in shape)


def _listed(ports: Mapping[str, Port]) -> str:
    return f"it has: {', '.join(ports) or 'none'}"
