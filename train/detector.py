"""Train the face detector, or measure it.

    python train/detector.py --data ../shared/data --out runs/det --minutes 38
    python train/detector.py --data ../shared/data --out runs/det --check DETECTOR LANDMARKS

One process, one core; the schedule follows the clock. ``runs/det/`` gets ``ema.safetensors`` (what
``train/export.py`` ships and ``--init`` goes on from), ``log.jsonl`` and ``labels.json``, what the
teacher saw in the photos.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path

import allocator

allocator.keep()

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import people  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from mosaics import Maker, targets  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from portrayer.image.geometry import fit  # noqa: E402
from portrayer.nets.detector import Detector  # noqa: E402
from portrayer.tasks.faces import decode, distinct  # noqa: E402

SIZES = (9, 16, 24, 48, 96, 320)


def tensors(images: np.ndarray) -> torch.Tensor:
    """(N, S, S, 3) uint8 -> (N, 3, S, S) float32 in -1..1, channels-last."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    return (x / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def loss(out: torch.Tensor, heat, weight, numbers, asked) -> torch.Tensor:
    """Focal loss for the peaks (Zhou et al., 2019); for what is regressed smooth L1, and the
    intersection over union of the boxes (GIoU, Rezatofighi et al., 2019).
    """
    out = out.float().permute(0, 2, 3, 1)
    logits = out[..., 0]
    p = torch.sigmoid(logits).clamp(1e-4, 1 - 1e-4)
    peak = heat >= 1
    some = peak.sum().clamp_min(4)
    hit = F.logsigmoid(logits) * (1 - p) ** 2 * peak
    miss = F.logsigmoid(-logits) * p**2 * (1 - heat) ** 4 * ~peak * weight
    total = -(hit.sum() + miss.sum()) / some
    where = asked > 0
    said, true, share = out[where][:, 1:], numbers[where], asked[where]
    share = share / share.sum().clamp_min(1)
    error = F.smooth_l1_loss(said, true, reduction="none", beta=0.03)
    error = 2 * error[:, :4].sum(1) + 2 * error[:, 4:].mean(1)
    (low, high), (low_t, high_t) = map(corners, (said, true))
    both = (torch.minimum(high, high_t) - torch.maximum(low, low_t)).clamp_min(0).prod(1)
    hull = (torch.maximum(high, high_t) - torch.minimum(low, low_t)).prod(1)
    either = (high - low).prod(1) + (high_t - low_t).prod(1) - both
    giou = both / either - (hull - either) / hull
    return total + (share * (error + 1 - giou)).sum()


def corners(numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Two corners (K, 2), in cells, of what is regressed."""
    half = 2 * torch.exp(numbers[:, 2:4].clamp(-4, 4))
    return numbers[:, :2] - half, numbers[:, :2] + half


@torch.inference_mode()
def maps(net: torch.nn.Module, image: np.ndarray) -> np.ndarray:
    """(S, S, 3) uint8 to (S/8, S/8, 15) float32."""
    with torch.autocast("cpu", torch.bfloat16):
        return net(tensors(image[None])).float()[0].permute(1, 2, 0).numpy()


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union (K, M) of boxes x, y, w, h."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, :2] + a[:, None, 2:], b[None, :, :2] + b[None, :, 2:])
    both = np.maximum(high - low, 0).prod(2)
    return both / (a[:, 2:].prod(1)[:, None] + b[:, 2:].prod(1)[None] - both)


def boxes_of(known: np.ndarray) -> np.ndarray:
    """Boxes (K, 4) x, y, w, h of middles and sizes (K, 2.., 2)."""
    return np.concatenate([known[:, 0] - known[:, 1] / 2, known[:, 1]], 1)


class Tally:
    """Counts of what was found, by the true face's size."""

    def __init__(self, sizes: tuple[int, ...] = SIZES) -> None:
        self.sizes, self.right, self.wrong = sizes, 0, 0
        self.found, self.all = np.zeros(len(sizes), int), np.zeros(len(sizes), int)
        self.errors: list[float] = []

    def add(self, boxes: np.ndarray, points: np.ndarray, faces: np.ndarray, doubtful) -> None:
        """Found boxes (K, 4), best first, and points (K, 5, 2); the truth (M, 7, 2)."""
        left = list(range(len(faces)))
        iou, maybe = overlaps(boxes, boxes_of(faces)), overlaps(boxes, boxes_of(doubtful))
        for k in range(len(boxes)):
            best = max(left, key=lambda m: iou[k, m], default=None)
            if best is not None and iou[k, best] > 0.4:
                left.remove(best)
                self.right += 1
                self.found[self.bin(faces[best])] += 1
                eyes = np.linalg.norm(faces[best, 2] - faces[best, 3])
                apart = np.linalg.norm(points[k] - faces[best, 2:], axis=1).mean()
                self.errors.append(apart / max(1e-3, eyes))
            elif not (len(doubtful) and maybe[k].max() > 0.2):
                self.wrong += 1
        for one in faces:
            self.all[self.bin(one)] += 1

    def bin(self, face: np.ndarray) -> int:
        return max(0, int(np.searchsorted(self.sizes, face[1].max(), "right")) - 1)

    def row(self) -> dict:
        share = np.round(self.found / np.maximum(self.all, 1), 3).tolist()
        return {
            "recall": round(self.found.sum() / max(1, self.all.sum()), 3),
            "precision": round(self.right / max(1, self.right + self.wrong), 3),
            "by_size": dict(zip(map(str, self.sizes), share, strict=True)),
            "points": round(float(np.median(self.errors)), 3) if self.errors else None,
        }


def whole(photos: list[people.Photo], side: int) -> list[tuple]:
    """Photos as they are asked about: letterboxed; the truth in the square's pixels."""
    rows = []
    for photo in photos:
        square, where = fit(photo.levels[0], side)
        top, left, bottom, right = where.box
        scale = np.array([(right - left) / where.width, (bottom - top) / where.height])
        matrix = np.column_stack([np.diag(scale), scale / 2 - 0.5 + (left, top)])
        small = np.zeros((0, 2, 2), np.float32)
        faces, doubtful = people.moved(matrix, photo.faces), people.moved(matrix, photo.doubtful)
        sure = faces[:, 1].max(1) >= 9
        doubtful = np.concatenate([doubtful, faces[~sure, :2], small])
        rows.append((square, faces[sure], doubtful))
    return rows


def score(net: torch.nn.Module, rows: list[tuple], threshold: float = 0.4) -> dict:
    net.eval()
    tally = Tally()
    for square, faces, doubtful in rows:
        boxes, scores, points = decode(maps(net, square), threshold)
        once = distinct(boxes, scores)
        tally.add(boxes[once], points[once], faces, doubtful)
    net.train()
    return tally.row()


def train(args: argparse.Namespace) -> None:
    seen = people.labels(args.data, args.out / "labels.json")
    sources = [people.portraits, people.stock, people.scenes]
    maker = Maker(*(of(args.data, "train", seen) for of in sources))
    held = [of(args.data, "val", seen) for of in sources]
    rng = np.random.default_rng(7)
    checks = {
        "mosaics": [Maker(*held).sample(rng) for _ in range(150)],
        "portraits": whole(held[0][::3], 320),
        "stock": whole(held[1], 320),
        "stock640": whole(held[1], 640),
    }
    counts = [len(s) for s in (maker.people, maker.cut, maker.real, maker.empty, *held)]
    print(json.dumps({"sources": counts, "args": {k: str(v) for k, v in vars(args).items()}}))
    net, ema = (Detector().to(memory_format=torch.channels_last) for _ in range(2))
    if args.init:
        net.load_state_dict(load_file(args.init))
    ema.load_state_dict(net.state_dict())
    groups = [
        {"params": [p for p in net.parameters() if p.ndim > 1], "weight_decay": 0.03},
        {"params": [p for p in net.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.98), fused=True)
    rng = np.random.default_rng(args.seed)
    start, step, running, making, next_check = time.time(), 0, 0.0, 0.0, args.every * 60
    while (past := time.time() - start) < args.minutes * 60:
        done = past / (args.minutes * 60)
        rate = args.lr * min(1, (step + 1) / 150) * max(0.5 * (1 + math.cos(math.pi * done)), 0.003)
        for group in optimiser.param_groups:
            group["lr"] = rate
        made = [maker.sample(rng) for _ in range(args.batch)]
        asked = zip(*(targets(faces, doubtful) for _, faces, doubtful in made), strict=True)
        truth = [torch.from_numpy(np.stack(part)) for part in asked]
        making += time.time() - start - past
        with torch.autocast("cpu", torch.bfloat16):
            out = net(tensors(np.stack([image for image, *_ in made])))
        value = loss(out, *truth)
        optimiser.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        step += 1
        running = 0.98 * running + 0.02 * value.item() if step > 1 else value.item()
        with torch.no_grad():
            decay = min(0.998, step / (10 + step))
            for e, t in zip(ema.state_dict().values(), net.state_dict().values(), strict=True):
                if t.is_floating_point():
                    e.lerp_(t, 1 - decay)
        past = time.time() - start
        if past > next_check or past >= args.minutes * 60:
            next_check = past + args.every * 60
            tensors_kept = {k: v.contiguous() for k, v in ema.state_dict().items()}
            save_file(tensors_kept, args.out / "ema.tmp")
            os.replace(args.out / "ema.tmp", args.out / "ema.safetensors")
            row = {"minute": round(past / 60, 1), "step": step, "loss": round(running, 3)}
            row |= {"making": round(making / past, 2), "lr": round(rate, 6)}
            row |= {name: score(ema, rows) for name, rows in checks.items()}
            with open(args.out / "log.jsonl", "a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", type=Path)
    parser.add_argument("--minutes", type=float, default=38)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--lr", type=float, default=2.5e-3)
    parser.add_argument("--every", type=float, default=3, help="minutes between scores")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--check", type=Path, nargs=2, metavar=("DETECTOR", "LANDMARKS"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    if args.check:
        import crowds

        crowds.check(args.data, args.out, *args.check)
    else:
        train(args)


if __name__ == "__main__":
    main()
