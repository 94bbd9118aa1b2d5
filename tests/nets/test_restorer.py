"""The restoring network."""

from __future__ import annotations

import pytest
import torch

from portrayer.nets.restorer import Restorer


@pytest.fixture(scope="module")
def net() -> Restorer:
    """Weights that do something everywhere: fresh ones hardly change a picture."""
    torch.manual_seed(0)
    net = Restorer().eval()
    with torch.no_grad():
        for stage in (*net.encoder, *net.decoder):
            if stage.place is not None:
                stage.place.normal_(0, 0.3)
        net.head.weight *= 50
    return net


@pytest.fixture(scope="module")
def faces() -> torch.Tensor:
    torch.manual_seed(1)
    coarse = torch.randn(3, 3, 16, 16)
    return torch.nn.functional.interpolate(coarse, 256, mode="bicubic").clamp(-1, 1)


def test_a_face_keeps_its_shape_and_its_neighbours_do_not_matter(
    net: Restorer, faces: torch.Tensor
) -> None:
    """Alone and in a batch the same picture comes out, of the size that went in."""
    with torch.inference_mode():
        together, alone = net(faces), net(faces[1:2])
    assert together.shape == faces.shape
    assert (together[1] - alone[0]).abs().max() < 1e-4
    assert together.abs().mean() > 0.01


def test_a_part_is_restored_by_the_maps_of_its_own_place(
    net: Restorer, faces: torch.Tensor
) -> None:
    """Training on parts of an aligned face teaches the whole: ``at`` picks the maps' part."""
    part = faces[:1, :, 64:192, 48:176]
    with torch.inference_mode():
        there, elsewhere = net(part, at=(64, 48)), net(part, at=(0, 0))
    assert (there - elsewhere).abs().mean() > 1e-3


def test_a_face_that_needs_nothing_is_left_as_it_is(net: Restorer, faces: torch.Tensor) -> None:
    """One number a face scales the change: at zero nothing is changed, bit for bit."""
    last = net.need[3]
    assert isinstance(last, torch.nn.Linear)
    kept = last.bias.data.clone()
    with torch.inference_mode():
        last.bias.fill_(-200)
        same = net(faces)
        last.bias.copy_(kept)
        changed = net(faces)
    assert not same.any()
    assert changed.any()
