"""The layers of StyleGAN2 (Karras et al., "Analyzing and Improving the Image Quality of StyleGAN",
CVPR 2020): equalised layers, blurs, modulated convolutions.

State dicts have the keys and shapes of published checkpoints.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TINY = 1e-8  # keeps what is divided by from being nothing
FAINT = 1e-4  # the same for a style, and a number in half precision


def activate(x: Tensor, bias: Tensor) -> Tensor:
    """Adds a bias to each channel (dimension 1), then leaky ReLU times the square root of two.

    A positive factor may stand before a leaky ReLU as well as after it, and costs no pass there.
    """
    gain = math.sqrt(2)
    bias = bias.view(-1, *(1,) * (x.ndim - 2))
    return F.leaky_relu_(torch.add(gain * bias, x, alpha=gain), 0.2)


class Activation(nn.Module):
    """:func:`activate` with its bias."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return activate(x, self.bias)


class PixelNorm(nn.Module):
    """Scales each vector (N, C) to unit mean square."""

    def forward(self, x: Tensor) -> Tensor:
        power = x.float().square().mean(1, keepdim=True)
        return x * torch.rsqrt(power + TINY).to(x.dtype)


class Linear(nn.Module):
    """A linear layer with an equalised learning rate: its weights are kept with the variance
    1 / ``rate`` squared and scaled where they are used.
    """

    def __init__(self, inside: int, outside: int, bias: float = 0.0, rate: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outside, inside) / rate)
        self.bias = nn.Parameter(torch.full((outside,), bias))
        self.rate = rate
        self.scale = rate / math.sqrt(inside)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x * self.scale, self.weight, self.bias * self.rate)


class ActiveLinear(Linear):
    """The same with an activation, which adds the bias."""

    def forward(self, x: Tensor) -> Tensor:
        return activate(F.linear(x * self.scale, self.weight), self.bias * self.rate)


class Conv(nn.Module):
    """A convolution with an equalised learning rate; the activation adds its bias."""

    def __init__(self, inside: int, outside: int, size: int, stride: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outside, inside, size, size))
        self.scale = 1 / math.sqrt(inside * size**2)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, stride=self.stride)


class Blur(nn.Module):
    """The binomial low-pass filter (1, 3, 3, 1) in both directions, on each channel.

    ``gain`` 4 makes up for the three zeros that upsampling puts beside each value. The filter is
    a buffer because checkpoints hold it; it is symmetric, so nothing turns it round.
    """

    kernel: Tensor

    def __init__(self, padding: int, gain: float = 1.0) -> None:
        super().__init__()
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
        self.register_buffer("kernel", gain * torch.outer(taps, taps) / taps.sum() ** 2)
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        width = x.shape[1]
        kernel = self.kernel.expand(width, 1, -1, -1)
        return F.conv2d(x, kernel, padding=self.padding, groups=width)


class Upsample(Blur):
    """Twice the height and width: zeros between the values, then the low-pass filter."""

    def __init__(self) -> None:
        super().__init__(padding=1, gain=4.0)

    def forward(self, x: Tensor) -> Tensor:
        width = x.shape[1]
        kernel = self.kernel.expand(width, 1, -1, -1)
        return F.conv_transpose2d(x, kernel, stride=2, padding=self.padding, groups=width)


class Modulated(nn.Module):
    """A convolution whose input channels each sample's style scales.

    Scaling a weight's input channels is scaling the input, so all samples share one convolution
    with the weights as they are. Checkpoints hold these as (1, O, I, k, k).
    """

    def __init__(self, inside: int, outside: int, size: int, style: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(self.turn(torch.randn(outside, inside, size, size)))
        self.modulation = Linear(style, inside, bias=1.0)
        self.scale = 1 / math.sqrt(inside * size**2)

    @staticmethod
    def turn(weight: Tensor) -> Tensor:
        """(O, I, k, k) to the order that the convolution reads, or back."""
        return weight

    # Kept without the first dimension, which carries nothing: channels-last is for four.

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "weight"] = self.turn(destination[prefix + "weight"])[None]

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        weight = state_dict.get(prefix + "weight")
        if weight is not None and weight.ndim == 5 and len(weight) == 1:
            state_dict[prefix + "weight"] = self.turn(weight[0])
        super()._load_from_state_dict(state_dict, prefix, *rest)


class PointConv(Modulated):
    """A modulated 1x1 convolution."""

    def __init__(self, inside: int, outside: int, style: int) -> None:
        super().__init__(inside, outside, 1, style)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        style = self.modulation(style) * self.scale
        return F.conv2d(x * style[:, :, None, None], self.weight)


class ModulatedConv(Modulated):
    """A modulated 3x3 convolution, demodulated: its output has the variance of its input.

    Normalising a weight's output channels is scaling the output (Karras et al., 2020, section
    2.2). A style's size then cancels out, so its largest value is made 1 beforehand, lest half
    precision overflow (as in StyleGAN2-ADA, Karras et al., 2020).
    """

    def __init__(self, inside: int, outside: int, style: int) -> None:
        super().__init__(inside, outside, 3, style)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        style = self.modulation(style)
        peak = style.abs().amax(1, keepdim=True).clamp_min(FAINT)
        style = style / peak * self.scale
        energy = F.linear(style.float().square(), self.energy().float())
        loudness = torch.rsqrt(energy + TINY / peak.float().square()).to(x.dtype)
        x = self.convolve(x * style[:, :, None, None])
        return x.mul_(loudness[:, :, None, None])

    def energy(self) -> Tensor:
        """Each filter's sum of squares, (O, I)."""
        return self.weight.square().sum((2, 3))

    def convolve(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, padding=1)


class UpsamplingConv(ModulatedConv):
    """The same to twice the height and width."""

    def __init__(self, inside: int, outside: int, style: int) -> None:
        super().__init__(inside, outside, style)
        self.blur = Blur(padding=1, gain=4.0)

    @staticmethod
    def turn(weight: Tensor) -> Tensor:
        return weight.transpose(0, 1).contiguous()

    def energy(self) -> Tensor:
        return super().energy().T

    def convolve(self, x: Tensor) -> Tensor:
        grown: Tensor = self.blur(F.conv_transpose2d(x, self.weight, stride=2))
        return grown


class Noise(nn.Module):
    """Puts weighted features beside the others, where StyleGAN2 adds weighted noise to them."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        return torch.cat([x, features * self.weight], 1)


class StyledConv(nn.Module):
    """A modulated convolution to O channels, O features beside them, an activation: (N, I, h, w) to
    (N, 2 * O, h, w), or to twice the height and width.
    """

    def __init__(self, inside: int, outside: int, style: int, upsample: bool = False) -> None:
        super().__init__()
        self.conv = (UpsamplingConv if upsample else ModulatedConv)(inside, outside, style)
        self.noise = Noise()
        self.activate = Activation(2 * outside)

    def forward(self, x: Tensor, style: Tensor, features: Tensor) -> Tensor:
        out: Tensor = self.activate(self.noise(self.conv(x, style), features))
        return out


class ToRgb(nn.Module):
    """The picture that these features hold, and the one so far, if any, at twice its size."""

    def __init__(self, inside: int, style: int, upsample: bool = True) -> None:
        super().__init__()
        self.conv = PointConv(inside, 3, style)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))
        self.upsample = Upsample() if upsample else None

    def forward(self, x: Tensor, style: Tensor, picture: Tensor | None = None) -> Tensor:
        rgb: Tensor = self.conv(x, style) + self.bias
        if self.upsample is not None and picture is not None:
            rgb = rgb + self.upsample(picture)
        return rgb
