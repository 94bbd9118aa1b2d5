"""Weights are the published ones, whole, and fit; or there is one line that says what is wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save, save_file

from portrayer.errors import (
    ChecksumMismatch,
    DownloadFailed,
    ModelError,
    PortrayerError,
    UnknownModel,
    WeightsMismatch,
)
from portrayer.models import model, weights
from portrayer.models.catalog import CATALOG, spec
from portrayer.models.spec import ModelSpec, Weights
from portrayer.nets.unet import UNet

CPU = torch.device("cpu")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where weights lie instead of in the package."""
    monkeypatch.setattr(weights, "locate", lambda row: tmp_path / row.file)
    return tmp_path


def row(path: Path) -> ModelSpec:
    """A spec whose checksum is that of the file."""
    blob = path.read_bytes()
    sha256 = hashlib.sha256(blob).hexdigest()
    return ModelSpec("m", "matte", "unet:UNet", Weights(path.name, sha256, len(blob), "", ""), 64)


@pytest.fixture(scope="module")
def blob() -> bytes:
    torch.manual_seed(0)
    return save({name: t.half() for name, t in UNet().state_dict().items()})


@pytest.fixture
def good(place: Path, blob: bytes) -> Path:
    path = place / "good.safetensors"
    path.write_bytes(blob)
    return path


def test_good_weights_load(good: Path) -> None:
    """Half precision on disk becomes float32, and then what was asked for, ready to infer."""
    tensors = weights.load(row(good).weights)
    assert {t.dtype for t in tensors.values()} == {torch.float32}
    loaded = model.load(row(good), CPU, torch.bfloat16)
    held = [t.dtype for t in loaded.state_dict().values() if t.is_floating_point()]
    assert set(held) == {torch.bfloat16}
    assert not loaded.training
    assert not any(weight.requires_grad for weight in loaded.parameters())
    assert loaded(torch.zeros(1, 64, 64, 3, dtype=torch.uint8)).shape == (1, 64, 64)


def cut(path: Path) -> ModelSpec:
    path.write_bytes(path.read_bytes()[:-1000])
    return row(path)


def empty(path: Path) -> ModelSpec:
    path.write_bytes(b"")
    return row(path)


def no_safetensors(path: Path) -> ModelSpec:
    path.write_bytes(b"PK\x03\x04 a pickle, perhaps" * 100)
    return row(path)


def changed(path: Path) -> ModelSpec:
    before = row(path)
    blob = bytearray(path.read_bytes())
    blob[len(blob) // 2] ^= 1
    path.write_bytes(blob)
    return before


def shaped(path: Path) -> ModelSpec:
    tensors = load(path.read_bytes())
    tensors["head.weight"] = tensors["head.weight"][:2].clone()
    save_file(tensors, path)
    return row(path)


def lacking(path: Path) -> ModelSpec:
    tensors = load(path.read_bytes())
    tensors.pop("head.weight")
    save_file(tensors, path)
    return row(path)


def gone(path: Path) -> ModelSpec:
    before = row(path)
    path.unlink()
    return before


def folder(path: Path) -> ModelSpec:
    before = gone(path)
    path.mkdir()
    return before


WRONG = [
    (cut, WeightsMismatch),
    (empty, WeightsMismatch),
    (no_safetensors, WeightsMismatch),
    (changed, ChecksumMismatch),
    (shaped, WeightsMismatch),
    (lacking, WeightsMismatch),
    (gone, DownloadFailed),
    (folder, DownloadFailed),
]


@pytest.mark.parametrize(("wrong", "error"), WRONG, ids=lambda x: getattr(x, "__name__", None))
def test_what_is_wrong_is_said_in_one_line(
    good: Path, wrong: Callable[[Path], ModelSpec], error: type[ModelError]
) -> None:
    """Each way to be wrong has its error, which names the file, in one line."""
    bad = wrong(good)
    with pytest.raises(error) as caught:
        model.load(bad, CPU, torch.float32)
    assert type(caught.value) is error
    assert "good.safetensors" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mismatch_says_which(good: Path) -> None:
    """Weights of another network: the line names the network and a tensor."""
    with pytest.raises(WeightsMismatch, match=r"unet:UNet.*head\.weight"):
        model.load(lacking(good), CPU, torch.float32)


def test_a_damaged_file_mended_is_found_good(good: Path) -> None:
    """A failed check is not remembered."""
    blob = good.read_bytes()
    bad = changed(good)
    with pytest.raises(ChecksumMismatch):
        weights.verify(bad.weights)
    good.write_bytes(blob)
    assert weights.verify(bad.weights) == good


def test_missing_from_the_package() -> None:
    """A file that the package does not have is said to be missing, and what to do."""
    missing = replace(next(iter(CATALOG.values())).weights, file="nothing.safetensors")
    with pytest.raises(DownloadFailed, match=r"nothing\.safetensors is missing.*install") as caught:
        weights.locate(missing)
    assert "\n" not in str(caught.value)


def test_missing_from_the_users_folder(tmp_path: Path) -> None:
    """A model that a user has to bring is said to be missing, with what brings it and its size; be
    it weights or a graph."""
    for name, size in (("gpen-512", "271 MiB"), ("yunet", "227 KiB")):
        missing = spec(name, tmp_path).weights
        with pytest.raises(DownloadFailed) as caught:
            weights.locate(missing)
        assert f"`portrayer models pull {name}` brings it ({size})" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_mirror_stands_for_the_hosts() -> None:
    """At the same path, query and all, once for addresses that differ in nothing else; then come
    the addresses themselves. A file of the user's has no mirror."""
    urls = ("https://a.b/c/d?e=f", "https://g.h/i", "https://j.k/i", "file:///l")
    row = Weights("m.onnx", "", 1, "", "", urls)
    assert weights.addresses(row) == urls
    mirrored = ("http://m/n/c/d?e=f", "http://m/n/i")
    assert weights.addresses(row, "http://m/n") == (*mirrored, *urls)


def test_where_a_users_models_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the folder that is named, else in the settings' own; never in the package."""
    monkeypatch.setenv("PORTRAYER_MODELS", str(tmp_path / "own"))
    for folder, there in ((None, tmp_path / "own"), (tmp_path / "other", tmp_path / "other")):
        assert weights.place(spec("gpen-256", folder).weights) == there / "gpen-256.safetensors"
    shipped = spec("portrait-matting", tmp_path).weights
    assert weights.place(shipped) == weights.place(spec("portrait-matting").weights)


@pytest.mark.weights
@pytest.mark.parametrize("name", [name for name in CATALOG if CATALOG[name].weights.shipped])
def test_the_shipped_weights_are_those_of_the_catalogue(name: str) -> None:
    """What lies in the package has the row's checksum and size, and fits the row's network."""
    shipped = spec(name)
    try:
        path = weights.locate(shipped.weights)
    except PortrayerError as error:
        pytest.skip(str(error))
    assert weights.verify(shipped.weights) == path
    assert path.stat().st_size == shipped.weights.bytes
    assert model.load(shipped, CPU, torch.float32).bytes > shipped.weights.bytes


def test_an_unknown_name_hears_the_known_ones() -> None:
    """The error lists what there is."""
    with pytest.raises(UnknownModel) as caught:
        spec("portrait-matte")
    assert all(name in str(caught.value) for name in CATALOG)
