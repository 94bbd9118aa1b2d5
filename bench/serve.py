"""The server under load: interactive latency beside a job of hundreds, and its memory.

    python bench/serve.py PHOTOS [--jobs 4] [--photos 300] [--minute 20]

A server is started over an empty folder. First single photos at rest, then the same while jobs of
``--photos`` photos are worked off and ``--minute`` single photos a minute come in. Prints one JSON
object: seconds at p50 and p95, at rest and beside the jobs, the seconds of one batch, images/s, and
the process' memory in the first tenth and the last.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

ENDINGS = {".jpg", ".jpeg", ".png", ".webp"}
REST = 30  # single photos at rest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--count", type=int, default=300, help="photos in a job")
    parser.add_argument("--minute", type=float, default=20, help="single photos a minute")
    parser.add_argument("--task", default="matte")
    asked = parser.parse_args()
    blobs = [path.read_bytes() for path in sorted(asked.photos.rglob("*")) if is_photo(path)]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "portrayer", "serve", "--port", "0", "--data", folder]
        environment = {**os.environ, "PORTRAYER_SERVER_LOGS": "json"}
        with (
            open(os.devnull, "w") as nowhere,
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=nowhere, text=True, env=environment
            ) as process,
        ):
            try:
                assert process.stdout is not None
                address = process.stdout.readline().rpartition(" ")[2].strip()
                with httpx.Client(base_url=address, timeout=600, trust_env=False) as client:
                    report = measure(client, psutil.Process(process.pid), blobs, asked)
            finally:
                process.terminate()
    print(json.dumps(report, indent=2))


def is_photo(path: Path) -> bool:
    return path.suffix.lower() in ENDINGS


def measure(
    client: httpx.Client, process: psutil.Process, blobs: list[bytes], asked: argparse.Namespace
) -> dict[str, Any]:
    while client.get("/readyz").status_code != 200:
        time.sleep(0.1)
    photos = cycle(blobs)
    single = f"/v1/{asked.task}"

    def one() -> float:
        begun = time.perf_counter()
        client.post(single, files={"photo": next(photos)}).raise_for_status()
        return time.perf_counter() - begun

    for _ in range(3):
        one()
    rest = [one() for _ in range(REST)]
    before = client.get("/v1/system").json()["devices"]
    begun = time.perf_counter()
    jobs = [posted(client, blobs, asked) for _ in range(asked.jobs)]
    memory: list[int] = []
    busy: list[float] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.2):
            memory.append(process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    due = time.perf_counter()
    while not all(settled(client, job) for job in jobs):
        busy.append(one())
        due += 60 / asked.minute
        while time.perf_counter() < due and not all(settled(client, job) for job in jobs):
            time.sleep(0.1)
    seconds = time.perf_counter() - begun
    ended.set()
    watcher.join()
    after = client.get("/v1/system").json()
    spent = sum(device["busy"] for device in after["devices"])
    spent -= sum(device["busy"] for device in before)
    ran = sum(device["forwards"] for device in after["devices"])
    ran -= sum(device["forwards"] for device in before)
    views = [client.get(f"/v1/jobs/{job}").json() for job in jobs]
    done = sum(view["done"] for view in views)
    tenth = max(1, len(memory) // 10)
    return {
        "rest": percentiles(rest),
        "busy": percentiles(busy[:-1] or busy),
        "one_batch_seconds": round(spent / max(1, ran), 4),
        "requests": len(busy),
        "done": done,
        "failed": sum(view["failed"] for view in views),
        "images_per_second": round(done / seconds, 2),
        "memory_first_tenth": max(memory[:tenth]),
        "memory_last_tenth": max(memory[-tenth:]),
        "memory_peak": max(memory),
        "pace": after["pace"],
        "batches": [device["why"] for device in after["devices"]],
    }


def posted(client: httpx.Client, blobs: list[bytes], asked: argparse.Namespace) -> str:
    files = [("files", (f"{i}.jpg", blobs[i % len(blobs)])) for i in range(asked.count)]
    answer = client.post("/v1/jobs", files=files, data={"task": asked.task}).raise_for_status()
    return str(answer.json()["id"])


def settled(client: httpx.Client, job: str) -> bool:
    view = client.get(f"/v1/jobs/{job}").json()
    return bool(view["done"] + view["failed"] + view["canceled"] == view["total"])


def percentiles(seconds: list[float]) -> dict[str, float]:
    half, most = np.percentile(seconds, (50, 95))
    return {"p50": round(float(half), 4), "p95": round(float(most), 4)}


if __name__ == "__main__":
    main()
