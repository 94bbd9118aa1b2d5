"""How good the shipped matting is, through the whole program (fit, forward, refine), compared at
512 px.

    python train/evaluate.py ../shared/data [--task matte] [--precision float32] [--sheet out.png]

``--task enhance | fuse | landmarks`` measures those instead (``score_*.py``).

MAD: mean absolute difference of alpha; IoU at .5; band: MAD within 7 px of soft alpha. Pixels that
a hand-drawn label does not vouch for are left out.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import cv2
import label
import numpy as np
import score_fusing
import score_landmarks
import score_restoring
from data import VAL_REPOS

from portrayer import Studio
from portrayer.image import codec
from portrayer.image.composite import over
from portrayer.image.geometry import resize

SIDE = 512
LABELS = Path(__file__).resolve().parent / "labels"


@dataclass(frozen=True, slots=True)
class Case:
    photo: Path
    alpha: np.ndarray  # float32 0..1, any size
    sure: np.ndarray | None = None


def grey(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def portraits(data: Path) -> Iterator[Case]:
    for row in rows(data / "portraits/manifest.jsonl"):
        if row["alpha"] and row["split"] == "val":
            path = data / "portraits/photo" / row["photo"]
            yield Case(path, grey(data / "portraits/alpha" / f"{path.stem}.png"))


def stock(data: Path) -> Iterator[Case]:
    for row in rows(data / "stock/manifest.jsonl"):
        if row["kind"] == "people" and row["split"] == "val":
            path = data / "stock" / row["photo"]
            yield Case(path, grey(data / "stock/people/alpha" / f"{path.stem}.png"))


def real(data: Path) -> Iterator[Case]:
    for path in sorted((data / "real/alpha").glob("*.png")):
        yield Case(data / "real/photo" / f"{path.stem}.jpg", grey(path))


def drawn(root: Path, table: Path, held: frozenset[str] | None) -> Iterator[Case]:
    repos = {r["photo"]: r["repo"] for r in rows(root / "manifest.jsonl")} if held else {}
    for name, entry in json.loads(table.read_text()).items():
        if entry.get("add") and (held is None or repos[name] in held):
            alpha, sure = label.matte(label.read(root / name, label.WORK), entry)
            yield Case(root / name, alpha, sure)


def compare(found: np.ndarray, case: Case) -> tuple[float, float, float]:
    scale = SIDE / max(found.shape)
    h, w = round(found.shape[0] * scale), round(found.shape[1] * scale)
    p, a = resize(found, h, w), resize(case.alpha, h, w)
    known = (
        np.ones((h, w), bool) if case.sure is None else resize(case.sure.astype(np.uint8), h, w) > 0
    )
    both, either = ((p > 0.5) & (a > 0.5) & known).sum(), (((p > 0.5) | (a > 0.5)) & known).sum()
    band = (cv2.dilate(((a > 0.04) & (a < 0.96)).astype(np.uint8), np.ones((7, 7))) > 0) & known
    error = np.abs(p - a)
    return (
        float(error[known].mean()),
        float(both / either) if either else 1.0,
        float(error[band].mean()) if band.any() else 0.0,
    )


def tile(photo: np.ndarray, image: np.ndarray, height: int = 300) -> np.ndarray:
    h, w = photo.shape[:2]
    noise = np.random.default_rng(0).integers(0, 255, (25, 25, 3), np.uint8)
    busy = cv2.resize(noise, (w, h), interpolation=cv2.INTER_NEAREST)
    alpha = image[..., 3] * np.float32(1 / 255)
    backs = (np.full_like(photo, 255), np.zeros_like(photo), busy)
    shown = [photo, *(over(np.ascontiguousarray(image[..., :3]), alpha, b) for b in backs)]
    return np.hstack([resize(part, height, round(w * height / h)) for part in shown])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument(
        "--task", default="matte", choices=("matte", "enhance", "fuse", "landmarks")
    )
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--refine", default="fast")
    parser.add_argument(
        "--sheet",
        type=Path,
        help="also draw the real photos over white, black and a busy background",
    )
    parser.add_argument("--worst", type=int, default=0, help="name the N worst photos of each set")
    args = parser.parse_args()
    others = {
        "enhance": score_restoring.report,
        "fuse": score_fusing.report,
        "landmarks": score_landmarks.report,
    }
    if args.task in others:
        others[args.task](args.data, args.precision, args.sheet)
        return
    sets = {
        "portraits val": portraits(args.data),
        "stock val": stock(args.data),
        "real with mattes": real(args.data),
        "stock drawn, held out": drawn(args.data / "stock", LABELS / "stock.json", VAL_REPOS),
        "real drawn": drawn(args.data / "real", LABELS / "real.json", None),
    }
    print(f"{'set':24}{'photos':>7}{'MAD':>9}{'IoU':>8}{'band':>8}")
    with Studio(precision=args.precision) as studio:
        for name, cases in sets.items():
            listed = list(cases)
            results = studio.map(
                "matte", (c.photo for c in listed), output="matte", refine=args.refine
            )
            scores = [
                (compare(r.matte, c), c.photo.name) for r, c in zip(results, listed, strict=True)
            ]
            mad, iou, band = np.mean([s for s, _ in scores], 0)
            print(f"{name:24}{len(listed):7}{mad:9.4f}{iou:8.4f}{band:8.4f}", flush=True)
            for (m, i, b), photo in sorted(scores, reverse=True)[: args.worst]:
                print(f"    {photo:30}{m:9.4f}{i:8.4f}{b:8.4f}")
        if args.sheet:
            photos = sorted((args.data / "real/photo").glob("*"))
            tiles = [
                tile(codec.decode(p.read_bytes()).image, studio.matte(p).image) for p in photos
            ]
            width = max(t.shape[1] for t in tiles)
            sheet = np.vstack([np.pad(t, ((0, 6), (0, width - t.shape[1]), (0, 0))) for t in tiles])
            args.sheet.parent.mkdir(parents=True, exist_ok=True)
            args.sheet.write_bytes(codec.encode(sheet))


if __name__ == "__main__":
    main()
