"""A published graph is called as its row says, and gives what the row promises."""

from __future__ import annotations

import ctypes
import gc
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from portrayer.errors import ModelError, WeightsMismatch
from portrayer.models import runtime
from portrayer.models.onnx import OnnxModel, joined, load
from portrayer.models.runtime import CPU, Place, Profile, place
from portrayer.models.spec import Graph, ModelSpec, Weights

from . import graphs
from .graphs import node, value

SIDE = 32
WEIGHTS = Weights("stub.onnx", "", 0, "MIT", "tests", ("https://example.org/stub.onnx",))
PLAIN = (0.0, 0.0, 0.0)
ONE = (1.0, 1.0, 1.0)
ROW = ModelSpec("stub", "matte", "", WEIGHTS, SIDE, output="matte", graph=Graph())

Made = Callable[..., OnnxModel]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """A model of a row, from a graph's bytes; the row's own stub where none are given."""

    def make(row: ModelSpec, blob: bytes | None = None, **wish: Any) -> OnnxModel:
        path = graphs.write(tmp_path / "stub.onnx", blob or graphs.of(row, **wish))
        return OnnxModel(row, path, place("cpu"))

    return make


def pictures(count: int, side: int = SIDE, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8)


def vectors(count: int, width: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, width), np.float32)


def blob(*parts: Any) -> bytes:
    made: bytes = graphs.proto(*parts).SerializeToString()
    return made


def eye(side: int = SIDE, batch: graphs.Batch = "n") -> bytes:
    """What goes in comes out."""
    shape = (batch, 3, side, side)
    return blob([node("Identity", ["x"], ["y"])], [value("x", shape)], [value("y", shape)])


ROWS = {
    "u2net": (replace(ROW, side=320, output="minmax", peak=True), (320, 320)),
    "birefnet": (replace(ROW, side=64, output="sigmoid-minmax"), (64, 64)),
    "modnet": (ROW, (SIDE, SIDE)),
    "gfpgan": (replace(ROW, output="picture"), (SIDE, SIDE, 3)),
    "codeformer": (
        replace(ROW, output="picture", graph=Graph(constants=(("weight", 0.7),))),
        (SIDE, SIDE, 3),
    ),
    "inswapper": (
        replace(ROW, output="unit", graph=Graph("target", "source", 16, matrix="last")),
        (SIDE, SIDE, 3),
    ),
    "arcface": (replace(ROW, output="vector"), (512,)),
    "converter": (
        replace(ROW, side=0, output="vector", graph=Graph(vector="input", width=16, matrix="unit")),
        (16,),
    ),
    "yunet": (replace(ROW, side=64, output="yunet", graph=Graph(outputs=graphs.YUNET)), (84, 15)),
}


@pytest.mark.parametrize("batch", [1, "n"])
@pytest.mark.parametrize("name", ROWS)
def test_alone_is_as_in_a_batch(name: str, batch: graphs.Batch, made: Made) -> None:
    """float32, one result a sample, of the shape its rule promises; no sample sees another, whether
    the graph takes many or is fed one by one.
    """
    row, shape = ROWS[name]
    model = made(row, batch=batch)
    assert row.graph is not None
    seen = pictures(3, row.side) if row.side else None
    told = vectors(3, row.graph.width) if row.graph.vector else None
    together = model(seen, told)
    assert (together.dtype, together.shape) == (np.float32, (3, *shape))
    assert together.std() > 1e-3, "a constant would prove nothing"
    for at in range(3):
        alone = model(
            None if seen is None else seen[at : at + 1], None if told is None else told[at : at + 1]
        )
        np.testing.assert_allclose(alone[0], together[at], rtol=1e-4, atol=1e-4)
    assert model.single == (batch == 1 or name == "yunet")


def test_a_graph_of_one_and_a_graph_of_many_agree(made: Made) -> None:
    """How many a graph takes at a time is no matter of what comes out."""
    one, many = made(ROW, batch=1), made(ROW, batch="n")
    np.testing.assert_allclose(one(pictures(3)), many(pictures(3)), atol=1e-6)


def test_pictures_are_normalised_with_the_rows_own_numbers(made: Made) -> None:
    """The graph sees (x - mean) / std of RGB, channels first."""
    row = replace(ROW, side=2, mean=(10, 20, 30), std=(1, 2, 4), output="change")
    seen = made(row, eye(2))(np.full((1, 2, 2, 3), (11, 22, 38), np.uint8))
    np.testing.assert_allclose(seen[0, 0, 0], [1, 1, 2], rtol=1e-6)


def test_a_graph_may_want_blue_first(made: Made) -> None:
    """Mean and std stay those of RGB, and a picture that comes out is RGB again."""
    row = replace(ROW, side=2, mean=(10, 20, 30), std=(1, 2, 4), order="BGR", output="vector")
    shape = ("n", 3, 2, 2)
    first = blob(
        [
            node("ReduceMax", ["x"], ["y"], axes=[2, 3], keepdims=0),
        ],
        [value("x", shape)],
        [value("y", ("n", 3))],
    )
    picture = np.full((1, 2, 2, 3), (11, 22, 38), np.uint8)
    np.testing.assert_allclose(made(row, first)(picture)[0], [2, 1, 1], rtol=1e-6)
    plain = replace(row, mean=PLAIN, std=(255.0,) * 3, output="unit")
    np.testing.assert_allclose(made(plain, eye(2))(picture), picture / np.float32(255), rtol=1e-6)


def test_a_dark_sample_is_spread_by_its_own_brightest_value(made: Made) -> None:
    """Each to 0..255, whatever its neighbours are; a black one stays black."""
    row = replace(ROW, side=2, mean=PLAIN, std=ONE, peak=True, output="change")
    given = np.zeros((3, 2, 2, 3), np.uint8)
    given[1, 0, 0], given[2, 0, 0] = (10, 20, 40), (255, 0, 51)
    seen = made(row, eye(2))(given)
    assert np.array_equal(seen[0], given[0])
    np.testing.assert_allclose(seen[1, 0, 0], np.array([10, 20, 40]) * 255 / 40, rtol=1e-6)
    np.testing.assert_allclose(seen[2], given[2], rtol=1e-6)


def test_half_precision_graphs_are_fed_and_read(made: Made) -> None:
    """A float16 graph gives float32."""
    coarse = graphs.picture(SIDE, batch="n", dtype=TensorProto.FLOAT16)
    fine = graphs.picture(SIDE, batch="n")
    found = made(ROW, coarse)(pictures(2))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, made(ROW, fine)(pictures(2)), atol=0.02)


@pytest.mark.parametrize("constant", [0.0, 0.5, 1.0])
def test_a_constant_input_is_what_the_row_says(constant: float, made: Made) -> None:
    """A graph's further inputs are filled in their own type, and have their effect."""
    row = replace(ROW, output="change", graph=Graph(constants=(("weight", constant),)))
    given = graphs.picture(SIDE, planes=3, squash="", constants=["weight"], batch="n")
    whole = graphs.picture(SIDE, planes=3, squash="", batch="n")
    found = made(row, given)(pictures(1))
    expected = made(replace(ROW, output="change"), whole)(pictures(1)) * constant
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("kind", ["", "unit", "last"])
def test_a_vector_is_prepared_as_the_row_says(kind: str, made: Made) -> None:
    """As it is; of length 1; or of length 1 after the graph's last initialiser. One of no length
    stays so.
    """
    matrix = vectors(4, 4, seed=1)
    given = blob(
        [node("Identity", ["v"], ["y"])],
        [value("v", ("n", 4))],
        [value("y", ("n", 4))],
        [numpy_helper.from_array(vectors(4, 4), "first"), numpy_helper.from_array(matrix, "emap")],
    )
    row = replace(ROW, side=0, output="vector", graph=Graph(vector="v", width=4, matrix=kind))
    told = np.concatenate([3 * vectors(2, 4), np.zeros((1, 4), np.float32)])
    found = made(row, given)(None, told)
    turned = told @ matrix if kind == "last" else told
    length = np.linalg.norm(turned, axis=1, keepdims=True)
    np.testing.assert_allclose(
        found, turned / np.maximum(length, 1e-9) if kind else told, rtol=1e-5, atol=1e-6
    )


def test_outputs_of_as_many_anchors_lie_side_by_side() -> None:
    """(N, anchors, n) of several strides and parts become one, in their own order."""
    import torch

    parts = [torch.full((1, size, 1), float(at)) for at, size in enumerate((4, 2, 4, 2))]
    assert joined(parts)[0].tolist() == [[0, 2]] * 4 + [[1, 3]] * 2
    assert joined(parts[:1]) is parts[0]


def says_many_means_one() -> bytes:
    """It names its batch, and reshapes to one."""
    shape = ("n", 3, SIDE, SIDE)
    size = numpy_helper.from_array(np.array([1, 3, SIDE, SIDE], np.int64), "size")
    nodes = [node("Reshape", ["x", "size"], ["y"])]
    return blob(nodes, [value("x", shape)], [value("y", shape)], [size])


def mixes_its_batch() -> bytes:
    """Every sample minus the mean of all of them."""
    shape = ("n", 3, SIDE, SIDE)
    nodes = [node("ReduceMean", ["x"], ["mean"], axes=[0]), node("Sub", ["x", "mean"], ["y"])]
    return blob(nodes, [value("x", shape)], [value("y", shape)])


@pytest.mark.parametrize("graph", [says_many_means_one, mixes_its_batch])
def test_a_graph_that_cannot_take_many_is_found_out(graph: Callable[[], bytes], made: Made) -> None:
    """What a graph says of its batch is tried: where many give another answer, or none, it gets one
    at a time.
    """
    model = made(replace(ROW, output="change"), graph())
    assert model.single
    assert np.array_equal(model(pictures(3))[1:2], model(pictures(3)[1:2]))


def image(shape: Any, name: str = "x", kind: int = TensorProto.FLOAT) -> bytes:
    return blob(
        [node("Cast", [name], ["y"], to=TensorProto.FLOAT)],
        [value(name, shape, kind)],
        [value("y", None if shape is None else shape)],
    )


def nothing() -> bytes:
    """A vector of any length, which is none."""
    bounds = {"start": 0, "end": 0, "axis": 1}
    return blob(
        [node("Flatten", ["x"], ["flat"]), node("Slice", ["flat", *bounds], ["y"])],
        [value("x", ("n", 3, SIDE, SIDE))],
        [value("y", ("n", "length"))],
        [numpy_helper.from_array(np.array([at], np.int64), name) for name, at in bounds.items()],
    )


def not_a_number() -> bytes:
    """Logarithms of what is negative."""
    nodes = [
        node("ReduceL2", ["x"], ["long"], axes=[1]),
        node("Neg", ["long"], ["below"]),
        node("Log", ["below"], ["y"]),
    ]
    return blob(nodes, [value("x", ("n", 3, SIDE, SIDE))], [value("y", ("n", 1, SIDE, SIDE))])


def swapped(width: int = 16) -> bytes:
    return graphs.swapper(SIDE, width)


SWAP = replace(ROW, output="unit", graph=Graph("target", "source", 16, matrix="last"))
MISFITS = {
    "input name": (replace(ROW, graph=Graph(image="image")), graphs.picture(SIDE), "'image'"),
    "output name": (replace(ROW, graph=Graph(outputs=("d9",))), graphs.picture(SIDE), "'d9'"),
    "side": (ROW, graphs.picture(64), r"'input' .*\(1, 3, 64, 64\).*\(N, 3, 32, 32\)"),
    "channels": (ROW, image((1, 1, SIDE, SIDE)), r"'x' .*\(1, 1, 32, 32\).*\(N, 3, 32, 32\)"),
    "rank": (ROW, image((3, SIDE, SIDE)), r"'x' .*\(3, 32, 32\)"),
    "batch": (ROW, image((4, 3, SIDE, SIDE)), r"'x' .*\(4, 3, 32, 32\)"),
    "type": (ROW, image((1, 3, SIDE, SIDE), kind=TensorProto.UINT8), r"'x' is a tensor\(uint8\)"),
    "width": (SWAP, swapped(12), r"'source' .*\(1, 12\).*\(N, 16\)"),
    "no vector": (SWAP, graphs.picture(SIDE, image="target"), "no input 'source'"),
    "left over": (ROW, graphs.picture(SIDE, constants=["w"]), "its input 'w'"),
    "planes": (
        ROW,
        graphs.picture(SIDE, planes=3),
        r"'output' .*\(1, 3, 32, 32\).*\(1, 1, 32, 32\)",
    ),
    "many planes": (
        replace(ROW, output="picture"),
        graphs.picture(SIDE),
        r"'output' .*\(1, 1, 32, 32\).*\(1, 3, 32, 32\)",
    ),
    "any side": (ROW, image(("n", 3, "h", "w")), r"'y' .*\(1, 3, 32, 32\).*\(1, 1, 32, 32\)"),
    "empty vector": (
        replace(ROW, output="vector"),
        nothing(),
        r"'y' has shape \(1, 0\), it should have \(1, any\)",
    ),
    "cells": (replace(ROW, output="cells"), graphs.picture(SIDE), r"'output' .*\(1, 15, 4, 4\)"),
    "change": (replace(ROW, output="change"), graphs.picture(SIDE), r"'output' .*\(1, 3, 32, 32\)"),
    "points": (replace(ROW, output="points"), graphs.picture(SIDE), r"'output' .*\(1, 473, 3\)"),
    "no number": (ROW, not_a_number(), "of a picture of noise it makes what is no number"),
    "vector out": (replace(ROW, output="vector"), graphs.picture(SIDE), r"'output' .*\(1, any\)"),
    "detector": (
        replace(ROW, side=64, output="yunet", graph=Graph(outputs=graphs.YUNET[:3])),
        graphs.detector(64),
        r"'cls_8', 'cls_16', 'cls_32' .*\(1, 84, 1\).*\(1, 84, 16\)",
    ),
}


def test_outputs_that_do_not_go_together(made: Made) -> None:
    """They are named, with the shapes that they have."""
    outputs = graphs.YUNET[:-1]
    row = replace(ROW, side=64, output="yunet", graph=Graph(outputs=outputs))
    with pytest.raises(WeightsMismatch, match=r"'cls_8'.*'kps_16' have shapes \(1, 64, 1\)"):
        made(row, graphs.detector(64))


@pytest.mark.parametrize("what", MISFITS)
def test_a_graph_that_does_not_fit_its_row(what: str, made: Made) -> None:
    """It is refused when it is loaded, by the tensor's name and both shapes."""
    row, given, words = MISFITS[what]
    with pytest.raises(WeightsMismatch, match=words) as caught:
        made(row, given)
    assert str(caught.value).startswith("stub.onnx does not fit stub: ")
    assert "\n" not in str(caught.value)


def test_the_last_matrix_must_be_square(made: Made) -> None:
    """A graph whose last initialiser cannot be multiplied with is refused."""
    row = replace(ROW, output="unit", graph=Graph("target", "source", 16, matrix="last"))
    other = graphs.proto(
        [node("Add", ["target", "t"], ["y"]), node("MatMul", ["source", "w"], ["unused"])],
        [value("target", (1, 3, SIDE, SIDE)), value("source", (1, 16))],
        [value("y", (1, 3, SIDE, SIDE)), value("unused", (1, 3))],
        [
            graphs.random("w", np.random.default_rng(0), (16, 3), 1.0),
            graphs.random("t", np.random.default_rng(0), (3, 1, 1), 1.0),
        ],
    )
    with pytest.raises(WeightsMismatch, match=r"last initialiser .*\(3, 1, 1\).*\(16, 16\)"):
        made(row, other.SerializeToString())


def foreign() -> bytes:
    """An operator of somebody's library."""
    shape = (1, 3, SIDE, SIDE)
    graph = helper.make_graph(
        [helper.make_node("Spell", ["x"], ["y"], domain="example.custom")],
        "stub",
        [value("x", shape)],
        [value("y", shape)],
    )
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("example.custom", 1)]
    model: bytes = helper.make_model(graph, opset_imports=sets, ir_version=8).SerializeToString()
    return model


@pytest.mark.parametrize(
    "given", [b"no graph", foreign(), graphs.picture(SIDE)[:-40]], ids=["text", "foreign", "cut"]
)
def test_what_is_no_graph(given: bytes, made: Made) -> None:
    """Damaged files, and graphs that need code which is not the runtime's own, are refused in one
    line.
    """
    with pytest.raises(WeightsMismatch, match=r"stub\.onnx cannot be run: ") as caught:
        made(ROW, given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("where", ["../outside.bin", "/etc/hostname", "outside.bin"])
def test_numbers_from_outside_the_file(where: str, made: Made, tmp_path: Path) -> None:
    """A graph cannot have other files of the machine read for it."""
    (tmp_path.parent / "outside.bin").write_bytes(bytes(4 * 81))
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=(3, 3, 3, 3))
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=where)
    shape = (1, 3, SIDE, SIDE)
    given = blob(
        [node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])],
        [value("x", shape)],
        [value("y", shape)],
        [tensor],
    )
    with pytest.raises(WeightsMismatch, match="cannot be run"):
        made(replace(ROW, output="change"), given)


def greedy(power: int, squares: int = 3) -> bytes:
    """Beside what it is given it fills 4 * 4 ** ``power`` * N ** 2 ** ``squares`` bytes."""
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "first"], ["n0"], axis=0),
        *(node("Mul", [f"n{at}"] * 2, [f"n{at + 1}"]) for at in range(squares)),
        node("Mul", [f"n{squares}", "size"], ["sizes"]),
        node("ConstantOfShape", ["sizes"], ["much"]),
        node("ReduceSum", ["much"], ["none"], keepdims=0),
        node("Add", ["x", "none"], ["y"]),
    ]
    numbers = [
        numpy_helper.from_array(np.array([0], np.int64), "first"),
        numpy_helper.from_array(np.array([4**power], np.int64), "size"),
    ]
    shape = ("n", 3, SIDE, SIDE)
    return blob(nodes, [value("x", shape)], [value("y", shape)], numbers)


def test_memory_is_measured(made: Made) -> None:
    """What a graph fills while it runs is seen, for one sample and for two."""
    light, heavy = (
        made(replace(ROW, output="change"), eye()),
        made(replace(ROW, output="change"), greedy(7)),
    )
    (_, thin), _ = light.peaks
    (one, few), (two, many) = heavy.peaks
    assert (one, two) == (1, 2)
    assert few >= thin + 4 * 4**7
    assert many >= few + 255 * 4 * 4**7
    assert few < 2 * (thin + 4 * 4**7)
    assert thin >= 2 * pictures(1).size * 4, "a sample as floats, in and out"


def test_memory_that_is_not_there(made: Made) -> None:
    """What does not fit is a MemoryError, and the model goes on afterwards."""
    with pytest.raises(MemoryError, match=r"stub\.onnx"):
        made(replace(ROW, output="change"), greedy(24))
    model = made(replace(ROW, output="change"), greedy(7))
    samples = pictures(30)
    with pytest.raises(MemoryError):
        model(samples)
    assert model(samples[:2]).shape == (2, SIDE, SIDE, 3)


def test_an_arena_of_a_device_that_ran_out_is_not_used_again(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There the session is opened anew at the next run, and gives what it gave."""
    model = made(replace(ROW, output="change"), greedy(7))
    monkeypatch.setitem(runtime.ARENAS, CPU, "cpu:0")
    before, session = model(pictures(2)), model._session
    with pytest.raises(MemoryError):
        model(pictures(30))
    assert np.array_equal(model(pictures(2)), before)
    assert model._session is not session


def test_a_temporary_folder_that_is_not_there(
    made: Made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What is needed to measure is said in one line; a full one as well."""
    with monkeypatch.context() as gone:
        gone.setattr(tempfile, "tempdir", str(tmp_path / "none"))
        with pytest.raises(ModelError, match=r"cannot be measured .*TMPDIR") as caught:
            made(ROW, eye())
    assert "\n" not in str(caught.value)
    path = made(ROW, graphs.picture(SIDE))._path
    with Profile() as profile:
        session = profile.open(path, Place(CPU))
        cut = tmp_path / "cut.json"
        cut.write_text("[")
        monkeypatch.setattr(session, "end_profiling", lambda: str(cut))
        with pytest.raises(ModelError, match=r"cannot be measured .*TMPDIR"):
            profile.read(session)


@pytest.mark.parametrize("given", [b"no graph", graphs.picture(64), not_a_number()])
def test_nothing_temporary_stays(
    given: bytes, made: Made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of a graph that is loaded, nor of one that is refused."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = set(tmp_path.rglob("*"))
    made(ROW, graphs.picture(SIDE))
    with pytest.raises(WeightsMismatch):
        made(ROW, given)
    gc.collect()
    left = {path.name for path in set(tmp_path.rglob("*")) - before}
    assert not [name for name in left if name.startswith("portrayer-") or "run" in name]


def test_two_that_do_not_fit_cost_twice_one(made: Made) -> None:
    """Where one sample fits and two do not, one is the measure of both, and many may be tried."""
    model = made(replace(ROW, output="change"), greedy(8, 5))
    (_, one), (_, two) = model.peaks
    assert two == 2 * one > 4 * 4**8
    assert not model.single


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the resident size")
def test_a_model_that_is_dropped_gives_its_memory_back(made: Made) -> None:
    """Weights and arena go with the last reference, without the collector's help."""
    libc, process = ctypes.CDLL("libc.so.6"), psutil.Process()

    def resident() -> int:
        libc.malloc_trim(0)
        return int(process.memory_info().rss)

    width = 4096  # 64 MiB
    row = replace(ROW, side=0, output="vector", graph=Graph(vector="v", width=width))
    given = graphs.converter(width, "v", batch="n")
    made(row, given)
    gc.collect()
    before = resident()
    gc.disable()
    try:
        model = made(row, given)
        assert model.bytes >= 4 * width**2
        assert resident() - before >= 4 * width**2 // 2
        del model
        assert resident() - before < 4 * width**2 // 4
    finally:
        gc.enable()


def test_without_the_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says what to install."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match=r"pip install 'portrayer\[onnx\]'") as caught:
        load(ROW)
    assert "\n" not in str(caught.value)


def offers(monkeypatch: pytest.MonkeyPatch, *providers: str) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [*providers, CPU])


OFFERED = [
    ("cpu", (), CPU),
    ("cpu", ("OpenVINOExecutionProvider",), "OpenVINOExecutionProvider"),
    ("cpu", ("DmlExecutionProvider",), "DmlExecutionProvider"),
    ("cpu", ("CUDAExecutionProvider",), CPU),
    ("mps", ("CoreMLExecutionProvider",), "CoreMLExecutionProvider"),
    ("cuda:1", ("TensorrtExecutionProvider", "CUDAExecutionProvider"), "CUDAExecutionProvider"),
]


@pytest.mark.parametrize(("device", "there", "chosen"), OFFERED)
def test_the_provider_follows_the_device(
    device: str, there: tuple[str, ...], chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what the installed runtime offers; no CUDA where the CPU was asked for, but DirectML, for
    which torch has no device, where its runtime was installed.
    """
    offers(monkeypatch, *there)
    assert place(device).provider == chosen


def test_a_device_that_the_runtime_cannot_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said, with what to install: nothing falls back in silence."""
    offers(monkeypatch)
    with pytest.raises(ModelError, match=r"cannot run on cuda:0: .*portrayer\[onnx-gpu\]"):
        place("cuda:0")


def test_a_provider_that_does_not_start(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the runtime goes on without it, it is said: nothing falls back in silence."""
    offers(monkeypatch, "CUDAExecutionProvider")
    path = made(ROW)._path
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the runtime's own
        with pytest.raises((ModelError, WeightsMismatch), match="CUDAExecutionProvider"):
            runtime.open_session(path, place("cuda:0"))


def test_a_gpu_is_told_its_number_and_its_bounds() -> None:
    """The arena of a GPU grows as it is asked to, and no further than the budget."""
    (name, options), rest = Place("CUDAExecutionProvider", "1", 2**30).providers()
    assert (name, rest) == ("CUDAExecutionProvider", CPU)
    assert options == {
        "device_id": "1",
        "gpu_mem_limit": str(2**30),
        "arena_extend_strategy": "kSameAsRequested",
    }
    shrinks = Place("CUDAExecutionProvider", "1").run_options()
    entry = shrinks.get_run_config_entry("memory.enable_memory_arena_shrinkage")
    assert entry == "gpu:1"
