"""GPEN's network against figures of the published one, and the laws its docstrings promise.

``gpen_fixture.json`` holds numbers that the upstream class gave for the weights and the faces made
here, and hashes of its keys and shapes; ``docs/gpen.md`` says how they were recorded.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from portrayer.nets.gpen import Gpen, gpen256, gpen512, gpen1024
from portrayer.nets.stylegan2 import ModulatedConv, UpsamplingConv

FIXTURE: Mapping[str, Any] = json.loads(
    Path(__file__).with_name("gpen_fixture.json").read_text(encoding="utf-8")
)
SIDE = 64
SEED = 2026

# Where a key first matches: the middle and the half width of what its values are drawn from.
RECIPE = (
    (r".*noise\.weight", 0.7, 0.5),
    (r".*modulation\.bias", 1.0, 0.5),
    (r".*modulation\.weight", 0.0, 0.5),
    (r"generator\.style\..*weight", 0.0, 173.0),
    (r"generator\.style\..*bias", 0.0, 20.0),
    (r".*bias", 0.0, 0.2),
    (r".*to_rgb.*weight", 0.0, 0.7),
    (r".*", 0.0, 1.73),
)


def uniform(seed: int, shape: tuple[int, ...]) -> Tensor:
    """Numbers in -1..1 from raw bits, which numpy promises to keep from version to version."""
    bits = np.random.PCG64(seed).random_raw(int(np.prod(shape)))
    numbers = (bits >> np.uint64(11)) * 2.0**-52 - 1
    return torch.from_numpy(numbers.astype(np.float32).reshape(shape))


def weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights that leave nothing at zero or one; the filters are as they are."""
    drawn = {}
    for seed, key in enumerate(sorted(state)):
        middle, half = next((m, h) for pattern, m, h in RECIPE if re.fullmatch(pattern, key))
        numbers = middle + half * uniform(seed, tuple(state[key].shape))
        drawn[key] = state[key] if key.endswith("kernel") else numbers
    return drawn


def faces(count: int = 2) -> Tensor:
    return uniform(SEED, (count, 3, SIDE, SIDE))


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture
def net() -> Gpen:
    """A narrow network of side 64 with the recipe's weights."""
    net = Gpen(SIDE, channel_multiplier=1, narrow=1 / 16).eval().requires_grad_(False)
    net.load_state_dict(weights(net.state_dict()))
    return net


@pytest.mark.parametrize("build", [gpen256, gpen512, gpen1024])
def test_keys_and_shapes_are_the_published_ones(build: Callable[[], Gpen]) -> None:
    """Every key of upstream's state dict is there with its shape, and no other."""
    with torch.device("meta"):
        state = build().state_dict()
    lines = "\n".join(sorted(f"{key} {list(value.shape)}" for key, value in state.items()))
    published = FIXTURE["states"][build.__name__]
    assert len(state) == published["keys"]
    assert hashlib.sha256(lines.encode()).hexdigest() == published["sha256"]


def test_the_same_weights_give_the_published_numbers(net: Gpen) -> None:
    """What upstream made of these weights and faces comes out again, to 1e-4."""
    step = FIXTURE["output"]["step"]
    recorded = torch.tensor(FIXTURE["output"]["values"])
    torch.testing.assert_close(net(faces())[:, :, ::step, ::step], recorded, rtol=0, atol=1e-4)


def test_the_layout_does_not_matter(net: Gpen) -> None:
    """Channels-last, as models are run, gives the same faces."""
    plain = net(faces())
    net.to(memory_format=torch.channels_last)
    laid = net(faces().to(memory_format=torch.channels_last))
    torch.testing.assert_close(laid, plain, rtol=0, atol=1e-4)


def test_a_state_comes_back_as_it_was_loaded(net: Gpen) -> None:
    """Whatever order a convolution keeps its weights in, its state has the published one."""
    loaded, state = weights(net.state_dict()), net.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


@pytest.mark.parametrize(
    "key", ["generator.convs.3.conv.weight", "generator.convs.2.conv.weight", "ecd2.0.1.weight"]
)
def test_a_state_that_does_not_fit_is_refused(net: Gpen, key: str) -> None:
    """A missing key, one too many and a wrong shape are named."""
    state = net.state_dict()
    with pytest.raises(RuntimeError, match=rf"Unexpected key.*{key}2"):
        net.load_state_dict(state | {f"{key}2": state[key]})
    with pytest.raises(RuntimeError, match=rf"size mismatch for {key}"):
        net.load_state_dict(state | {key: state[key][..., :2]})
    with pytest.raises(RuntimeError, match=rf"size mismatch for {key}"):
        net.load_state_dict(state | {key: torch.stack([*state[key], *state[key]])})
    del state[key]
    with pytest.raises(RuntimeError, match=rf"Missing key.*{key}"):
        net.load_state_dict(state)


def test_neighbours_do_not_matter(net: Gpen) -> None:
    """A face gives the same alone, in a batch, and at any place in it."""
    batch = faces(3)
    together, turned = net(batch), net(batch.flip(0)).flip(0)
    alone = torch.cat([net(face[None]) for face in batch])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    torch.testing.assert_close(turned, alone, rtol=0, atol=1e-5)


def test_a_published_size_runs() -> None:
    """(N, 3, side, side) gives its own shape."""
    with torch.inference_mode():
        assert gpen256()(torch.zeros(1, 3, 256, 256)).shape == (1, 3, 256, 256)


@pytest.mark.parametrize(
    ("dtype", "mean", "most"), [(torch.bfloat16, 0.012, 0.12), (torch.float16, 0.002, 0.02)]
)
def test_reduced_precision_is_near(net: Gpen, dtype: torch.dtype, mean: float, most: float) -> None:
    """Half precision stays within the 8 or 11 bits it has."""
    exact = net(faces())
    error = (net.to(dtype)(faces().to(dtype)).float() - exact).abs()
    assert error.mean() < mean
    assert error.max() < most


def by_weights(conv: ModulatedConv, x: Tensor, style: Tensor) -> Tensor:
    """The paper's equations 1 and 3 as they stand: a weight for each sample."""
    (shared,) = conv.state_dict()["weight"]
    outs = []
    for sample, scales in zip(x, conv.modulation(style), strict=True):
        weight = shared * scales[:, None, None] / shared[0].numel() ** 0.5
        weight = weight * torch.rsqrt(weight.square().sum((1, 2, 3), keepdim=True) + 1e-8)
        if isinstance(conv, UpsamplingConv):
            outs.append(
                conv.blur(F.conv_transpose2d(sample[None], weight.transpose(0, 1), stride=2))
            )
        else:
            outs.append(F.conv2d(sample[None], weight, padding=1))
    return torch.cat(outs)


@pytest.mark.parametrize("kind", [ModulatedConv, UpsamplingConv])
@pytest.mark.parametrize("size", [0.0, 1e-6, 1.0, 1e4])
def test_scaling_features_is_scaling_weights(kind: type[ModulatedConv], size: float) -> None:
    """One shared convolution gives what a weight per sample gives, for styles of any size."""
    conv = kind(6, 5, style=7).requires_grad_(False)
    nn.init.zeros_(conv.modulation.bias)
    x, style = torch.randn(3, 6, 8, 8), size * torch.randn(3, 7)
    torch.testing.assert_close(conv(x, style), by_weights(conv, x, style), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [ModulatedConv, UpsamplingConv])
def test_strong_styles_do_not_overflow_half_precision(kind: type[ModulatedConv]) -> None:
    """A style's size cancels out, also where features times style is beyond float16."""
    conv = kind(6, 5, style=7).requires_grad_(False)
    nn.init.zeros_(conv.modulation.bias)
    x, style = 100 * torch.randn(3, 6, 8, 8), torch.randn(3, 7)
    exact = conv(x, style)
    half = conv.half()(x.half(), (1e4 * style).half()).float()
    torch.testing.assert_close(half, exact, rtol=0.02, atol=1.0)


def test_it_can_be_trained() -> None:
    """Gradients reach every weight."""
    net = Gpen(16, channel_multiplier=1, narrow=1 / 64)
    net(torch.randn(2, 3, 16, 16)).square().mean().backward()
    assert all(weight.grad is not None for weight in net.parameters())
