"""The last of a graph's numbers, read without a runtime."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from portrayer.errors import DownloadFailed, WeightsMismatch
from portrayer.models.initialisers import last

from . import graphs

NUMBERS = np.random.default_rng(0).standard_normal((3, 4))
KINDS = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "float64": TensorProto.DOUBLE,
}


def written(path: Path, *tensors: TensorProto) -> Path:
    shape = (1, 3, 8, 8)
    parts = [graphs.node("Identity", ["x"], ["y"])], [graphs.value("x", shape)]
    model = graphs.proto(*parts, [graphs.value("y", shape)], tensors)
    return graphs.write(path / "stub.onnx", model.SerializeToString())


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_one_is_read(kind: str, tmp_path: Path) -> None:
    """As float32, in its own shape, whatever precision it was stored in."""
    first = numpy_helper.from_array(np.zeros((2, 2), np.float32), "first")
    stored = NUMBERS.astype(kind)
    found = last(written(tmp_path, first, numpy_helper.from_array(stored, "last")))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, stored.astype(np.float32))


def test_numbers_may_be_stored_as_fields(tmp_path: Path) -> None:
    """A writer may put float32 into ``float_data``."""
    tensor = helper.make_tensor("last", TensorProto.FLOAT, (3, 4), NUMBERS.ravel().tolist())
    assert tensor.float_data
    np.testing.assert_allclose(last(written(tmp_path, tensor)), NUMBERS, rtol=1e-6)


NONE: list[tuple[tuple[TensorProto, ...], str]] = [
    ((), "no initialiser"),
    ((numpy_helper.from_array(np.array([1, 2], np.int64), "whole"),), "'whole'"),
]


@pytest.mark.parametrize(("tensors", "words"), NONE)
def test_there_may_be_none(tensors: Any, words: str, tmp_path: Path) -> None:
    """Or none of real numbers, which is said."""
    with pytest.raises(WeightsMismatch, match=words):
        last(written(tmp_path, *tensors))


BLOB = graphs.swapper(8, 4)


@given(st.integers(0, len(BLOB) - 1), st.binary(max_size=3))
def test_damaged_files(tmp_path_factory: pytest.TempPathFactory, cut: int, more: bytes) -> None:
    """Whatever is cut away or put in, it is numbers or a mismatch, and nothing else."""
    path = graphs.write(tmp_path_factory.getbasetemp() / "cut.onnx", BLOB[:cut] + more)
    with suppress(WeightsMismatch):
        assert last(path).dtype == np.float32


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """It is said, as of any weights."""
    with pytest.raises(DownloadFailed, match="cannot be read"):
        last(tmp_path / "none.onnx")
