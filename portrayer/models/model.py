"""A network with everything around it that belongs on the device: normalising before, clamping
after.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from portrayer.models import checkpoint, weights
from portrayer.models.outputs import OUTPUTS
from portrayer.models.spec import ModelSpec

FULLER: Mapping[str, torch.dtype] = {"bfloat16": torch.bfloat16, "float32": torch.float32}
"""What a spec may ask for in place of half precision."""


def rows(spec: ModelSpec) -> tuple[Tensor, Tensor]:
    """Mean and scale for a whole row of pixels: broadcast over three channels they take six times
    as long.
    """
    return torch.tensor(spec.mean).repeat(spec.side), (1 / torch.tensor(spec.std)).repeat(spec.side)


def normalise(images: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """(N, S, S, 3), 0..255, to (N, 3, S, S) in the precision of ``mean`` and ``scale``, which are
    those of :func:`rows`.
    """
    x = (images.flatten(2).to(mean.dtype) - mean) * scale
    return x.view(images.shape).permute(0, 3, 1, 2)


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
        mean, scale = rows(spec)
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)

    def forward(self, images: Tensor) -> Tensor:
        return self.output(self.net(normalise(images, self.mean, self.scale)))

    @property
    def precision(self) -> str:
        return str(self.mean.dtype).removeprefix("torch.")

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


def traced(model: Model) -> Callable[[Tensor], Tensor]:
    """The model's forward as one graph, for any number of samples; the model itself where it cannot
    be one.

    A forward is hundreds of small operations, and before each of them its thread waits until the
    others let go of the interpreter. A graph waits once.
    """
    side = model.spec.side
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of shapes that are taken for constants: they are
        try:
            blank = torch.zeros((1, side, side, 3), dtype=torch.uint8)
            graph = torch.jit.freeze(torch.jit.trace(model, blank, check_trace=False))
        except RuntimeError:
            return model
    gc.collect()  # what tracing leaves behind holds the model
    made: Callable[[Tensor], Tensor] = graph
    return made


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
