"""Train the matting network.

    python train/matting.py --data ../shared/data --out runs/a --minutes 40 --sizes 224:0.6,384:0.4

One process a core, each with its own data stream; weights are averaged every few steps (local SGD,
Stich 2019), which forgives a core that is shared. The schedule follows the clock. ``runs/a/`` gets
``ema.safetensors`` (what ``train/export.py`` ships and ``--init`` goes on from) and ``log.jsonl``.
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
import data as pictures  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from portrayer.image.geometry import fit, unfit  # noqa: E402
from portrayer.nets.unet import UNet  # noqa: E402

SYNC = 20  # steps between averages
MEAN = torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1)
STD = torch.tensor([58.395, 57.12, 57.375]).view(1, 3, 1, 1)


def tensors(image: np.ndarray) -> torch.Tensor:
    """(N, S, S, 3) uint8 -> (N, 3, S, S) float32, normalised, channels-last."""
    x = torch.from_numpy(image).permute(0, 3, 1, 2).float()
    return ((x - MEAN) / STD).contiguous(memory_format=torch.channels_last)


def weighted(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return (values * weight).sum() / weight.sum().clamp_min(1)


def loss(
    logits: torch.Tensor, coarse: torch.Tensor, alpha: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """Cross entropy for who, L1 for how much, both again in the soft band, and gradients at three
    scales for edges.
    """
    logits, coarse = logits.float(), coarse.float()
    p = torch.sigmoid(logits)
    error = (p - alpha).abs()
    soft = F.max_pool2d(((alpha > 0.04) & (alpha < 0.96)).float(), 7, 1, 3) * weight
    total = weighted(F.binary_cross_entropy_with_logits(logits, alpha, reduction="none"), weight)
    total = total + 2 * weighted(error, weight) + 0.5 * weighted(error, soft)
    a, b, w = p, alpha, weight
    for _ in range(3):
        for axis in (2, 3):
            slope = torch.diff(a, dim=axis) - torch.diff(b, dim=axis)
            both = torch.minimum(
                w.narrow(axis, 1, w.shape[axis] - 1), w.narrow(axis, 0, w.shape[axis] - 1)
            )
            total = total + 0.5 * weighted(slope.abs(), both)
        a, b, w = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2), -F.max_pool2d(-w, 2)
    small, known = (F.interpolate(t, size=coarse.shape[2:], mode="area") for t in (alpha, weight))
    return total + 0.4 * weighted(
        F.binary_cross_entropy_with_logits(coarse, small, reduction="none"), known
    )


def feed(
    maker: pictures.Maker, seed: int, batch: int, side_now, out: queue.Queue, stop: threading.Event
) -> None:
    rng = np.random.default_rng(seed)
    while not stop.is_set():
        side = side_now()
        made = [
            maker.sample(rng, side)
            for _ in range(batch if side < 320 else max(4, batch * 224 * 224 // side**2))
        ]
        item = tuple(np.stack(x) for x in zip(*made, strict=True))
        while not stop.is_set():
            try:
                out.put(item, timeout=1)
                break
            except queue.Full:
                pass


@torch.inference_mode()
def score(net: torch.nn.Module, sources: list[pictures.Source], side: int) -> dict[str, float]:
    """MAD, IoU at .5 and MAD in the soft band of the plain network output (no refinement), at each
    photo's cached size.
    """
    net.eval()
    mads, ious, bands = [], [], []
    for s in sources:
        square, where = fit(s.image, side)
        with torch.autocast("cpu", torch.bfloat16):
            p = torch.sigmoid(net(tensors(square[None])).float())[0, 0].numpy()
        p, a, known = unfit(p, where), s.alpha.astype(np.float32) / 255, s.sure > 0
        mads.append(np.abs(p - a)[known].mean())
        both = ((p > 0.5) & (a > 0.5) & known).sum()
        either = (((p > 0.5) | (a > 0.5)) & known).sum()
        ious.append(both / either if either else 1.0)
        band = cv2.dilate(((a > 0.04) & (a < 0.96)).astype(np.uint8), np.ones((7, 7))) > 0
        bands.append(np.abs(p - a)[band & known].mean() if (band & known).any() else 0)
    net.train()
    return {
        "mad": round(float(np.mean(mads)), 4),
        "iou": round(float(np.mean(ious)), 4),
        "band": round(float(np.mean(bands)), 4),
    }


def flat(net: torch.nn.Module) -> list[torch.Tensor]:
    return [t for t in net.state_dict().values() if t.is_floating_point()]


def work(
    rank: int, world: int, args: argparse.Namespace, maker: pictures.Maker, checks: dict[str, list]
) -> None:
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(1)
    torch.manual_seed(args.seed)
    dist.init_process_group(
        "gloo", init_method=f"file://{args.out.resolve()}/rendezvous", rank=rank, world_size=world
    )
    net = UNet().to(memory_format=torch.channels_last)
    if args.init:
        net.load_state_dict(load_file(args.init))
    ema = UNet().to(memory_format=torch.channels_last)
    ema.load_state_dict(net.state_dict())
    decayed = [p for p in net.parameters() if p.ndim > 1]
    plain = [p for p in net.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.03}, {"params": plain, "weight_decay": 0.0}],
        lr=args.lr,
        betas=(0.9, 0.98),
        fused=True,
    )
    sizes = [(int(a), float(b)) for a, b in (part.split(":") for part in args.sizes.split(","))]
    start = time.time()
    progress = lambda: min(1.0, (time.time() - start) / (args.minutes * 60))  # noqa: E731

    def side_now() -> int:
        done = progress()
        for side, share in sizes:
            done -= share
            if done < 0:
                return side
        return sizes[-1][0]

    batches: queue.Queue = queue.Queue(4)
    stop = threading.Event()
    threading.Thread(
        target=feed,
        args=(maker, args.seed * 1000 + rank, args.batch, side_now, batches, stop),
        daemon=True,
    ).start()
    step, seen, next_check, running = 0, 0, args.check * 60, 0.0
    over = torch.zeros(1)
    while over.item() < world:
        rate = (
            args.lr
            * min(1.0, (step + 1) / args.warm)
            * max(0.5 * (1 + math.cos(math.pi * progress())), 0.003)
        )
        for group in optimiser.param_groups:
            group["lr"] = rate
        image, alpha, weight = batches.get()
        alpha_t, weight_t = (torch.from_numpy(t)[:, None].float() / 255 for t in (alpha, weight))
        with torch.autocast("cpu", torch.bfloat16):
            logits, coarse = net(tensors(image))
        value = loss(logits, coarse, alpha_t, weight_t)
        optimiser.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimiser.step()
        running = 0.98 * running + 0.02 * value.item() if step else value.item()
        step, seen = step + 1, seen + len(image)
        if step % SYNC:
            continue
        over = torch.tensor([float(progress() >= 1)])
        dist.all_reduce(over)
        with torch.no_grad():
            vector = torch.cat([t.reshape(-1) for t in flat(net)])
            dist.all_reduce(vector)
            for t, part in zip(
                flat(net), (vector / world).split([t.numel() for t in flat(net)]), strict=True
            ):
                t.copy_(part.view(t.shape))
            decay = min(0.97, (step / SYNC) / (10 + step / SYNC))
            for e, t in zip(flat(ema), flat(net), strict=True):
                e.lerp_(t, 1 - decay)
        if rank == 0 and (time.time() - start > next_check or over.item() >= world):
            next_check += args.check * 60
            save_file(
                {k: v.contiguous() for k, v in ema.state_dict().items()}, args.out / "ema.tmp"
            )
            os.replace(args.out / "ema.tmp", args.out / "ema.safetensors")
            side = sizes[-1][0]
            row = {
                "minute": round((time.time() - start) / 60, 1),
                "step": step,
                "samples": seen * world,
                "side": side_now(),
                "lr": round(rate, 6),
                "loss": round(running, 4),
            }
            row |= {name: score(ema, sources, side) for name, sources in checks.items()}
            with open(args.out / "log.jsonl", "a") as f:
                f.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)
    stop.set()
    dist.barrier()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--labels", type=Path, help="folder of labels drawn by hand (train/labels)")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", type=Path)
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--sizes", default="224:0.6,384:0.4", help="side:share of the time")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--warm", type=int, default=200)
    parser.add_argument("--check", type=float, default=3, help="minutes between checks")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "rendezvous").unlink(missing_ok=True)
    cv2.setNumThreads(1)
    groups = [
        (pictures.portraits(args.data, "train"), 0.35),
        (pictures.stock(args.data, "train"), 0.3),
    ]
    checks = {
        "portraits": pictures.portraits(args.data, "val")[::3],
        "stock": pictures.stock(args.data, "val"),
    }
    scenes = pictures.scenes(args.data, "train")
    for folder, share in (("stock", 0.6), ("portraits", 0.25)) if args.labels else ():
        drawn, held, empty = pictures.drawn(args.data / folder, args.labels / f"{folder}.json")
        groups.append((drawn, share))
        scenes += empty
        if held:
            checks["drawn"] = held
    shares = np.concatenate(
        [np.array([s.weight for s in g]) * share / sum(s.weight for s in g) for g, share in groups]
    )
    maker = pictures.Maker([s for g, _ in groups for s in g], shares, scenes)
    print(
        json.dumps(
            {
                "sources": [len(g) for g, _ in groups],
                "scenes": len(scenes),
                "checks": {k: len(v) for k, v in checks.items()},
                "args": {k: str(v) for k, v in vars(args).items()},
            }
        ),
        flush=True,
    )
    import multiprocessing

    context = multiprocessing.get_context("fork")  # the pictures are shared by copy-on-write
    children = [
        context.Process(target=work, args=(r, args.processes, args, maker, checks))
        for r in range(args.processes)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
    sys.exit(max(abs(child.exitcode or 0) for child in children))


if __name__ == "__main__":
    main()
