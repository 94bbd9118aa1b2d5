"""A model on its device: folded without a change, and blind to its neighbours in a batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from portrayer.models import weights
from portrayer.models.catalog import CATALOG
from portrayer.models.model import Model, build, fold, load
from portrayer.models.outputs import OUTPUTS
from portrayer.models.spec import ModelSpec, Weights
from portrayer.nets.unet import UNet

from .origin import small, tensors

SIDE = 64
ROW = ModelSpec("random", "matte", "unet:UNet", Weights("none", "", 0, "", ""), SIDE)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As the engine's replicas run."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def random_net(seed: int = 0) -> nn.Module:
    """A network with every weight and every batch norm's statistics as after a training."""
    generator = torch.manual_seed(seed)
    net = UNet()
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor, low, high in (
                (part.weight, 0.3, 1.0),
                (part.bias, -0.2, 0.2),
                (part.running_mean, -0.5, 0.5),
                (part.running_var, 0.5, 2.0),
            ):
                assert tensor is not None
                nn.init.uniform_(tensor, low, high, generator=generator)
        elif isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, generator=generator)
    return net.eval().requires_grad_(False)


def ready(dtype: torch.dtype = torch.float32) -> Model:
    model = Model(ROW, fold(random_net()))
    return model.to(dtype)


def pictures(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    coarse = torch.randint(0, 256, (count, 3, 8, 8), generator=generator).float()
    smooth = nn.functional.interpolate(coarse, size=SIDE, mode="bilinear")
    return smooth.permute(0, 2, 3, 1).to(torch.uint8)


def test_folding_keeps_the_outputs() -> None:
    """Without the batch norms that follow a convolution the network says the same, up to rounding,
    and has none of them left.
    """
    net, folded = random_net(), fold(random_net())
    x = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        before, after = net(x), folded(x)
    assert before.std() > 0.1, "a constant would prove nothing"
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3)
    chains = [list(part) for part in folded.modules() if isinstance(part, nn.Sequential)]
    pairs = [pair for chain in chains for pair in pairwise(chain)]
    assert any(isinstance(second, nn.Identity) for _, second in pairs)
    assert not any(
        isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d)
        for first, second in pairs
    )


def test_folding_leaves_alone_what_does_not_follow_a_convolution() -> None:
    """A batch norm that stands elsewhere stays where it is."""
    net = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.BatchNorm2d(3)).eval()
    fold(net)
    assert [type(part) for part in net] == [nn.BatchNorm2d, nn.ReLU, nn.BatchNorm2d]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_neighbours_do_not_matter(dtype: torch.dtype) -> None:
    """A sample alone gives what it gives in any batch and at any place, within 1/255."""
    model, samples = ready(dtype), pictures(5)
    with torch.inference_mode():
        together = model(samples)
        assert together.std() > 0.05, "a constant would prove nothing"
        for size in (1, 2, 4):
            apart = torch.cat([model(part) for part in samples.split(size)])
            assert (apart - together).abs().max() <= 1 / 255
        turned = model(samples.flip(0)).flip(0)
        assert (turned - together).abs().max() <= 1 / 255


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_output_is_what_the_rule_says(dtype: torch.dtype) -> None:
    """``alpha`` is float32 (N, S, S) in 0..1 in every precision."""
    with torch.inference_mode():
        alpha = ready(dtype)(pictures(2))
    assert alpha.dtype == torch.float32
    assert alpha.shape == (2, SIDE, SIDE)
    assert alpha.min() >= 0
    assert alpha.max() <= 1


def test_half_a_precision_is_half_the_bytes() -> None:
    """A model knows what its weights take, in its precision, normalisation and all."""
    single, half = ready(), ready(torch.bfloat16)
    counters = sum(t.nbytes for t in half.buffers() if not t.is_floating_point())
    assert single.bytes - counters == 2 * (half.bytes - counters) > 4 * 10**6
    assert half.bytes == sum(t.nbytes for t in half.state_dict().values())


def test_pictures_are_normalised_with_the_rows_own_numbers() -> None:
    """The network sees (x - mean) / std of RGB in that order, channels first."""
    seen: list[Tensor] = []

    class Eye(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return x[:, :1]

    row = ModelSpec("eye", "matte", "", ROW.weights, 2, mean=(10, 20, 30), std=(1, 2, 4))
    image = torch.tensor([11, 22, 38], dtype=torch.uint8).expand(1, 2, 2, 3)
    Model(row, Eye())(image)
    np.testing.assert_allclose(seen[0][0, :, 0, 0].numpy(), [1, 1, 2], rtol=1e-6)


NETS = {name: row for name, row in CATALOG.items() if row.graph is None}


@pytest.mark.parametrize("row", NETS.values(), ids=NETS)
def test_every_row_can_be_built(row: ModelSpec) -> None:
    """A row's network exists and takes its side, and its output rule is known; what a user brings
    has an address, and its size is that of the network."""
    with torch.device("meta"):
        net: Any = build(row)
    assert isinstance(net, nn.Module)
    assert row.output in OUTPUTS
    assert row.side % 32 == 0
    assert row.weights.name == row.name or row.weights.shipped
    if row.weights.shipped:
        assert len(row.weights.sha256) == 64
    else:
        assert all(url.startswith("https://") for url in row.weights.urls)
        assert row.weights.bytes == sum(t.nbytes for t in net.state_dict().values())


HALVES = [
    ("", torch.float16, torch.float16),
    ("", torch.float32, torch.float32),
    ("float32", torch.bfloat16, torch.float32),
    ("float32", torch.float16, torch.float32),
    ("bfloat16", torch.float16, torch.bfloat16),
    ("bfloat16", torch.bfloat16, torch.bfloat16),
    ("bfloat16", torch.float32, torch.float32),
]


@pytest.mark.parametrize(("asked", "device", "given"), HALVES)
def test_a_row_may_ask_for_more_than_half_precision(
    asked: str,
    device: torch.dtype,
    given: torch.dtype,
    tmp_path: Path,
    nets: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Half precision is replaced by what the row asks for; nothing ever becomes coarser."""
    monkeypatch.setattr(weights, "load", lambda _: tensors())
    loaded = load(replace(small(tmp_path), precision=asked), torch.device("cpu"), device)
    assert {t.dtype for t in loaded.state_dict().values() if t.is_floating_point()} == {given}
