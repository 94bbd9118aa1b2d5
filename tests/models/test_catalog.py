"""The catalogue's rows are whole and agree with one another; each of a graph runs one of its
declared shapes; a user's own model is found beside them.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from portrayer.errors import ChecksumMismatch, InputError, UnknownModel, WeightsMismatch
from portrayer.models import installed, model, onnx
from portrayer.models.catalog import CATALOG, NEEDS, following, own, spec
from portrayer.models.outputs import OUTPUTS
from portrayer.models.spec import ModelSpec
from portrayer.tasks import TASKS

from . import graphs
from .origin import inside

ROWS = list(CATALOG.values())
GRAPHS = [row for row in ROWS if row.graph is not None]
CPU_FLOAT = torch.device("cpu"), torch.float32


def ids(row: object) -> str:
    return row.name if isinstance(row, ModelSpec) else ""


# --- rows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ROWS, ids=ids)
def test_a_row_is_whole(row: ModelSpec) -> None:
    """A network or a graph, a rule for what comes out, a licence, an origin, and hashes that are
    hashes or nothing; what does not ship can be fetched, encrypted, by one name."""
    weights = row.weights
    assert bool(row.build) == (row.graph is None)
    assert weights.file.endswith(".safetensors" if row.graph is None else ".onnx")
    assert row.task in TASKS
    assert row.output in OUTPUTS
    assert (row.order, len(row.mean), len(row.std)) in (("RGB", 3, 3), ("BGR", 3, 3))
    assert weights.licence
    assert weights.origin
    assert weights.bytes > 0
    assert re.fullmatch(r"[0-9a-f]{64}|", weights.sha256)
    assert re.fullmatch(r"[0-9a-f]{32}|", weights.md5)
    assert weights.consent == (not weights.commercial)
    if not weights.shipped:
        assert weights.name == row.name
        assert len(set(weights.urls)) == len(weights.urls)
        for url in weights.urls:
            parts = urlsplit(url)
            assert (parts.scheme, bool(parts.netloc), bool(parts.path)) == ("https", True, True)


def test_no_two_models_share_a_file() -> None:
    """Nor an address; one that ships may be two rows."""
    brought = [row.weights for row in ROWS if not row.weights.shipped]
    for seen in (
        [each.file for each in brought],
        [each.sha256 for each in brought if each.sha256],
        [url for each in brought for url in each.urls],
    ):
        assert len(set(seen)) == len(seen)


def test_what_a_model_needs_is_there() -> None:
    """A recogniser first, whose vectors are as long as the converter, or the model, takes them;
    and a model that needs one which may not be used for money may not be either."""
    for name, (recogniser, *converters) in NEEDS.items():
        row = CATALOG[name]
        assert row.graph is not None
        assert CATALOG[recogniser].output == "vector"
        for converter in converters:
            graph = CATALOG[converter].graph
            assert graph is not None
            assert graph.width == row.graph.width
        free = all(CATALOG[each].weights.commercial for each in NEEDS[name])
        assert free or not row.weights.commercial
    swappers = {row.name for row in GRAPHS if row.graph and row.graph.vector and row.side}
    assert set(NEEDS) == swappers


# --- each row against a graph of its shapes -------------------------------------------------------


def installed_stub(row: ModelSpec, blob: bytes, folder: Path) -> ModelSpec:
    """``blob`` as a user's own model that is like ``row``."""
    made = following(row, "mine", graphs.write(folder / "given.onnx", blob), folder / "models")
    installed.add(made, folder / "given.onnx")
    return spec("mine", folder / "models")


@pytest.mark.parametrize("row", GRAPHS, ids=ids)
def test_a_row_runs_a_graph_of_its_shapes(row: ModelSpec, tmp_path: Path) -> None:
    """What comes out is float32, as many as went in, of the shape and range of the row's rule."""
    mine = installed_stub(row, graphs.of(row), tmp_path)
    rng, count, side = np.random.default_rng(0), 1 if row.side > 512 else 2, row.side
    assert row.graph is not None
    samples = rng.integers(0, 256, (count, side, side, 3), np.uint8) if side else None
    width = row.graph.width
    vectors = rng.standard_normal((count, width)).astype(np.float32) if width else None
    found = np.asarray(onnx.load(mine)(samples, vectors))
    shapes = {"vector": (512,), "yunet": (8400, 15)}
    shapes |= dict.fromkeys(("minmax", "sigmoid-minmax", "matte"), (side, side))
    shapes |= dict.fromkeys(("picture", "unit"), (side, side, 3))
    assert (found.shape, found.dtype) == ((count, *shapes[row.output]), np.float32)
    assert np.isfinite(found).all()
    if row.output not in ("vector", "yunet"):
        assert 0 <= found.min() < found.max() <= 1


@pytest.mark.parametrize("row", GRAPHS, ids=ids)
def test_a_graph_of_other_shapes_is_refused(row: ModelSpec, tmp_path: Path) -> None:
    """One that takes twice the side, or width, of the row: the line names its input and both, and
    nothing is kept."""
    assert row.graph is not None
    key, size = (row.graph.image, row.side) if row.side else (row.graph.vector, row.graph.width)
    wider = replace(row.graph, width=2 * row.graph.width)
    other = replace(row, side=2 * row.side) if row.side else replace(row, graph=wider)
    with pytest.raises(WeightsMismatch) as caught:
        installed_stub(row, graphs.of(other), tmp_path)
    line = str(caught.value)
    assert f"input '{key}" in line
    assert str(size) in line
    assert str(2 * size) in line
    assert inside(tmp_path / "models") == set()


# --- a user's own ---------------------------------------------------------------------------------


def test_an_own_model_is_found_by_its_name(tmp_path: Path) -> None:
    """With the conventions of what it is like, and where it came from; gone, it is unknown."""
    row = CATALOG["u2netp"]
    mine = installed_stub(row, graphs.of(row), tmp_path)
    same = ("task", "side", "mean", "std", "output", "graph", "order", "peak")
    assert all(getattr(mine, each) == getattr(row, each) for each in same)
    assert (mine.name, mine.like, mine.weights.file) == ("mine", "u2netp", "mine.onnx")
    assert mine.weights.urls == ((tmp_path / "given.onnx").as_uri(),)
    assert own(tmp_path / "models") == ["mine"]
    with pytest.raises(UnknownModel, match=r"u2netp.*, mine\)"):
        spec("yours", tmp_path / "models")
    installed.remove(mine)
    assert own(tmp_path / "models") == []
    with pytest.raises(UnknownModel):
        spec("mine", tmp_path / "models")


def test_like_an_own_model_is_like_its_row(tmp_path: Path) -> None:
    """Conventions come from the catalogue alone."""
    row = CATALOG["u2netp"]
    mine = installed_stub(row, graphs.of(row), tmp_path)
    assert following(mine, "next", tmp_path / "given.onnx", tmp_path).like == "u2netp"


def test_weights_of_ones_own(tmp_path: Path) -> None:
    """A network that ships, with other weights, is built and loaded; a graph in its place is one,
    and nothing of the weights stays."""
    row, folder = CATALOG["face-landmarks"], tmp_path / "models"
    file = tmp_path / "given.safetensors"
    save_file(dict(model.build(row).state_dict()), file)
    installed.add(following(row, "mine", file, folder), file)
    mine = spec("mine", folder)
    assert (mine.build, mine.graph) == (row.build, None)
    assert model.load(mine, *CPU_FLOAT).spec.like == "face-landmarks"
    given = graphs.write(tmp_path / "given.onnx", graphs.recogniser(row.side))
    made = following(CATALOG["arcface"], "mine", given, folder)
    with pytest.raises(WeightsMismatch):
        installed.add(made, given)
    assert spec("mine", folder).build == row.build
    arc = graphs.write(tmp_path / "given.onnx", graphs.of(CATALOG["arcface"]))
    installed.add(made, arc)
    assert spec("mine", folder).graph == CATALOG["arcface"].graph
    assert inside(folder) == {"mine.onnx", "mine.json"}


def test_a_graph_may_be_like_a_network(tmp_path: Path) -> None:
    """It takes what the network takes, and gives what it gives."""
    row = CATALOG["portrait-matting"]
    mine = installed_stub(row, graphs.picture(row.side, squash=""), tmp_path)
    assert (mine.build, mine.output) == ("", row.output)
    found = np.asarray(onnx.load(mine)(np.zeros((1, row.side, row.side, 3), np.uint8)))
    assert found.shape == (1, row.side, row.side)
    assert 0 < found.min() <= found.max() < 1


NAMES = ["", "Mine", "../mine", "a/b", ".mine", "a b", "x" * 65, "mine\n", "ü"]


@pytest.mark.parametrize("name", [*NAMES, "u2net"])
def test_what_cannot_be_a_name(name: str, tmp_path: Path) -> None:
    """What is taken, and what could be a path."""
    with pytest.raises(InputError):
        following(CATALOG["u2netp"], name, tmp_path / "a.onnx", tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_no_name_leads_out_of_the_folder(name: str, tmp_path: Path) -> None:
    """A name of another form is unknown, whatever lies where it points."""
    folder = tmp_path / "models"
    row = CATALOG["u2netp"]
    installed_stub(row, graphs.of(row), tmp_path)
    (tmp_path / "mine.json").write_bytes((folder / "mine.json").read_bytes())
    with pytest.raises(UnknownModel):
        spec(name, folder)


def test_weights_of_a_graph_are_none(tmp_path: Path) -> None:
    """What is like a graph is a graph; the line says which file is not."""
    with pytest.raises(InputError, match=r"u2netp is an ONNX graph.*a\.pth"):
        following(CATALOG["u2netp"], "mine", tmp_path / "a.pth", tmp_path)


@pytest.mark.parametrize("change", [{"like": "gone"}, {"like": ["u2netp"]}, {"bytes": "9"}])
def test_a_receipt_that_says_nonsense(change: dict[str, object], tmp_path: Path) -> None:
    """The model is not listed, and one line says that it is unknown or cannot be read."""
    row = CATALOG["u2netp"]
    installed_stub(row, graphs.of(row), tmp_path)
    path = tmp_path / "models" / "mine.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises((UnknownModel, ChecksumMismatch)):
        spec("mine", tmp_path / "models")
    assert own(tmp_path / "models") == []
