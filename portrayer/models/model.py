"""A network with everything around it that belongs on the device: normalising before, clamping
after.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from portrayer.models import checkpoint, weights
from portrayer.models.spec import ModelSpec


def _alpha(logits: Tensor) -> Tensor:
    return torch.sigmoid(logits.float()).squeeze(1)


def _map(planes: Tensor) -> Tensor:
    return planes.float().permute(0, 2, 3, 1).contiguous()


def _points(points: Tensor) -> Tensor:
    return points.float()


def _picture(planes: Tensor) -> Tensor:
    return (_map(planes) / 2 + 0.5).clamp(0, 1)


OUTPUTS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "alpha": _alpha,
    "map": _map,
    "points": _points,
    "picture": _picture,
}
"""Output rules, all to float32.

``alpha``: logits (N, 1, S, S) to (N, S, S) in 0..1. ``map``: (N, C, h, w) to (N, h, w, C), as they
are. ``points``: (N, P, 3), as they are. ``picture``: RGB (N, 3, S, S) in about -1..1 to (N, S, S,
3) in 0..1, clamped.
"""

FULLER: Mapping[str, torch.dtype] = {"bfloat16": torch.bfloat16, "float32": torch.float32}
"""What a spec may ask for in place of half precision."""


class Model(nn.Module):
    """uint8 in, documented arrays out: ``(N, side, side, 3)`` RGB to what the spec's output rule
    says.

    Every sample is treated alone; nothing depends on its neighbours in the batch.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, spec: ModelSpec, net: nn.Module) -> None:
        super().__init__()
        self.spec, self.net, self.output = spec, net, OUTPUTS[spec.output]
        # For a whole row of pixels: broadcast over three channels it takes six times as long.
        self.register_buffer("mean", torch.tensor(spec.mean).repeat(spec.side))
        self.register_buffer("scale", (1 / torch.tensor(spec.std)).repeat(spec.side))

    def forward(self, images: Tensor) -> Tensor:
        x = (images.flatten(2).to(self.mean.dtype) - self.mean) * self.scale
        return self.output(self.net(x.view(images.shape).permute(0, 3, 1, 2)))

    @property
    def bytes(self) -> int:
        return sum(t.numel() * t.element_size() for t in self.state_dict().values())


def build(spec: ModelSpec) -> nn.Module:
    """The bare network of a spec, with fresh weights."""
    module, _, name = spec.build.partition(":")
    net: nn.Module = getattr(import_module(f"portrayer.nets.{module}"), name)()
    return net


def load(spec: ModelSpec, device: torch.device, dtype: torch.dtype) -> Model:
    """The model with its verified weights, ready to infer: folded, channels-last, in ``dtype`` on
    ``device``, or in the spec's own precision where ``dtype`` is half of one.

    Raises what :func:`weights.load` and :func:`checkpoint.check` raise.
    """
    net, tensors = build(spec), weights.load(spec.weights)
    checkpoint.check(tensors, net, f"{spec.weights.file} does not fit {spec.build}")
    net.load_state_dict(tensors)
    if dtype != torch.float32:
        dtype = FULLER.get(spec.precision, dtype)
    model = Model(spec, fold(net.eval())).eval().requires_grad_(False).to(device, dtype)
    # torch documents the layout of modules, and leaves it out of the types.
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def fold(net: nn.Module) -> nn.Module:
    """Batch norms folded into the convolutions before them, wherever both stand in one
    Sequential.
    """
    for part in net.modules():
        if isinstance(part, nn.Sequential):
            for at in range(len(part) - 1):
                conv, norm = part[at], part[at + 1]
                if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    part[at], part[at + 1] = fuse_conv_bn_eval(conv, norm), nn.Identity()
    return net
