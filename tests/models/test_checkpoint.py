"""A file of weights is read in every form it is published in, and never trusted."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from torch import Tensor, nn

from portrayer.errors import InputError, ModelError, PortrayerError, WeightsMismatch
from portrayer.models import checkpoint

from .origin import Small, tensors, torch_file


def read(path: Path) -> dict[str, Tensor]:
    return checkpoint.read(path, "the file")


def refused(path: Path, error: type[PortrayerError] = WeightsMismatch) -> str:
    """The one line that says no."""
    with pytest.raises(error) as caught:
        read(path)
    assert type(caught.value) is error
    line = str(caught.value)
    assert "\n" not in line
    assert "\x1b" not in line
    assert line.startswith("the file ")
    return line


def kept(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def prefixed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"module.{key}": tensor for key, tensor in state.items()}


def parameters(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: nn.Parameter(t) if t.is_floating_point() else t for k, t in state.items()}


FORMS: dict[str, Callable[[dict[str, Tensor]], bytes]] = {
    "safetensors": save,
    "torch": torch_file,
    "torch before 1.6": lambda state: torch_file(state, _use_new_zipfile_serialization=False),
    "parameters": lambda state: torch_file(parameters(state)),
    "module.": lambda state: torch_file(prefixed(state)),
    "safetensors module.": lambda state: save(prefixed(state)),
    "both": lambda state: torch_file({"params_ema": prefixed(state)}),
    "a training": lambda state: torch_file({"g": {}, "g_ema": state, "d": {}, "iter": 3}),
    "two": lambda state: torch_file({"params": tensors(1), "params_ema": state}),
    **{
        key: lambda state, key=key: torch_file({key: state})  # type: ignore[misc]
        for key in checkpoint.WRAPPERS
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_the_same(form: str, tmp_path: Path) -> None:
    """Flat or wrapped, new or old, by whatever name: the same tensors under the same keys."""
    state = tensors()
    found = read(kept(tmp_path / "any.name", FORMS[form](state)))
    assert list(found) == list(state) or "safetensors" in form
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) for key in state)
    checkpoint.check(found, Small(), "it")


def test_precision_is_kept(tmp_path: Path) -> None:
    """What is half precision in the file is so here."""
    halves = {key: tensor.half() for key, tensor in tensors().items()}
    found = read(kept(tmp_path / "half.pth", torch_file(halves)))
    assert {tensor.dtype for tensor in found.values()} == {torch.float16}


class Payload:
    """Unpickled by trusting hands, it leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"echo > {self.mark}",)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("deep", [True, False])
def test_no_code_is_run(zipped: bool, deep: bool, tmp_path: Path) -> None:
    """A file that carries a command is refused, and names it; the command was a real one."""
    mark = tmp_path / "it ran".replace(" ", "-")
    payload = Payload(mark)
    evil = torch_file(
        {**tensors(), "x": payload} if deep else payload, _use_new_zipfile_serialization=zipped
    )
    assert ".system" in refused(kept(tmp_path / "evil.pth", evil))
    assert not mark.exists()
    torch.load(tmp_path / "evil.pth", weights_only=False)
    assert mark.exists(), "a harmless payload would prove nothing"


def test_no_plain_pickle_is_run(tmp_path: Path) -> None:
    """Nor is one that torch has never seen."""
    mark = tmp_path / "ran"
    for protocol in (0, 2, 4):
        refused(kept(tmp_path / "evil.pth", pickle.dumps(Payload(mark), protocol)))
    assert not mark.exists()


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    """Its class would have to be imported; the line says what to save instead."""
    line = refused(kept(tmp_path / "net.pth", torch_file(nn.Linear(2, 2))))
    assert "torch.nn.modules.linear.Linear" in line
    assert "state dict" in line


def circle() -> dict[str, Any]:
    made: dict[str, Any] = {}
    made["params"] = made
    return made


OTHERS: dict[str, Callable[[], Any]] = {
    "nothing": dict,
    "a list": lambda: [torch.ones(2)],
    "a tensor": lambda: torch.ones(2),
    "a number among tensors": lambda: {**tensors(), "epoch": 3},
    "numbered keys": lambda: {1: torch.ones(2)},
    "an unknown wrapper": lambda: {"model": tensors()},
    "an empty wrapper": lambda: {"params": {}},
    "two deep": lambda: {"params": {"params": tensors()}},
    "itself": circle,
    "complex": lambda: {"a": torch.ones(2, dtype=torch.complex64)},
    "sparse": lambda: {"a": torch.eye(3).to_sparse()},
    "no memory": lambda: {"a": torch.ones(3, device="meta")},
}


@pytest.mark.parametrize("other", OTHERS)
def test_only_a_state_dict_will_do(other: str, tmp_path: Path) -> None:
    """Whatever else torch can save is refused in one line."""
    refused(kept(tmp_path / "other.pth", torch_file(OTHERS[other]())))


WHOLE = {
    "safetensors": save(tensors()),
    "torch": torch_file(tensors()),
    "torch before 1.6": torch_file(tensors(), _use_new_zipfile_serialization=False),
}


@pytest.mark.parametrize("form", WHOLE)
@given(share=st.floats(0, 1, exclude_max=True))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_cut_short_is_refused(form: str, share: float, tmp_path: Path) -> None:
    """Wherever it ends, one line says so."""
    whole = WHOLE[form]
    assert "cut short" in refused(kept(tmp_path / "cut", whole[: int(len(whole) * share)]))


@given(noise=st.binary(max_size=64))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_noise_is_refused(noise: bytes, tmp_path: Path) -> None:
    """Bytes that are no weights give the same line, whatever they look like at first."""
    for start in (b"", b"PK\x03\x04", b"\x80\x02", b"12345678{", b"<!doctype html>"):
        refused(kept(tmp_path / "noise", start + noise))


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    """A name that leads nowhere is the caller's to mend."""
    assert "No such file" in refused(tmp_path / "none.pth", InputError)
    assert "directory" in refused(tmp_path, InputError)


@pytest.mark.parametrize("version", ["2.4.1", "2.9.1+cu121"])
def test_an_old_torch_does_not_read_torch_files(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their ``weights_only`` can be got around; safetensors are read all the same."""
    monkeypatch.setattr(torch, "__version__", version)
    assert version in refused(kept(tmp_path / "a.pth", WHOLE["torch"]), ModelError)
    assert read(kept(tmp_path / "a.safetensors", WHOLE["safetensors"])).keys() == tensors().keys()


def complaint(state: dict[str, Tensor]) -> str:
    with pytest.raises(WeightsMismatch) as caught:
        checkpoint.check(state, Small(), "it does not fit")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@given(st.sets(st.sampled_from(list(tensors())), min_size=1), st.booleans(), st.booleans())
def test_the_first_missing_key_is_named(gone: set[str], more: bool, shaped: bool) -> None:
    """In the network's own order, whatever the file's, and before anything else that is wrong."""
    state = {key: tensor for key, tensor in reversed(tensors().items()) if key not in gone}
    state |= {"another": torch.ones(1)} if more else {}
    if shaped and state:
        state[next(iter(state))] = torch.ones(7)
    first = next(key for key in tensors() if key in gone)
    assert complaint(state) == f"it does not fit: {first!r} is missing"


def test_then_what_is_too_much_then_what_is_misshapen() -> None:
    """Both shapes are named."""
    state = tensors() | {"first.weight": torch.ones(96, 3, 1, 1), "last.bias": torch.ones(4)}
    wrong = "'first.weight' has shape (96, 3, 1, 1), the network's is (96, 3, 3, 3)"
    assert complaint(state).endswith(wrong)
    more = state | {"a\nb": torch.ones(1), "c": torch.ones(1)}
    assert complaint(more).endswith(r"'a\nb' is not in the network")
