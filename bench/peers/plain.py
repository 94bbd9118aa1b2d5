"""A plain loop as users write it: one photo after another, one face after another.

    python bench/peers/plain.py TASK TABLE OUT [--precision float32]

The same networks and weights as Portrayer's, as they are built: nothing folded, no layout chosen,
torch's own threads. For matting it is Pillow and one forward. For restoring and fusing, Portrayer's
own functions find, align and paste, and every sample is a forward of its own; Pillow reads and
writes. TABLE is a CSV file: a row for each result, its photos, the target last.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from portrayer.models import weights
from portrayer.models.catalog import spec
from portrayer.models.model import Model, build
from portrayer.tasks import TASKS

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
GREY = (124, 124, 124)
OPTIONS: Mapping[str, Mapping[str, Any]] = {"enhance": {}, "fuse": {"consent": True}}
QUALITY = {"enhance": 95, "fuse": 92}  # what Portrayer writes by default


@cache
def network(name: str, dtype: torch.dtype) -> Model:
    row = spec(name)
    net = build(row)
    net.load_state_dict(weights.load(row.weights))
    return Model(row, net).eval().to(dtype)


def forward(name: str, sample: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    """One sample (S, S, 3) uint8 through a network."""
    with torch.inference_mode():
        answer: Tensor = network(name, dtype)(torch.from_numpy(sample)[None])
    return answer[0].numpy()


def read(path: str) -> Image.Image:
    with Image.open(path) as opened:
        return ImageOps.exif_transpose(opened).convert("RGB")


def matte(row: list[str], out: Path, dtype: torch.dtype) -> None:
    """Shrink into the network's square, one forward, the matte back to full size, as alpha."""
    photo = read(row[-1])
    side = spec("portrait-matting").side
    small = ImageOps.contain(photo, (side, side), Image.Resampling.BILINEAR)
    left, top = (side - small.width) // 2, (side - small.height) // 2
    square = Image.new("RGB", (side, side), GREY)
    square.paste(small, (left, top))
    alpha = forward("portrait-matting", np.array(square), dtype)
    alpha = alpha[top : top + small.height, left : left + small.width]
    mask = Image.fromarray(np.rint(alpha * 255).astype(np.uint8))
    photo.putalpha(mask.resize(photo.size, Image.Resampling.BILINEAR))
    photo.save(out / f"{Path(row[-1]).stem}.png")


def faces(task: str) -> Callable[[list[str], Path, torch.dtype], None]:
    """Restoring or fusing, where ``infer`` runs its samples one after another."""
    row = TASKS[task]
    options = row.options(**OPTIONS[task])

    def one(paths: list[str], out: Path, dtype: torch.dtype) -> None:
        def infer(name: str, samples: np.ndarray) -> np.ndarray:
            return np.stack([forward(name, sample, dtype) for sample in samples])

        photos = [np.array(read(path)) for path in paths]
        image = row.run(photos, options, infer).image
        target = out / f"{Path(paths[-1]).stem}.jpg"
        Image.fromarray(image).save(target, quality=QUALITY[task])

    return one


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=("matte", "enhance", "fuse"))
    parser.add_argument("table", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--precision", choices=tuple(PRECISIONS), default="float32")
    asked = parser.parse_args()
    work = matte if asked.task == "matte" else faces(asked.task)
    asked.out.mkdir(exist_ok=True)
    with asked.table.open(newline="") as file:
        for row in list(csv.reader(file))[1:]:
            work(row, asked.out, PRECISIONS[asked.precision])


if __name__ == "__main__":
    main()
