"""Train the restoring network.

    python train/restorer.py --data ../shared/data --out runs/r --minutes 80 --sizes 128:0.5,256:0.5

One process, one thread. The schedule follows the clock. ``runs/r/`` gets ``ema.safetensors`` (what
``train/export.py`` ships and ``--init`` goes on from) and ``log.jsonl``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import queue
import sys
import threading
import time
from pathlib import Path

import allocator

allocator.keep()

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

import cv2  # noqa: E402
import degrade  # noqa: E402
import faces as known  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from portrayer.image.faces import align  # noqa: E402
from portrayer.nets.restorer import Restorer  # noqa: E402

SIDE = 256
EYES = 50  # px between the eyes at least: a face is shown at 63
SOFT = 0.1  # share of the targets that are left out for being soft themselves


def distance(points: np.ndarray) -> float:
    return float(np.linalg.norm(points[0] - points[1]))


def portraits(data: Path, split: str) -> list[np.ndarray]:
    """Aligned faces of the portraits that are large enough to learn from."""
    found = []
    for line in (data / "portraits/manifest.jsonl").read_text().splitlines():
        row = json.loads(line)
        if not row.get("points") or row["split"] != split:
            continue
        points = np.array(row["points"], np.float32).reshape(5, 2)
        if distance(points) < EYES:
            continue
        image = cv2.imread(str(data / "portraits/photo" / row["photo"]), cv2.IMREAD_COLOR_RGB)
        found.append(align(image, points, "ffhq", SIDE)[0])
    return found


def stock(data: Path, held: bool, least: float = EYES) -> list[np.ndarray]:
    """Aligned faces of real people, held out for measuring or not, found by a teacher."""
    finder, found = known.Finder(data), []
    for path in known.of_people(data, held):
        image = known.read(path)
        found += [
            align(image, points, "ffhq", SIDE)[0]
            for _, points in finder(image)
            if distance(points) >= least
        ]
    return found


def sharpness(face: np.ndarray) -> float:
    return float(cv2.Laplacian(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), cv2.CV_32F)[48:208].std())


def tensor(images: np.ndarray) -> torch.Tensor:
    """(N, S, S, 3) uint8 -> (N, 3, S, S) in -1..1, channels-last."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    return (x / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def sample(faces: list[np.ndarray], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A good face and what has become of it."""
    good = faces[rng.integers(len(faces))]
    if rng.random() < 0.5:
        good = np.ascontiguousarray(good[:, ::-1])
    if rng.random() < 0.5:  # aligned as well as a landmark net can
        m = cv2.getRotationMatrix2D(
            (128, 128), rng.normal(0, 3), float(np.exp(rng.normal(0, 0.03)))
        )
        m[:, 2] += rng.normal(0, 3, 2)
        good = cv2.warpAffine(
            good, m, (SIDE, SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
        )
    if rng.random() < 0.6:  # another light
        gain, lift = np.exp(rng.normal(0, 0.12, 3)), rng.normal(0, 8)
        good = np.clip(good * gain.astype(np.float32) + np.float32(lift), 0, 255).astype(np.uint8)
    if rng.random() < 0.1:
        good = cv2.cvtColor(cv2.cvtColor(good, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return degrade.blind(good, rng), good


def feed(faces: list[np.ndarray], seed: int, count_now, out: queue.Queue) -> None:
    rng = np.random.default_rng(seed)
    while True:
        side, count = count_now()
        if side == SIDE:
            pairs = [sample(faces, rng) for _ in range(count)]
            at = (0, 0)
        else:  # parts of twice as many faces as fit whole, all from one place
            at = tuple(16 * int(v) for v in rng.integers(0, (SIDE - side) // 16 + 1, 2))
            cut = (slice(at[0], at[0] + side), slice(at[1], at[1] + side))
            pairs = [tuple(x[cut] for x in sample(faces, rng)) for _ in range(count)]
        bad, good = (np.stack(x) for x in zip(*pairs, strict=True))
        out.put((bad, good, at))


def loss(made: torch.Tensor, good: torch.Tensor, weight: torch.Tensor, spectrum: bool):
    error = (made - good).abs()
    total = (error * weight).mean() + 2 * ((made - good).square() * weight).mean()
    for axis in (2, 3):
        slope = (torch.diff(made, dim=axis) - torch.diff(good, dim=axis)).abs()
        total = total + 0.5 * slope.mean()
    if spectrum:
        total = total + 0.05 * torch.fft.rfft2(made - good, norm="ortho").abs().mean()
    return total


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Of two uint8 faces, over the middle that gets pasted, in dB."""
    cut = (slice(24, -24), slice(24, -24))
    mse = np.mean((a[cut].astype(np.float32) - b[cut]) ** 2)
    return float(10 * np.log10(255**2 / max(mse, 1e-3)))


@torch.inference_mode()
def restored(net: Restorer, faces: np.ndarray) -> np.ndarray:
    out = []
    for part in np.array_split(faces, max(1, len(faces) // 8)):
        with torch.autocast("cpu", torch.bfloat16):
            change = net(tensor(part))
        y = (((tensor(part) + change.float()).clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        out.append(y.permute(0, 2, 3, 1).numpy())
    return np.concatenate(out)


def score(net: Restorer, checks: dict[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """dB gained over the bicubic picture."""
    net.eval()
    row = {}
    for name, (bad, good) in checks.items():
        made = restored(net, bad)
        gains = [psnr(m, g) - psnr(b, g) for m, b, g in zip(made, bad, good, strict=True)]
        row[name] = round(float(np.mean(gains)), 3)
    net.train()
    return row


def checks_of(name: str, faces: list[np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    good = np.stack(faces)
    made = {
        f"{name}-{level}": (
            np.stack([degrade.level(face, level, i) for i, face in enumerate(faces)]),
            good,
        )
        for level in degrade.LEVELS
    }
    fine = np.stack([degrade.jpeg(face, 90) for face in faces])
    rng = np.random.default_rng(5)
    blind = np.stack([degrade.blind(face, rng) for face in faces])
    return made | {f"{name}-fine": (fine, good), f"{name}-blind": (blind, good)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", type=Path)
    parser.add_argument("--minutes", type=float, default=80)
    parser.add_argument("--sizes", default="128:0.5,256:0.5", help="side:share of the time")
    parser.add_argument("--batch", type=int, default=4, help="whole faces, or as many pixels")
    parser.add_argument("--lr", type=float, default=6e-4)
    parser.add_argument("--check", type=float, default=4, help="minutes between checks")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(args.seed)
    faces = portraits(args.data, "train") + stock(args.data, held=False)
    least = np.quantile([sharpness(face) for face in faces], SOFT)
    faces = [face for face in faces if sharpness(face) > least]
    real = stock(args.data, held=True)
    checks = checks_of("val", portraits(args.data, "val")[::3]) | checks_of("real", real[:60])
    counts = {"faces": len(faces), "real": len(real)}
    print(json.dumps(counts | {k: str(v) for k, v in vars(args).items()}), flush=True)
    net = Restorer().to(memory_format=torch.channels_last)
    if args.init:
        net.load_state_dict(load_file(args.init))
    ema = Restorer().to(memory_format=torch.channels_last)
    ema.load_state_dict(net.state_dict())
    optimiser = torch.optim.AdamW(
        net.parameters(), lr=args.lr, betas=(0.9, 0.99), weight_decay=1e-4, fused=True
    )
    sizes = [(int(a), float(b)) for a, b in (part.split(":") for part in args.sizes.split(","))]
    start = time.time()
    progress = lambda: min(1.0, (time.time() - start) / (args.minutes * 60))  # noqa: E731

    def count_now() -> tuple[int, int]:
        ends = np.cumsum([share for _, share in sizes])
        side = sizes[min(int(np.searchsorted(ends, progress(), "right")), len(sizes) - 1)][0]
        return side, args.batch * SIDE * SIDE // side**2

    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    oval = np.exp(-(((x / 0.33) ** 2 + ((y - 0.03) / 0.4) ** 2) ** 2)).astype(np.float32)
    weights = torch.from_numpy(0.4 + oval)[None, None]
    batches: queue.Queue = queue.Queue(2)
    threading.Thread(target=feed, args=(faces, args.seed, count_now, batches), daemon=True).start()
    step, next_check, running, seen = 0, args.check * 60, 0.0, 0
    while True:
        done = progress()
        rate = (
            args.lr * min(1.0, (step + 1) / 200) * max(0.5 * (1 + math.cos(math.pi * done)), 0.01)
        )
        for group in optimiser.param_groups:
            group["lr"] = rate
        bad, good, at = batches.get()
        h = bad.shape[1]
        weight = weights[:, :, at[0] : at[0] + h, at[1] : at[1] + h]
        with torch.autocast("cpu", torch.bfloat16):
            change = net(tensor(bad), at)
        made = tensor(bad) + change.float()
        value = loss(made, tensor(good), weight, step % 2 == 0)
        optimiser.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        optimiser.step()
        step, seen = step + 1, seen + len(bad)
        running = 0.99 * running + 0.01 * value.item() if step > 1 else value.item()
        decay = min(0.998, step / (20 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(ema.parameters()), list(net.parameters()), 1 - decay)
        if time.time() - start > next_check or done >= 1:
            next_check += args.check * 60
            save_file(
                {k: v.contiguous() for k, v in ema.state_dict().items()}, args.out / "ema.tmp"
            )
            os.replace(args.out / "ema.tmp", args.out / "ema.safetensors")
            row = {"minute": round((time.time() - start) / 60, 1), "step": step, "faces": seen}
            row |= {"side": h, "lr": round(rate, 6), "loss": round(running, 5)} | score(ema, checks)
            with open(args.out / "log.jsonl", "a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)
        if done >= 1:
            return


if __name__ == "__main__":
    main()
