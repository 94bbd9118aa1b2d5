"""The face detector: every face is a peak of a heat-map and what is regressed there."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from portrayer.nets.unet import Block, conv

CHANNELS = 15
PRIOR = 0.02  # what a fresh network believes of every cell, so that the first steps are calm


class Detector(nn.Module):
    """Faces as points (CenterNet, Zhou et al., 2019), on one map with a top-down path to stride 8
    (Lin et al., 2017).

    Plain residual blocks: per second of a processor they learn more than depthwise ones. The
    deepest features reach beyond 300 pixels, so that a face may fill the picture of 320.

    Input: (N, 3, H, W) RGB in -1..1, H and W multiples of 32.
    Output: (N, 15, H/8, W/8), for the cell whose middle is the pixel (8 column + 3.5, 8 row + 3.5):
    0 logit that a face's middle lies here; 1, 2 from the cell's middle to the box's, x and y, in
    cells; 3, 4 log of the box's width and height in units of 4 cells (32 pixels); 5.. the five
    points x0, y0, .. x4, y4 from the box's middle, in units of its width and height. The points are
    right eye, left eye, nose, right and left mouth corner, of the subject.
    """

    def __init__(
        self,
        widths: Sequence[int] = (16, 24, 48, 64, 80),
        blocks: Sequence[int] = (0, 1, 2, 2, 1),
        width: int = 48,
    ) -> None:
        super().__init__()
        self.encoder = nn.ModuleList()
        for inside, outside, count in zip((3, *widths), widths, blocks, strict=False):
            stage = (conv(inside, outside, 2), *(Block(outside) for _ in range(count)))
            self.encoder.append(nn.Sequential(*stage))
        self.lateral = nn.ModuleList(nn.Conv2d(w, width, 1) for w in widths[2:])
        self.smooth = nn.ModuleList(conv(width, width) for _ in widths[3:])
        last = nn.Conv2d(width, CHANNELS, 1)
        nn.init.normal_(last.weight, std=0.01)
        bias = [math.log(PRIOR / (1 - PRIOR))] + [0.0] * (CHANNELS - 1)
        last.bias = nn.Parameter(torch.tensor(bias))
        self.head = nn.Sequential(conv(width, width), last)

    def forward(self, x: Tensor) -> Tensor:
        levels = []
        for stage in self.encoder:
            x = stage(x)
            levels.append(x)
        *finer, x = (side(level) for side, level in zip(self.lateral, levels[2:], strict=True))
        for smooth in self.smooth:
            level = finer.pop()
            x = smooth(level + F.interpolate(x, size=level.shape[2:], mode="nearest"))
        maps: Tensor = self.head(x)
        return maps
