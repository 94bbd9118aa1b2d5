"""Portrayer beside rembg: the same photos, the same network, the same cores, one run.

    python bench/run.py PHOTOS [--images 200] [--rembg rembg] [--rounds 3]

The photos are repeated to ``--images`` files. rembg gets the network as ONNX at its own 320 px;
Portrayer runs it at the size it ships with, which is more work. Rounds alternate; the ratio is of
medians, start-up included on both sides, then left out on both. Memory is sampled while Portrayer
runs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent))


def folder_of(photos: Sequence[Path], count: int, where: Path) -> Path:
    """A folder of ``count`` files, the photos over and over."""
    where.mkdir()
    for number in range(count):
        photo = photos[number % len(photos)]
        shutil.copyfile(photo, where / f"{number:04}{photo.suffix}")
    return where


def run_portrayer(
    source: Path, out: Path, extra: Sequence[str]
) -> tuple[float, dict, list[tuple[int, int]]]:
    """Whole-process seconds, the program's own report, and (photos done, resident bytes)
    samples.
    """
    command = [
        sys.executable,
        "-m",
        "portrayer",
        "matte",
        str(source),
        "-o",
        str(out),
        "--json",
        *extra,
    ]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    samples = []
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            samples.append((sum(1 for _ in out.glob("*.png")), watched.memory_info().rss))
        except psutil.Error:
            break
        time.sleep(0.1)
    text, _ = process.communicate()
    seconds = time.perf_counter() - start
    return seconds, json.loads(text), samples


def flatness(samples: list[tuple[int, int]], count: int) -> tuple[float, float]:
    """Peak resident GiB up to a tenth of the photos, and after it."""
    early = max((rss for done, rss in samples if done <= count // 10), default=0)
    late = max((rss for done, rss in samples if done > count // 10), default=0)
    return early / 2**30, late / 2**30


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument(
        "--rembg",
        default=shutil.which("rembg") or "",
        help="the rembg program, where it is installed",
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args, extra = parser.parse_known_args()
    photos = sorted(
        p for p in args.photos.iterdir() if p.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp"}
    )
    if not photos:
        raise SystemExit(f"no photos in {args.photos}")
    ours, whole, peers, memory, report = [], [], [], [], {}
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        source = folder_of(photos, args.images, place / "in")
        if args.rembg:
            from peers.rembg import Peer

            peer = Peer(args.rembg, place / "models")
            one = folder_of(photos, 1, place / "one")
            peer.run(one, place / "first")  # compiles and caches
            start_up = 1 / peer.run(one, place / "second")
        for number in range(args.rounds):
            seconds, report, samples = run_portrayer(source, place / f"out{number}", extra)
            ours.append(report["images_per_second"])
            whole.append(args.images / seconds)
            memory.append(flatness(samples, args.images))
            print(
                f"portrayer  {ours[-1]:6.2f} images/s ({whole[-1]:.2f} with start-up)",
                file=sys.stderr,
            )
            shutil.rmtree(place / f"out{number}")
            if args.rembg:
                peers.append(peer.run(source, place / f"peer{number}"))
                print(f"rembg p    {peers[-1]:6.2f} images/s (with start-up)", file=sys.stderr)
                shutil.rmtree(place / f"peer{number}")
    early, late = (max(m[i] for m in memory) for i in (0, 1))
    table = {
        "images": args.images,
        "cores": len(os.sched_getaffinity(0)),
        "device": report["device"],
        "precision": report["precision"],
        "portrayer_images_per_second": round(statistics.median(ours), 2),
        "portrayer_with_startup": round(statistics.median(whole), 2),
        "stage_cpu_seconds": report["stage_seconds"],
        "peak_gib_first_tenth": round(early, 3),
        "peak_gib_after": round(late, 3),
    }
    if peers:
        table["rembg_images_per_second"] = round(statistics.median(peers), 2)
        peer_seconds = args.images / statistics.median(peers) - start_up
        table["rembg_without_startup"] = round((args.images - 1) / peer_seconds, 2)
        table["ratio_without_startup"] = round(
            statistics.median(ours) / table["rembg_without_startup"], 2
        )
        table["ratio"] = round(statistics.median(whole) / statistics.median(peers), 2)
    if args.json:
        print(json.dumps(table, indent=2))
    else:
        for name, value in table.items():
            print(f"{name.replace('_', ' '):32}{value}")


if __name__ == "__main__":
    main()
