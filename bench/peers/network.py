"""Portrayer's matting network as the ONNX file that ``rembg p`` can run: peers/network.py FILE."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from portrayer.models import weights
from portrayer.models.catalog import spec
from portrayer.models.model import build, fold

SIDE = 320  # what rembg's custom session feeds


class Normalised(nn.Module):
    """The network as rembg calls it: a normalised picture in, a matte in 0..1 out."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.net(x))


def export(path: Path, name: str = "portrait-matting") -> None:
    """The shipped network as ONNX, float32, batch 1."""
    row = spec(name)
    net = build(row)
    net.load_state_dict(weights.load(row.weights))
    blank = torch.zeros(1, 3, SIDE, SIDE)
    torch.onnx.export(
        Normalised(fold(net.eval())),
        (blank,),
        str(path),
        input_names=["input"],
        output_names=["alpha"],
        dynamo=False,
    )


if __name__ == "__main__":
    export(Path(sys.argv[1]))
