"""Small ONNX graphs with the interfaces of published ones, and weights of chance.

Each is a network of one convolution: what matters is how it is called and what comes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from portrayer.models.receipt import Receipt, beside
from portrayer.models.spec import ModelSpec

Batch = int | str
"""How many samples a graph takes: a number, or a name for any."""

STRIDES = (8, 16, 32)
PARTS = (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10))
YUNET = tuple(f"{part}_{stride}" for part, _ in PARTS for stride in STRIDES)
"""A published face detector's outputs, in its own order."""

LOGITS = ("alpha", "sigmoid-minmax")
MATTES = (*LOGITS, "matte", "minmax")


def of(spec: ModelSpec, *, batch: Batch = 1, length: int = 512, seed: int = 0) -> bytes:
    """A graph that fits this row. ``length``: of the vector that comes out, where one does."""
    asked = spec.graph
    assert asked is not None, "a row of a graph is wanted"
    constants = [name for name, _ in asked.constants]
    if spec.output == "yunet":
        return detector(spec.side, asked.image or "input", asked.outputs or YUNET, seed)
    if not spec.side:
        return converter(asked.width, asked.vector, batch=batch, seed=seed)
    if spec.output == "vector":
        return recogniser(spec.side, length, asked.image or "input.1", batch=batch, seed=seed)
    if asked.vector:
        return swapper(
            spec.side, asked.width, asked.image or "target", asked.vector, batch=batch, seed=seed
        )
    return picture(
        spec.side,
        planes=1 if spec.output in MATTES else 3,
        image=asked.image or "input",
        outputs=asked.outputs or ("output",),
        squash="" if spec.output in LOGITS else "Tanh" if spec.output == "picture" else "Sigmoid",
        constants=constants,
        batch=batch,
        seed=seed,
    )


def picture(
    side: int,
    *,
    planes: int = 1,
    image: str = "input",
    outputs: Sequence[str] = ("output",),
    squash: str = "Sigmoid",
    constants: Sequence[str] = (),
    batch: Batch = 1,
    dtype: int = TensorProto.FLOAT,
    seed: int = 0,
) -> bytes:
    """(N, 3, side, side) to (N, planes, side, side), as often as there are ``outputs``.

    ``squash``: the operator at the end, "" for none. ``constants``: the names of further inputs,
    each one double that everything is multiplied with.
    """
    numbers = helper.tensor_dtype_to_np_dtype(dtype)
    rng = np.random.default_rng(seed)
    inputs = [value(image, (batch, 3, side, side), dtype)]
    nodes, weights = [], []
    x = image
    for name in constants:
        inputs.append(value(name, (1,), TensorProto.DOUBLE))
        nodes += [node("Cast", [name], [f"{name}.cast"], to=dtype)]
        nodes += [node("Mul", [x, f"{name}.cast"], [f"{name}.times"])]
        x = f"{name}.times"
    for at, name in enumerate(outputs):
        weights.append(random(f"w{at}", rng, (planes, 3, 3, 3), 0.3, numbers))
        raw = f"{name}.raw" if squash else name
        nodes.append(node("Conv", [x, f"w{at}"], [raw], pads=[1, 1, 1, 1]))
        if squash:
            nodes.append(node(squash, [raw], [name]))
    shape = (batch, planes, side, side)
    return _blob(nodes, inputs, [value(name, shape, dtype) for name in outputs], weights)


def swapper(
    side: int = 128,
    width: int = 512,
    image: str = "target",
    vector: str = "source",
    *,
    batch: Batch = 1,
    seed: int = 0,
) -> bytes:
    """(N, 3, side, side) and (N, width) to a picture in 0..1 that both have a part in.

    The last initialiser is a matrix (width, width), which the graph itself has no use for.
    """
    rng = np.random.default_rng(seed)
    nodes = [
        node("Conv", [image, "w"], ["seen"], pads=[1, 1, 1, 1]),
        node("MatMul", [vector, "v"], ["said"]),
        node("Unsqueeze", ["said", "axes"], ["tint"]),
        node("Add", ["seen", "tint"], ["both"]),
        node("Sigmoid", ["both"], ["output"]),
    ]
    weights = [
        random("w", rng, (3, 3, 3, 3), 0.3),
        random("v", rng, (width, 3), 4.0),
        numpy_helper.from_array(np.array([2, 3], np.int64), "axes"),
        random("emap", rng, (width, width), 1.0),
    ]
    inputs = [value(image, (batch, 3, side, side)), value(vector, (batch, width))]
    return _blob(nodes, inputs, [value("output", (batch, 3, side, side))], weights)


def recogniser(
    side: int = 112,
    length: int = 512,
    image: str = "input.1",
    *,
    batch: Batch = 1,
    seed: int = 0,
) -> bytes:
    """(N, 3, side, side) to (N, length): colours of 4 x 4 parts of the picture, mixed."""
    rng = np.random.default_rng(seed)
    nodes = [
        node(
            "AveragePool", [image], ["small"], kernel_shape=[side // 4] * 2, strides=[side // 4] * 2
        ),
        node("Flatten", ["small"], ["flat"]),
        node("MatMul", ["flat", "w"], ["output"]),
    ]
    weights = [random("w", rng, (48, length), 1.0)]
    inputs = [value(image, (batch, 3, side, side))]
    return _blob(nodes, inputs, [value("output", (batch, length))], weights)


def converter(width: int = 512, vector: str = "input", *, batch: Batch = 1, seed: int = 0) -> bytes:
    """(N, width) to (N, width)."""
    weights = [random("w", np.random.default_rng(seed), (width, width), 0.1)]
    nodes = [node("MatMul", [vector, "w"], ["output"])]
    return _blob(nodes, [value(vector, (batch, width))], [value("output", (batch, width))], weights)


def detector(
    side: int = 640, image: str = "input", outputs: Sequence[str] = YUNET, seed: int = 0
) -> bytes:
    """One picture to twelve arrays (1, anchors, n): four parts at each of three strides."""
    rng = np.random.default_rng(seed)
    nodes, weights, given = [], [], []
    names = iter(outputs)
    for part, channels in PARTS:
        for stride in STRIDES:
            name, key, cells = next(names), f"{part}{stride}", (side // stride) ** 2
            weights.append(random(f"{key}.w", rng, (channels, 3, 1, 1), 0.01))
            weights.append(
                numpy_helper.from_array(np.array([1, cells, channels], np.int64), f"{key}.shape")
            )
            nodes += [
                node(
                    "AveragePool",
                    [image],
                    [f"{key}.pool"],
                    kernel_shape=[stride] * 2,
                    strides=[stride] * 2,
                ),
                node("Conv", [f"{key}.pool", f"{key}.w"], [f"{key}.conv"]),
                node("Transpose", [f"{key}.conv"], [f"{key}.last"], perm=[0, 2, 3, 1]),
            ]
            end = f"{key}.flat" if channels == 1 else name
            nodes.append(node("Reshape", [f"{key}.last", f"{key}.shape"], [end]))
            if channels == 1:
                nodes.append(node("Sigmoid", [end], [name]))
            given.append(value(name, (1, cells, channels)))
    return _blob(nodes, [value(image, (1, 3, side, side))], given, weights)


def write(path: Path, blob: bytes) -> Path:
    """The graph as a file, in a folder that need not be there yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(blob)
    return path


def installed(row: ModelSpec, folder: Path, blob: bytes) -> ModelSpec:
    """The row, with these bytes for its file among a user's models in ``folder``."""
    path, digest = write(folder / row.weights.file, blob), sha256(blob).hexdigest()
    made = Receipt("stub", digest, digest, len(blob), row.weights.licence, "", "", graph=True)
    made.write(beside(path))
    return replace(row, weights=replace(row.weights, folder=folder))


def value(name: str, shape: Sequence[int | str], dtype: int = TensorProto.FLOAT) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, list(shape))


def node(kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> NodeProto:
    return helper.make_node(kind, list(inputs), list(outputs), **attributes)


def random(
    name: str,
    rng: np.random.Generator,
    shape: tuple[int, ...],
    scale: float,
    dtype: Any = np.float32,
) -> TensorProto:
    numbers: NDArray[Any] = (rng.standard_normal(shape) * scale).astype(dtype)
    return numpy_helper.from_array(numbers, name)


def proto(
    nodes: Sequence[NodeProto],
    inputs: Sequence[ValueInfoProto],
    outputs: Sequence[ValueInfoProto],
    weights: Sequence[TensorProto] = (),
) -> ModelProto:
    """A model as the runtimes of the last years read it."""
    graph = helper.make_graph(list(nodes), "stub", list(inputs), list(outputs), list(weights))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _blob(*parts: Any) -> bytes:
    blob: bytes = proto(*parts).SerializeToString()
    return blob
