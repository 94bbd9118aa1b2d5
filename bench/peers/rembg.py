"""rembg's folder command on Portrayer's own network."""

from __future__ import annotations

import json
import os
import subprocess
import time
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
    path.parent.mkdir(parents=True, exist_ok=True)
    blank = torch.zeros(1, 3, SIDE, SIDE)
    torch.onnx.export(
        Normalised(fold(net.eval())),
        (blank,),
        str(path),
        input_names=["input"],
        output_names=["alpha"],
        dynamo=False,
    )


class Peer:
    """``rembg p`` with the exported network."""

    def __init__(self, program: str, home: Path) -> None:
        self.program, self.home, self.model = program, home, home / "portrayer.onnx"
        export(self.model)
        self.environment = {**os.environ, "U2NET_HOME": str(home), "MODEL_CHECKSUM_DISABLED": "1"}

    def run(self, source: Path, out: Path) -> float:
        """Images per second over the folder, start-up included; checks that every photo came
        out.
        """
        out.mkdir()
        extra = json.dumps({"model_path": str(self.model)})
        command = [self.program, "p", "-m", "u2net_custom", "-x", extra, str(source), str(out)]
        start = time.perf_counter()
        subprocess.run(command, env=self.environment, check=True, capture_output=True)
        seconds = time.perf_counter() - start
        wanted, made = len(list(source.iterdir())), len(list(out.glob("*.png")))
        if made != wanted:
            raise SystemExit(f"rembg made {made} of {wanted} pictures")
        return made / seconds
