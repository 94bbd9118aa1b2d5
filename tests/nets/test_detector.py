"""The face detector as its docstring promises it."""

from __future__ import annotations

import pytest
import torch

from portrayer.models.model import fold
from portrayer.nets.detector import CHANNELS, PRIOR, Detector


@pytest.fixture
def net() -> Detector:
    """A network that has seen something: no norm is the identity, no block passes on its input."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = Detector()
    for part in net.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(part.weight, 0.5, 1.0)
            torch.nn.init.uniform_(part.bias, -0.2, 0.2)
            part.running_mean.uniform_(-0.2, 0.2)
            part.running_var.uniform_(0.5, 1.5)
    return net.eval()


@torch.inference_mode()
def test_fifteen_numbers_a_cell(net: Detector) -> None:
    """(N, 3, H, W) gives finite (N, 15, H/8, W/8) for any multiples of 32."""
    for height, width in ((32, 32), (64, 160), (320, 320)):
        maps = net(torch.randn(2, 3, height, width))
        assert maps.shape == (2, CHANNELS, height // 8, width // 8)
        assert maps.isfinite().all()


def test_a_fresh_network_believes_in_few_faces() -> None:
    """Before training every cell is about as unlikely a face as the prior, at no size but 32."""
    torch.manual_seed(0)
    with torch.inference_mode():
        maps = Detector().eval()(torch.randn(1, 3, 96, 96))
    assert torch.sigmoid(maps[:, 0]).sub(PRIOR).abs().max() < PRIOR / 2
    assert maps[:, 1:].abs().max() < 0.3


@torch.inference_mode()
def test_neighbours_change_nothing(net: Detector) -> None:
    """A picture's maps are the same alone and in a batch."""
    pictures = torch.randn(3, 3, 64, 64)
    together = net(pictures)
    for picture, maps in zip(pictures, together, strict=True):
        torch.testing.assert_close(net(picture[None])[0], maps, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_folding_changes_nothing(net: Detector) -> None:
    """Batch norms go into the convolutions before them, all of them, and nothing is lost."""
    x = torch.randn(1, 3, 64, 64)
    before = net(x)
    folded = fold(net)
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in folded.modules())
    torch.testing.assert_close(folded(x), before, rtol=1e-3, atol=1e-4)


@torch.inference_mode()
def test_bfloat16_is_near(net: Detector) -> None:
    """In bfloat16 every number moves by a small part of how the maps vary."""
    x = torch.randn(1, 3, 96, 96)
    exact, rough = net(x), net.to(torch.bfloat16)(x.bfloat16()).float()
    assert (exact - rough).abs().max() < 0.15 * exact.std()


def test_the_middle_sees_a_face_that_fills_the_picture(net: Detector) -> None:
    """The middle cell of a picture of 320 depends on pixels 120 away to every side."""
    x = torch.randn(1, 3, 320, 320, requires_grad=True)
    net(x)[0, :, 20, 20].sum().backward()
    assert x.grad is not None
    seen = x.grad.abs().sum((0, 1))
    for far in (seen[:40], seen[280:], seen[:, :40], seen[:, 280:]):
        assert far.max() > 0


def test_gradients_reach_every_weight(net: Detector) -> None:
    """Nothing in the network is left out of training."""
    net.train()(torch.randn(2, 3, 64, 64)).square().sum().backward()
    assert all(w.grad is not None and w.grad.abs().sum() > 0 for w in net.parameters())
