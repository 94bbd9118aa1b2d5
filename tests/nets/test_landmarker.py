"""The landmark network as its docstring promises it: shapes, precision, and what a file holds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from portrayer.models.model import fold
from portrayer.nets.landmarker import POINTS, SIDE, VERTICES, Landmarker

FIFTH = 0.2 / SIDE  # of a pixel, in the network's unit


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture
def net() -> Landmarker:
    """A network that has lived: every weight, every statistic and every shape is its own."""
    net = Landmarker().eval()
    with torch.no_grad():
        for part in net.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.weight.uniform_(0.5, 1)
                part.bias.uniform_(-0.2, 0.2)
                part.running_mean.uniform_(-0.2, 0.2)  # type: ignore[union-attr]
                part.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
        net.face.mean.uniform_(0, SIDE)
        net.face.points.uniform_(-1, 1).add_((1 - net.face.points.sum(1, True)) / VERTICES)
    return net


def crops(count: int) -> Tensor:
    return torch.rand(count, 3, SIDE, SIDE) * 2 - 1


def infer(net: Landmarker, images: Tensor) -> Tensor:
    with torch.inference_mode():
        out: Tensor = net(images)
    return out


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_mesh_and_five_points_for_each_crop(net: Landmarker, count: int) -> None:
    """(N, 3, 128, 128) gives (N, 473, 3) float32, of as many as there are."""
    out = infer(net, crops(count))
    assert out.shape == (count, VERTICES + POINTS, 3)
    assert out.dtype == torch.float32
    assert out.isfinite().all()


def test_the_points_are_means_of_vertices(net: Landmarker) -> None:
    """The last five are the network's own linear map of the mesh in x and y, and lie flat."""
    mesh, points = infer(net, crops(2)).split([VERTICES, POINTS], 1)
    assert (points[..., 2] == 0).all()
    for axis in (0, 1):
        torch.testing.assert_close(points[..., axis], mesh[..., axis] @ net.face.points.T)


def test_a_fresh_network_sees_a_face_in_the_middle() -> None:
    """Without a shape learnt, the mesh lies round the crop's middle and the points in it."""
    out = infer(Landmarker().eval(), crops(2))
    assert (out[:, :, :2] - 0.5).abs().max() < 0.1
    assert (out[:, VERTICES:, :2] - 0.5).abs().max() < 0.01


def test_alone_as_in_a_batch(net: Landmarker) -> None:
    """A face's mesh does not depend on its neighbours."""
    images = crops(5)
    together = infer(net, images)
    alone = torch.cat([infer(net, image[None]) for image in images])
    assert (together - alone).abs().max() < 1e-5
    # and the crops matter: faces of different crops differ by more than that
    assert (together[0] - together[1]).abs().max() > 1e-4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_moves_no_vertex_visibly(net: Landmarker, dtype: torch.dtype) -> None:
    """Cast to half precision, the network's vertices stay within .2 px of 128."""
    images = crops(4)
    exact = infer(net, images)
    half = net.to("cpu", dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    rough = infer(half, images.to(dtype))
    assert next(half.features.parameters()).dtype == dtype
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).abs().max() < FIFTH


def test_autocast_leaves_the_face_exact(net: Landmarker) -> None:
    """Under autocast, as in training, vertices stay within .2 px too."""
    images = crops(4)
    with torch.autocast("cpu", torch.bfloat16):
        rough = infer(net, images)
    assert rough.dtype == torch.float32
    assert 0 < (rough - infer(net, images)).abs().max() < FIFTH


def test_casting_keeps_the_shapes_bit_for_bit(net: Landmarker) -> None:
    """The way through bfloat16 and back loses nothing of the face space."""
    before = {name: tensor.clone() for name, tensor in net.face.state_dict().items()}
    after = net.bfloat16().float().face.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_face_space_moves_with_the_network() -> None:
    """Another device takes the whole network, whatever precision comes with it."""
    net = Landmarker().to("meta", torch.bfloat16)
    assert all(tensor.is_meta for tensor in net.state_dict().values())
    kept = net.to_empty(device="cpu").face.state_dict().values()
    assert all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in kept)


def test_folding_changes_nothing(net: Landmarker) -> None:
    """Batch norms go into the convolutions, all of them, and the mesh stays."""
    images = crops(2)
    before = infer(net, images)
    folded = fold(net)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.modules())
    assert (infer(net, images) - before).abs().max() < 1e-5


def test_a_file_holds_all_of_it(net: Landmarker) -> None:
    """Loaded into a fresh network, a state dict brings mean, basis and points with it."""
    images, fresh = crops(2), Landmarker().eval()
    fresh.load_state_dict(net.state_dict())
    assert torch.equal(infer(fresh, images), infer(net, images))


def test_every_weight_learns() -> None:
    """The mesh alone sends a gradient to every parameter; the five points' map is none."""
    net = Landmarker().train()
    net(crops(2))[:, :VERTICES].square().sum().backward()
    assert all(weight.grad is not None for weight in net.parameters())
    assert not any("points" in name for name, _ in net.named_parameters())
