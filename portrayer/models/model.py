"""A network with everything around it that belongs on the device: normalising before, clamping
after.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from portrayer.errors import WeightsMismatch
from portrayer.models import weights
from portrayer.models.spec import ModelSpec


def _alpha(logits: Tensor) -> Tensor:
    return torch.sigmoid(logits.float()).squeeze(1)


OUTPUTS: Mapping[str, Callable[[Tensor], Tensor]] = {"alpha": _alpha}
"""Output rules. ``alpha``: logits (N, 1, S, S) to float32 (N, S, S) in 0..1."""


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
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1))
        self.register_buffer("scale", (1 / torch.tensor(spec.std)).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        x = images.permute(0, 3, 1, 2).to(self.mean.dtype)
        return self.output(self.net((x - self.mean) * self.scale))

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
    ``device``.
    """
    net = build(spec)
    try:
        net.load_state_dict(weights.load(spec.weights))
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise WeightsMismatch(f"{spec.weights.file} does not fit {spec.build}: {first}") from error
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
