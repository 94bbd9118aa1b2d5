"""A model on its device: folded without a change, and blind to its neighbours in a batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from portrayer.models.catalog import CATALOG
from portrayer.models.model import OUTPUTS, Model, build, fold
from portrayer.models.spec import ModelSpec, Weights
from portrayer.nets.unet import UNet

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
    """Without its batch norms the network says the same, up to rounding, and has none left."""
    net, folded = random_net(), fold(random_net())
    x = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        before, after = net(x), folded(x)
    assert before.std() > 0.1, "a constant would prove nothing"
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.modules())


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
    assert single.bytes == 2 * half.bytes > 4 * 10**6
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


@pytest.mark.parametrize("row", CATALOG.values(), ids=CATALOG)
def test_every_row_can_be_built(row: ModelSpec) -> None:
    """A row's network exists and takes its side, and its output rule is known."""
    net: Any = build(row)
    assert isinstance(net, nn.Module)
    assert row.output in OUTPUTS
    assert row.side % 32 == 0
    assert len(row.weights.sha256) == 64
