"""The matting network as its docstring promises it: shapes, and how it begins."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from portrayer.nets.unet import Block, UNet, conv


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)


def test_a_logit_for_each_pixel() -> None:
    """(N, 3, H, W) gives (N, 1, H, W) for any multiples of 32."""
    net = UNet().eval()
    for height, width in ((32, 32), (64, 96), (160, 32)):
        with torch.inference_mode():
            logits = net(torch.randn(2, 3, height, width))
        assert logits.shape == (2, 1, height, width)
        assert logits.isfinite().all()


def test_training_adds_the_coarse_map() -> None:
    """In training a (N, 1, H/16, W/16) map comes with it, and gradients reach every weight."""
    net, height, width = UNet().train(), 32, 64
    logits, coarse = net(torch.randn(2, 3, height, width))
    assert logits.shape == (2, 1, height, width)
    assert coarse.shape == (2, 1, height // 16, width // 16)
    (logits.sum() + coarse.sum()).backward()
    assert all(weight.grad is not None for weight in net.parameters())


@pytest.mark.parametrize("training", [False, True])
def test_blocks_begin_as_the_identity(training: bool) -> None:
    """A fresh block passes on what a ReLU gave it, whatever its convolutions hold."""
    x = torch.rand(2, 16, 8, 8)
    assert torch.equal(Block(16).train(training)(x), x)


def test_every_block_of_a_fresh_network_is_the_identity() -> None:
    """The network's own blocks begin so too."""
    blocks = [part for part in UNet().eval().modules() if isinstance(part, Block)]
    assert len(blocks) == 11
    for block in blocks:
        last = block.body[2]
        assert isinstance(last, nn.BatchNorm2d)
        x = torch.rand(1, last.num_features, 4, 4)
        assert torch.equal(block(x), x)


def test_a_stride_halves() -> None:
    """A convolution of stride 2 halves height and width and gives no negative number."""
    out = conv(3, 8, 2).eval()(torch.randn(1, 3, 32, 64))
    assert out.shape == (1, 8, 16, 32)
    assert out.min() >= 0
