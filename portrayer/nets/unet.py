"""The matting network: a compact residual U-Net that gives one alpha logit a pixel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def conv(inside: int, outside: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, stride, 1, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU(inplace=True),
    )


class Block(nn.Module):
    """Two dense 3x3 convolutions around an identity; starts as the identity (He et al., 2016)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        last = nn.BatchNorm2d(width)
        nn.init.zeros_(last.weight)
        self.body = nn.Sequential(
            conv(width, width), nn.Conv2d(width, width, 3, 1, 1, bias=False), last
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.body(x))


class Context(nn.Module):
    """Gates the deepest features by what the whole picture holds (squeeze and excitation, Hu et
    al., 2018).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.Conv2d(width, width // 4, 1), nn.ReLU(inplace=True), nn.Conv2d(width // 4, width, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))


class UNet(nn.Module):
    """Alpha logits from a normalised picture.

    Nothing is computed at full resolution: the input is folded 2x2 into channels, and the last
    convolution predicts the four pixels of each fold (Shi et al., 2016).

    Input: (N, 3, H, W) RGB, zero mean and unit variance, H and W multiples of 32.
    Output: (N, 1, H, W) logits; in training also a coarse (N, 1, H/16, W/16).
    """

    def __init__(
        self,
        widths: Sequence[int] = (16, 32, 96, 160, 224),
        blocks: Sequence[int] = (1, 2, 2, 3, 3),
        decoder: Sequence[int] = (128, 64, 32, 16),
    ) -> None:
        super().__init__()
        self.stem = conv(12, widths[0])
        self.encoder = nn.ModuleList()
        for at, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            down = [conv(widths[at - 1], width, 2)] if at else []
            self.encoder.append(nn.Sequential(*down, *(Block(width) for _ in range(count))))
        self.context = Context(widths[-1])
        self.decoder = nn.ModuleList()
        below = widths[-1]
        for skip, width in zip(reversed(widths[:-1]), decoder, strict=True):
            self.decoder.append(conv(below + skip, width))
            below = width
        self.coarse = nn.Conv2d(decoder[0], 1, 1)
        self.head = nn.Conv2d(below + 12, 4, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        folded = F.pixel_unshuffle(x, 2)
        x = self.stem(folded)
        skips = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        x = self.context(skips.pop())
        coarse = None
        for stage in self.decoder:
            skip = skips.pop()
            x = F.interpolate(x, size=skip.shape[2:], mode="bilinear", align_corners=False)
            x = stage(torch.cat([x, skip], 1))
            if coarse is None:
                coarse = x
        alpha = F.pixel_shuffle(self.head(torch.cat([x, folded], 1)), 2)
        return (alpha, self.coarse(coarse)) if self.training else alpha
