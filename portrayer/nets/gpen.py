"""GPEN: a U-Net whose decoder is a StyleGAN2 (Yang et al., CVPR 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from portrayer.nets.stylegan2 import (
    Activation,
    ActiveLinear,
    Blur,
    Conv,
    PixelNorm,
    StyledConv,
    ToRgb,
)

STYLE = 512


def channels(side: int, channel_multiplier: int, narrow: float) -> int:
    """How many features there are where they are ``side`` high and wide."""
    return int(narrow * (512 if side <= 32 else 16384 // side * channel_multiplier))


class Constant(nn.Module):
    """The learned (1, C, 4, 4) that every face grows from."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.randn(1, width, 4, 4))

    def forward(self, samples: int) -> Tensor:
        return self.input.expand(samples, -1, -1, -1)


class Generator(nn.Module):
    """StyleGAN2 with an encoder's features in place of noise. ``widths``: from side 4 upwards."""

    def __init__(self, widths: Sequence[int], depth: int = 8) -> None:
        super().__init__()
        mapping = (ActiveLinear(STYLE, STYLE, rate=0.01) for _ in range(depth))
        self.style = nn.Sequential(PixelNorm(), *mapping)
        self.input = Constant(widths[0])
        self.conv1 = StyledConv(widths[0], widths[0], STYLE)
        self.to_rgb1 = ToRgb(2 * widths[0], STYLE, upsample=False)
        self.convs, self.to_rgbs = nn.ModuleList(), nn.ModuleList()
        for below, width in pairwise(widths):
            self.convs.append(StyledConv(2 * below, width, STYLE, upsample=True))
            self.convs.append(StyledConv(2 * width, width, STYLE))
            self.to_rgbs.append(ToRgb(2 * width, STYLE))

    def forward(self, latent: Tensor, features: Sequence[Tensor]) -> Tensor:
        """(N, 512), and (N, C, s, s) of each side s from 4 to S, to (N, 3, S, S)."""
        style = self.style(latent)
        x = self.conv1(self.input(len(latent)), style, features[0])
        picture: Tensor = self.to_rgb1(x, style)
        for grow, refine, to_rgb, skip in zip(
            self.convs[::2], self.convs[1::2], self.to_rgbs, features[1:], strict=True
        ):
            x = refine(grow(x, style, skip), style, skip)
            picture = to_rgb(x, style, picture)
        return picture


class Gpen(nn.Module):
    """A restored face from a degraded one.

    The encoder halves the face until it is 4 x 4. What is left there becomes the style; the
    features on the way are what the generator has of this face at each side.

    Input: (N, 3, side, side) RGB in -1..1, aligned; ``side`` a power of two. Output: the same
    shape, about -1..1, not clamped. Keys and shapes are those of the published checkpoints.
    """

    def __init__(self, side: int, channel_multiplier: int, narrow: float) -> None:
        super().__init__()
        sides = [4 << doublings for doublings in range(side.bit_length() - 2)]
        widths = [channels(at, channel_multiplier, narrow) for at in sides]
        self.stages = [f"ecd{stage}" for stage in range(len(sides))]
        layers: list[list[nn.Module]] = [[Conv(3, widths[-1], 1), Activation(widths[-1])]]
        for above, below in pairwise(reversed(widths)):
            layers.append([Blur(padding=2), Conv(above, below, 3, stride=2), Activation(below)])
        for name, layer in zip(self.stages, layers, strict=True):
            self.add_module(name, nn.Sequential(nn.Sequential(*layer)))
        self.final_linear = nn.Sequential(ActiveLinear(widths[0] * 16, STYLE))
        self.generator = Generator(widths)

    def forward(self, x: Tensor) -> Tensor:
        features = []
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
            features.append(x)
        restored: Tensor = self.generator(self.final_linear(x.flatten(1)), features[::-1])
        return restored


def gpen256() -> Gpen:
    """The network of ``GPEN-BFR-256``."""
    return Gpen(256, channel_multiplier=1, narrow=0.5)


def gpen512() -> Gpen:
    """The network of ``GPEN-BFR-512``."""
    return Gpen(512, channel_multiplier=2, narrow=1)


def gpen1024() -> Gpen:
    """The network of ``GPEN-BFR-1024``."""
    return Gpen(1024, channel_multiplier=2, narrow=1)
