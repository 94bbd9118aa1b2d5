"""Models that a user brings: what is installed is whole, known and agreed to, or not at all."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from onnx import load_model_from_string, save_model
from safetensors.torch import load_file, save

from portrayer.errors import (
    ChecksumMismatch,
    DownloadFailed,
    InputError,
    OutputError,
    PortrayerError,
    WeightsMismatch,
)
from portrayer.models import catalog, installed, model, onnx, receipt, weights

from . import graphs
from .origin import (
    CONTENT,
    GRAPH,
    KEPT,
    SHA256,
    WHOLE,
    Origin,
    cuts,
    cutter,
    inside,
    runs,
    small,
    tensors,
    torch_file,
)

pytestmark = pytest.mark.usefixtures("nets")

CPU = torch.device("cpu")

# --- a file of one's own --------------------------------------------------------------------------


def test_a_file_is_installed(folder: Path, given: Path) -> None:
    """As safetensors, with a receipt that says what came from where; it loads and answers."""
    spec, before = small(folder), datetime.now(UTC).replace(microsecond=0)
    made = installed.add(spec, given)
    assert inside(folder) == WHOLE
    assert installed.installed(spec) == made == receipt.read(folder / "small.json")
    path = weights.verify(spec.weights)
    assert path == folder / "small.safetensors"
    assert (made.source, made.source_sha256) == (str(given), SHA256)
    assert made.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert made.bytes == path.stat().st_size
    assert (made.licence, made.consented) == ("for tests", "")
    assert before <= datetime.fromisoformat(made.added) <= datetime.now(UTC)
    assert runs(spec)


def test_views_of_one_another_are_installed(folder: Path, given: Path) -> None:
    """Tensors that share their memory, or lie crosswise in it, become plain ones."""
    state = tensors()
    shared = torch.cat([state["norm.weight"], state["first.bias"]])
    state["norm.weight"], state["norm.running_var"] = shared[:96], shared[:96]
    state["last.weight"] = state["last.weight"].to(memory_format=torch.channels_last)
    given.write_bytes(torch_file(state))
    installed.add(small(folder), given)
    found = load_file(folder / "small.safetensors")
    assert all(torch.equal(found[key], state[key]) for key in state)


def test_another_file_replaces_the_first(folder: Path, given: Path) -> None:
    """At once: the same process runs the new one."""
    spec = small(folder)
    installed.add(spec, given)
    assert runs(spec)
    given.write_bytes(torch_file(tensors(1)))
    installed.add(spec, given)
    assert runs(spec, seed=1)
    assert not runs(spec, seed=0)


def test_what_is_refused_changes_nothing(folder: Path, given: Path) -> None:
    """A file that does not fit names its key, and the model that was there stays."""
    spec = small(folder)
    first = installed.add(spec, given)
    state = tensors()
    del state["norm.bias"]
    given.write_bytes(torch_file(state))
    with pytest.raises(WeightsMismatch, match=r"given\.pth does not fit small:Small: 'norm\.bias'"):
        installed.add(spec, given)
    assert installed.installed(spec) == first
    assert runs(spec)
    assert inside(folder) == WHOLE


def test_checking_takes_no_memory(folder: Path, given: Path) -> None:
    """A file is held against a network that no machine could hold."""
    huge = replace(small(folder), build="small:Huge")
    with pytest.raises(WeightsMismatch, match=r"'wide\.weight' is missing"):
        installed.add(huge, given)
    assert inside(folder) == set()


def test_a_folder_that_cannot_be_written(tmp_path: Path, given: Path) -> None:
    """One line names the place."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file.*cannot be written"):
        installed.add(small(tmp_path / "file"), given)


def test_a_model_that_ships_is_not_brought(given: Path) -> None:
    """It is neither replaced nor fetched nor removed."""
    spec = catalog.spec("portrait-matting")
    before = weights.locate(spec.weights).read_bytes()
    for wish in (installed.pull, installed.remove, lambda s: installed.add(s, given)):
        with pytest.raises(InputError, match="comes with the package"):
            wish(spec)
    assert weights.locate(spec.weights).read_bytes() == before


@pytest.mark.parametrize("gone", sorted(WHOLE))
def test_half_of_it_is_none_of_it(gone: str, folder: Path, given: Path) -> None:
    """A file without its receipt, or a receipt without its file, is not installed."""
    spec = small(folder)
    installed.add(spec, given)
    (folder / gone).unlink()
    assert installed.installed(spec) is None
    for wish in (weights.verify, weights.load):
        with pytest.raises(DownloadFailed, match="`portrayer models pull small` brings it"):
            wish(spec.weights)
    installed.add(spec, given)
    assert runs(spec)


def test_damage_is_seen(folder: Path, given: Path) -> None:
    """One turned bit of the file, or a receipt that cannot be read."""
    spec = small(folder)
    installed.add(spec, given)
    path = folder / "small.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ChecksumMismatch, match="its receipt says"):
        weights.verify(spec.weights)
    path.write_bytes(whole)
    assert weights.verify(spec.weights) == path
    path.write_bytes(whole[:-1])
    with pytest.raises(ChecksumMismatch, match="its receipt says"):
        weights.verify(spec.weights)  # in the process that has found it right
    path.write_bytes(whole)
    for text in ("", "[]", "{}", '{"sha256": '):
        (folder / "small.json").write_text(text)
        with pytest.raises(ChecksumMismatch, match=r"small\.json cannot be read"):
            weights.verify(spec.weights)


def test_what_is_removed_is_gone(folder: Path, given: Path) -> None:
    """All of it; a model that was loaded before is told as missing afterwards, and a second time
    there is nothing to remove."""
    spec = small(folder)
    installed.add(spec, given)
    assert runs(spec)
    installed.remove(spec)
    assert inside(folder) == set()
    with pytest.raises(DownloadFailed, match="not installed"):
        model.load(spec, CPU, torch.float32)
    with pytest.raises(InputError, match="small is not installed"):
        installed.remove(spec)
    assert given.is_file()


# --- graphs ---------------------------------------------------------------------------------------


def test_a_graph_is_installed_as_it_is(folder: Path, tmp_path: Path) -> None:
    """To the byte; the file that was given stays where it is; a second one replaces it at once."""
    file, spec = graphs.write(tmp_path / "given.onnx", GRAPH), cutter(folder)
    made = installed.add(spec, file)
    assert inside(folder) == KEPT
    assert (folder / "cutter.onnx").read_bytes() == file.read_bytes() == GRAPH
    assert made.sha256 == made.source_sha256 == hashlib.sha256(GRAPH).hexdigest()
    assert (made.source, made.bytes, made.graph) == (str(file), len(GRAPH), True)
    assert cuts(spec)
    installed.add(spec, graphs.write(file, graphs.of(spec, seed=1)))
    assert (folder / "cutter.onnx").read_bytes() != GRAPH
    assert cuts(spec)
    installed.remove(spec)
    assert inside(folder) == set()


def test_a_graph_in_two_files(folder: Path, tmp_path: Path) -> None:
    """What would not come along is missed when it is added, not when it is used."""
    proto = load_model_from_string(GRAPH)
    save_model(proto, tmp_path / "given.onnx", save_as_external_data=True, size_threshold=0)
    with pytest.raises(WeightsMismatch, match=r"given\.onnx"):
        installed.add(cutter(folder), tmp_path / "given.onnx")
    assert inside(folder) == set()


def test_a_damaged_graph_is_seen_when_it_is_loaded(folder: Path, tmp_path: Path) -> None:
    """One turned bit; before anything reads it."""
    spec = cutter(folder)
    installed.add(spec, graphs.write(tmp_path / "given.onnx", GRAPH))
    (folder / "cutter.onnx").write_bytes(GRAPH[:-1] + bytes([GRAPH[-1] ^ 1]))
    with pytest.raises(ChecksumMismatch, match="its receipt says"):
        onnx.load(spec)


def test_another_file_is_not_the_published_one(folder: Path, tmp_path: Path) -> None:
    """By its name nothing else is installed; the line says what keeps it by another."""
    file = graphs.write(tmp_path / "given.onnx", GRAPH)
    with pytest.raises(ChecksumMismatch, match="--name keeps it as a model of your own"):
        installed.add(cutter(folder, md5="0" * 32), file)
    assert inside(folder) == set()
    assert installed.add(cutter(folder, md5=hashlib.md5(GRAPH).hexdigest()), file).graph


@pytest.mark.parametrize("content", [b"", b"\x00" * 999, CONTENT, GRAPH[: len(GRAPH) // 2]])
def test_what_is_no_graph(content: bytes, folder: Path, tmp_path: Path) -> None:
    """An empty file, nonsense, weights, half of one: a line names the file, and nothing changes."""
    file = graphs.write(tmp_path / "given.onnx", content)
    with pytest.raises(WeightsMismatch, match=r"given\.onnx") as caught:
        installed.add(cutter(folder), file)
    assert "\n" not in str(caught.value)
    assert inside(folder) == set()


# --- consent --------------------------------------------------------------------------------------


def test_a_licence_is_accepted_once(folder: Path, given: Path, origin: Origin) -> None:
    """Without consent nothing is read or fetched, and the licence is named; given once it is
    remembered, until the model is removed."""
    spec = small(folder, origin.url, consent=True)
    for wish in (installed.pull, lambda s: installed.add(s, given)):
        with pytest.raises(InputError, match=r"must be accepted first: for tests, here"):
            wish(spec)
    assert (inside(folder), origin.asked) == (set(), [])
    assert installed.unanswered(spec)
    when = installed.pull(spec, consented=True).consented
    assert datetime.fromisoformat(when).tzinfo is not None
    assert not installed.unanswered(spec)
    assert installed.add(spec, given).consented == when
    installed.remove(spec)
    assert installed.unanswered(spec)


def test_a_receipt_is_for_people_too(folder: Path, given: Path) -> None:
    """Plain JSON, with every field by its name."""
    installed.add(small(folder), given)
    written = json.loads((folder / "small.json").read_text())
    assert list(written) == [
        "source",
        "source_sha256",
        "sha256",
        "bytes",
        "licence",
        "consented",
        "added",
        "like",
        "graph",
    ]


def test_a_receipt_of_before_there_were_graphs(folder: Path, given: Path) -> None:
    """Is still one."""
    spec = small(folder)
    made = installed.add(spec, given)
    written = json.loads((folder / "small.json").read_text())
    del written["like"], written["graph"]
    (folder / "small.json").write_text(json.dumps(written))
    assert installed.installed(spec) == made
    assert runs(spec)


@pytest.mark.slow
def test_gpen_from_a_file_of_ones_own(folder: Path, given: Path) -> None:
    """A checkpoint with the published keys loads, restores, and one that lacks the last key says
    which."""
    spec = catalog.spec("gpen-256", folder)
    torch.manual_seed(0)
    state = model.build(spec).state_dict()
    given.write_bytes(torch_file({"g_ema": state}))
    installed.add(spec, given, consented=True)
    restored = model.load(spec, CPU, torch.float32)(torch.zeros(1, 256, 256, 3, dtype=torch.uint8))
    assert (restored.shape, restored.dtype) == ((1, 256, 256, 3), torch.float32)
    last = list(state)[-1]
    del state[last]
    given.write_bytes(save(state))
    with pytest.raises(PortrayerError, match=f"'{last}' is missing"):
        installed.add(spec, given)
