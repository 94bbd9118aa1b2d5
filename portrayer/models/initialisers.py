"""The numbers stored in an ONNX file, read without a runtime: a walk over its protobuf fields.

The runtime does not hand them out, and the writer's package is a large thing for one array.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from portrayer.errors import DownloadFailed, WeightsMismatch

Field: TypeAlias = tuple[int, int, int, int]
"""Number, value (0 for bytes), and where its bytes begin and end."""

GRAPH, INITIALISER = 7, 5  # onnx.proto: ModelProto.graph, GraphProto.initializer
DIMS, KIND, FLOATS, NAME, RAW = 1, 2, 4, 8, 9  # TensorProto
KINDS = {1: "<f4", 10: "<f2", 11: "<f8"}
WIDTHS = {1: 8, 5: 4}  # wire types of a fixed length


def last(path: Path) -> NDArray[np.float32]:
    """The last initialiser of the graph in the file.

    :class:`WeightsMismatch` where there is none, or none of real numbers.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as blob:
            return _last(blob, path.name)
    except OSError as error:
        raise DownloadFailed(f"{path} cannot be read: {error.strerror or error}") from error
    except (
        IndexError,
        ValueError,
        OverflowError,
    ) as error:  # an empty file, or bytes that mean nothing
        raise WeightsMismatch(f"{path.name} cannot be read: it is cut short or damaged") from error


def _last(blob: mmap.mmap, name: str) -> NDArray[np.float32]:
    found = None
    for number, _, start, end in _fields(blob, 0, len(blob)):
        if number == GRAPH:
            for inner, _, first, stop in _fields(blob, start, end):
                if inner == INITIALISER:
                    found = first, stop
    if found is None:
        raise WeightsMismatch(f"{name} has no initialiser")
    return _tensor(blob, *found, name)


def _tensor(blob: mmap.mmap, start: int, end: int, name: str) -> NDArray[np.float32]:
    shape: list[int] = []
    kind, key, numbers = 0, "", b""
    for number, value, first, stop in _fields(blob, start, end):
        if number == DIMS:  # packed or not, as the writer liked
            shape += [value] if first == stop else list(_varints(blob, first, stop))
        elif number == KIND:
            kind = value
        elif number == NAME:
            key = blob[first:stop].decode()
        elif number in (FLOATS, RAW):
            numbers += blob[first:stop]
    if kind not in KINDS:
        raise WeightsMismatch(f"{name}: {key!r} is no initialiser of real numbers")
    # float_data is packed as four bytes each, whatever the kind; only float32 is kept so.
    return np.frombuffer(numbers, KINDS[kind]).astype(np.float32).reshape(shape)


def _varints(blob: mmap.mmap, at: int, end: int) -> Iterator[int]:
    while at < end:
        value, at = _varint(blob, at)
        yield value


def _fields(blob: mmap.mmap, at: int, end: int) -> Iterator[Field]:
    while at < end:
        key, at = _varint(blob, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(blob, at)
            yield number, value, at, at
            continue
        length = WIDTHS.get(wire, -1)
        if wire == 2:
            length, at = _varint(blob, at)
        if length < 0 or at + length > end:
            raise ValueError("no protobuf")
        yield number, 0, at, at + length
        at += length


def _varint(blob: mmap.mmap, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = blob[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
    raise ValueError("no protobuf")
