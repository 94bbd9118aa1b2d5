"""The restoring network: an aligned face that is blurred, noisy or over-compressed, made clear."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Needs as learnt: .02 for good faces (.33 at most), .40 to .55 for mildly and .58 to .70 for badly
# worn ones. A face is left alone below the first number, and gets what it needs from the second.
NEEDLESS, NEEDY = 0.33, 0.43


class Block(nn.Module):
    """Two dense 3x3 convolutions around an identity, without normalisation (Lim et al., 2017)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, 1, 1)
        self.second = nn.Conv2d(width, width, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.second(F.relu(self.first(x)))
        return x + change


class Stage(nn.Module):
    """Blocks at one resolution. Faces are aligned, so where a feature lies says what it is: the
    coarse stages add a learned map of the place.
    """

    def __init__(self, width: int, count: int, side: int | None) -> None:
        super().__init__()
        self.place = None if side is None else nn.Parameter(torch.zeros(1, width, side, side))
        self.blocks = nn.Sequential(*(Block(width) for _ in range(count)))

    def forward(self, x: Tensor, top: int, left: int) -> Tensor:
        if self.place is not None:
            h, w = x.shape[2:]
            x = x + self.place[:, :, top : top + h, left : left + w]
        blocks: Tensor = self.blocks(x)
        return blocks


class Restorer(nn.Module):
    """A residual U-Net over an aligned face.

    Nothing is computed at full resolution: the input is folded 2x2 into channels (Shi et al.,
    2016). What is to be added is scaled by one number a face, which the network reads off
    its deepest features: how much the face needs it.

    Input: (N, 3, H, W) RGB in -1..1, H and W multiples of 16; 256, or in training a part of that
    whose top left corner is ``at``, multiples of 16. Output: what is to be added to it. In half
    precision the sum would be coarser than the picture was, so it is left to the caller.
    """

    def __init__(
        self,
        side: int = 256,
        widths: Sequence[int] = (32, 48, 80, 128),
        blocks: Sequence[int] = (1, 2, 3, 4),
        mapped: int = 2,
    ) -> None:
        super().__init__()
        strides = [2 << level for level in range(len(widths))]
        maps = [side // stride if stride > 2 * mapped else None for stride in strides]
        self.strides = strides
        self.stem = nn.Conv2d(12, widths[0], 3, 1, 1)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in pairwise(widths))
        self.encoder = nn.ModuleList(map(Stage, widths, blocks, maps))
        self.up = nn.ModuleList(nn.Conv2d(b, 4 * a, 1) for a, b in pairwise(widths))
        self.merge = nn.ModuleList(nn.Conv2d(2 * a, a, 1) for a in widths[:-1])
        self.decoder = nn.ModuleList(map(Stage, widths[:-1], blocks[:-1], maps[:-1]))
        self.need = nn.Sequential(
            nn.LayerNorm(widths[-1]),
            nn.Linear(widths[-1], 32),
            nn.ReLU(),
            nn.Linear(32, 1),
            nn.Sigmoid(),
        )
        self.head = nn.Conv2d(widths[0], 12, 3, 1, 1)
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.orthogonal_(part.weight)
                nn.init.zeros_(part.bias)  # type: ignore[arg-type]
            if isinstance(part, Block):
                nn.init.kaiming_normal_(part.first.weight, nonlinearity="relu")
                nn.init.kaiming_normal_(part.second.weight, nonlinearity="relu")
                part.second.weight.data *= 0.2
        # At first hardly anything is changed, and no face is thought to need none of it: a gate
        # that closed on a bad beginning would never open again.
        self.head.weight.data *= 0.02
        gate = self.need[3]
        nn.init.zeros_(gate.weight)  # type: ignore[arg-type]
        nn.init.constant_(gate.bias, 1.5)  # type: ignore[arg-type]

    def forward(self, x: Tensor, at: tuple[int, int] = (0, 0)) -> Tensor:
        places = [(at[0] // stride, at[1] // stride) for stride in self.strides]
        f = self.stem(F.pixel_unshuffle(2 * x, 2))
        skips = []
        for level, stage in enumerate(self.encoder):
            if level:
                f = self.down[level - 1](f)
            f = stage(f, *places[level])
            skips.append(f)
        need = self.need(skips.pop().mean((2, 3)))[:, :, None, None]
        if not self.training:
            need = need * ((need - NEEDLESS) / (NEEDY - NEEDLESS)).clamp(0, 1)
        for level in reversed(range(len(self.decoder))):
            f = F.pixel_shuffle(self.up[level](f), 2)
            f = self.merge[level](torch.cat([f, skips[level]], 1))
            f = self.decoder[level](f, *places[level])
        change: Tensor = need * F.pixel_shuffle(self.head(f), 2)
        return change
