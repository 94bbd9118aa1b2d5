"""Train the landmark network: 468 mesh vertices and five points from a 128 px crop of a face.

    python train/landmarker.py --data ../shared/data --out runs/landmarks --minutes 16

One process, one stream of samples, a schedule that follows the clock. ``runs/landmarks/`` gets
``ema.safetensors`` (what ``train/export.py`` ships and ``--init`` goes on from), ``log.jsonl`` and
the teacher's labels, ``meshes.npz``, which the next run reads again.
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
import faces  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from portrayer.nets.landmarker import SIDE, VERTICES, Landmarker  # noqa: E402

STORE, WIDE = 256, 2.5  # side of a kept crop, and how many boxes it is wide
BOX = 1.5  # how many boxes the network's crop is wide
TURN, SCALE, SHIFT = 25.0, 0.15, 0.10  # jitter: degrees, log scale, share of the box
RIGHT_EYE = [33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246]
LEFT_EYE = [263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466]
EYES = RIGHT_EYE + LEFT_EYE
LIPS = [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409]
LIPS += [78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415]


def view(rng: np.random.Generator, amount: float = 1) -> np.ndarray:
    """(2, 3) from a kept crop to the network's, jittered by ``amount`` of what training uses."""
    angle = np.radians(rng.uniform(-TURN, TURN) * amount)
    scale = SIDE / (BOX / WIDE * STORE) * math.exp(rng.uniform(-SCALE, SCALE) * amount)
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    linear = np.array([[cos, sin], [-sin, cos]])
    centre = (STORE - 1) / 2 + rng.uniform(-SHIFT, SHIFT, 2) * amount * STORE / WIDE
    return np.hstack([linear, ((SIDE - 1) / 2 - linear @ centre)[:, None]])


def colours(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Contrast, brightness, tint and saturation as one matrix."""
    grey = np.full((3, 3), 1 / 3)
    kept = 0.0 if rng.random() < 0.12 else rng.uniform(0.5, 1.4)
    gain = rng.uniform(0.55, 1.45) * rng.uniform(0.88, 1.12, (3, 1))
    matrix = gain * (kept * np.eye(3) + (1 - kept) * grey)
    offset = 128 * (1 - gain) * rng.uniform(0, 1) + rng.uniform(-30, 30)
    return cv2.transform(image, np.hstack([matrix, offset]))


def damage(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur, small size, noise, JPEG, patches over the face, a border of the photo."""
    if rng.random() < 0.25:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 2.2))
    if rng.random() < 0.25:
        small = int(SIDE / rng.uniform(1.3, 4))
        image = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
        image = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.25:
        noise = np.empty(image.shape, np.int16)
        cv2.randn(noise, 0, rng.uniform(2, 18))
        image = cv2.add(image, noise, dtype=cv2.CV_8U)
    if rng.random() < 0.2:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 80))]
        image = cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_COLOR)
    if rng.random() < 0.3:
        for _ in range(rng.integers(1, 3)):
            h, w = rng.integers(12, 48, 2)
            y, x = rng.integers(0, SIDE - h), rng.integers(0, SIDE - w)
            image[y : y + h, x : x + w] = rng.integers(0, 256, 3)
    if rng.random() < 0.15:
        turned = np.rot90(image, rng.integers(4))
        turned[: rng.integers(4, 30)] = rng.integers(0, 256)
    return image


def sample(
    crop: faces.Crop, rng: np.random.Generator, order: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(image (128, 128, 3) uint8 RGB, mesh (468, 3) in its pixels)."""
    if rng.random() < 0.5:
        crop = faces.mirrored(crop, order)
    matrix = view(rng)
    image = cv2.warpAffine(
        crop.image,
        matrix,
        (SIDE, SIDE),
        borderMode=cv2.BORDER_CONSTANT if rng.random() < 0.5 else cv2.BORDER_REPLICATE,
    )
    return damage(colours(image, rng), rng), faces.move(crop.mesh, matrix)


def shape(meshes: np.ndarray, rng: np.random.Generator, count: int, components: int) -> tuple:
    """(mean (1404,), basis (components, 1404) scaled by deviations) of jittered meshes (N, 468, 3),
    in pixels of the network's crop.
    """
    drawn = [faces.move(meshes[rng.integers(len(meshes))], view(rng)) for _ in range(count)]
    flat = np.stack(drawn).reshape(count, -1)
    mean = flat.mean(0)
    values, vectors = np.linalg.eigh(np.cov(flat - mean, rowvar=False))
    basis = vectors[:, : -components - 1 : -1] * np.sqrt(np.maximum(values[::-1][:components], 0))
    kept = values[-components:].sum() / values.sum()
    print(f"{components} components keep {kept:.6f} of the variance", flush=True)
    return mean.astype(np.float32), basis.T.astype(np.float32).copy()


def tensors(image: np.ndarray) -> torch.Tensor:
    """(N, S, S, 3) uint8 -> (N, 3, S, S) float32, normalised, channels-last."""
    x = torch.from_numpy(image).permute(0, 3, 1, 2).float()
    return ((x - 127.5) / 127.5).contiguous(memory_format=torch.channels_last)


def wing(error: torch.Tensor, wide: float = 10, bend: float = 2) -> torch.Tensor:
    """Feng et al., 2018: logarithmic below ``wide`` pixels, so that small errors count."""
    size = error.abs()
    inner = wide * torch.log1p(size / bend)
    return torch.where(size < wide, inner, size - wide + wide * math.log1p(wide / bend))


@torch.inference_mode()
def score(net: torch.nn.Module, crops: list[faces.Crop], jitter: float) -> dict[str, float]:
    """Mean errors as shares of the eye distance; points against the detector's."""
    net.eval()
    rng = np.random.default_rng(5)
    rows = []
    for at in range(0, len(crops), 32):
        part = crops[at : at + 32]
        matrices = [view(rng, jitter) for _ in part]
        images = np.stack(
            [
                cv2.warpAffine(c.image, m, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
                for c, m in zip(part, matrices, strict=True)
            ]
        )
        with torch.autocast("cpu", torch.bfloat16):
            out = net(tensors(images)).numpy() * SIDE
        for c, m, found in zip(part, matrices, out, strict=True):
            mesh = faces.move(c.mesh, m)
            unit = faces.eye_distance(mesh)
            off = np.linalg.norm((found[:VERTICES] - mesh)[:, :2], axis=1) / unit
            deep = found[:VERTICES, 2] - mesh[:, 2]
            points = np.linalg.norm(found[VERTICES:, :2] - faces.move(c.points, m), axis=1) / unit
            rows.append(
                (
                    off.mean(),
                    off[EYES].mean(),
                    off[LIPS].mean(),
                    np.abs(deep - deep.mean()).mean() / unit,
                    points.mean(),
                )
            )
    net.train()
    table = np.array(rows)
    means = dict(zip(("nme", "eyes", "lips", "z", "points"), table.mean(0), strict=True))
    means |= {"median": np.median(table[:, 0]), "worst": np.quantile(table[:, 0], 0.95)}
    return {name: round(float(value), 4) for name, value in means.items()}


def begin(net: Landmarker, crops: list[faces.Crop], order: np.ndarray) -> None:
    """Give a fresh network its linear space of faces and its five points."""
    meshes = np.stack([c.mesh for c in crops])
    points = np.stack([c.points for c in crops])
    both = np.concatenate([meshes, meshes[:, order] * (-1, 1, 1) + (STORE - 1, 0, 0)])
    mean, basis = shape(both, np.random.default_rng(1), 12_000, len(net.face.basis))
    with torch.no_grad():
        net.face.mean.copy_(torch.from_numpy(mean))
        net.face.basis.copy_(torch.from_numpy(basis))
        net.face.points.copy_(torch.from_numpy(faces.five(meshes[..., :2], points, order, 0.3)))
        net.face.coefficients.bias.zero_()


def floats(net: torch.nn.Module) -> list[torch.Tensor]:
    return [t for t in net.state_dict().values() if t.is_floating_point()]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", type=Path)
    parser.add_argument("--minutes", type=float, default=16)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--warm", type=int, default=200)
    parser.add_argument("--check", type=float, default=2, help="minutes between checks")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(1)
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    folder, teachers = args.data / "portraits", args.data / "teachers"
    found = faces.portraits(folder) + faces.people(args.data, held=False)
    meshes = faces.labels(found, folder, teachers, args.out)
    learn, check = (
        faces.crops([f for f in found if f.split == split], meshes, folder, WIDE, STORE)
        for split in ("train", "val")
    )
    order = faces.mirror(teachers)
    net = Landmarker()
    if args.init:
        net.load_state_dict(load_file(args.init))
    else:
        begin(net, learn, order)
    ema = Landmarker()
    ema.load_state_dict(net.state_dict())
    net, ema = (n.to(memory_format=torch.channels_last) for n in (net, ema))
    weights = faces.rarity(np.stack([c.mesh for c in learn]))
    print(json.dumps({"train": len(learn), "val": len(check), "args": vars(args)}, default=str))
    chances = weights / weights.sum()
    counts = torch.ones(VERTICES, 3)
    counts[EYES + LIPS] = 2
    counts[:, 2] *= 0.3
    counts /= counts.mean()
    decayed = [p for n, p in net.named_parameters() if p.ndim > 1 and not n.startswith("face.")]
    plain = [p for n, p in net.named_parameters() if p.ndim <= 1 or n.startswith("face.")]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.03}, {"params": plain, "weight_decay": 0.0}],
        lr=args.lr,
        betas=(0.9, 0.98),
        fused=True,
    )
    start = time.time()
    step, running, making, next_check, done = 0, 0.0, 0.0, args.check * 60, 0.0
    while done < 1:
        done = min(1.0, (time.time() - start) / (args.minutes * 60))
        rate = args.lr * min(1.0, (step + 1) / args.warm) * 0.5 * (1 + math.cos(math.pi * done))
        for group in optimiser.param_groups:
            group["lr"] = max(rate, args.lr / 300)
        before = time.time()
        picked = rng.choice(len(learn), args.batch, p=chances)
        images, targets = zip(*(sample(learn[at], rng, order) for at in picked), strict=True)
        making += time.time() - before
        with torch.autocast("cpu", torch.bfloat16):
            out = net(tensors(np.stack(images)))
        error = out[:, :VERTICES] * SIDE - torch.from_numpy(np.stack(targets))
        value = (wing(error) * counts).mean()
        optimiser.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimiser.step()
        running = 0.98 * running + 0.02 * value.item() if step else value.item()
        step += 1
        decay = min(0.998, step / (20 + step))
        with torch.no_grad():
            torch._foreach_lerp_(floats(ema), floats(net), 1 - decay)
        if time.time() - start > next_check or done >= 1:
            next_check += args.check * 60
            state = {name: tensor.contiguous() for name, tensor in ema.state_dict().items()}
            save_file(state, args.out / "ema.tmp")
            os.replace(args.out / "ema.tmp", args.out / "ema.safetensors")
            row = {
                "minute": round((time.time() - start) / 60, 1),
                "step": step,
                "making": round(making / (time.time() - start), 2),
                "lr": round(rate, 6),
                "loss": round(running, 3),
                "clean": score(ema, check, 0),
                "jittered": score(ema, check, 1),
            }
            with (args.out / "log.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
