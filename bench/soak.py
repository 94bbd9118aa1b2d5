"""Portrayer for hours: many photos of all three tasks mixed, one process, is its memory flat?

    python bench/soak.py PHOTOS [--images 2000] [--memory 2GiB] [--json]

Files to files, through one pipeline and all its workers. Resident memory is read after every ten
photos. What counts is the growth from an early stretch of the run (photos 100 to 600 of 2,000) to
the last quarter, of medians and of peaks; the exit code is 1 where one of them is beyond 2 %.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from photos import found_in  # this file's neighbour

from portrayer.errors import PortrayerError
from portrayer.pipeline import Pipeline
from portrayer.studio import Studio

EVERY = 10  # photos from one reading of the memory to the next
EARLY, LATE = (0.05, 0.3), (0.75, 1.0)  # 100 to 600 and the last 500 of 2,000
GROWTH = 0.02
MIXED = ("matte", "enhance", "fuse")


@dataclass(frozen=True)
class Stretch:
    """Resident MiB in a part of a run."""

    median: float
    peak: float


@dataclass(frozen=True)
class Soak:
    """What a run was, and what came of it. ``growth``: of median and peak, early to late."""

    images: int
    seconds: float
    budget_mib: float
    early: Stretch
    late: Stretch
    growth: tuple[float, float]

    @property
    def flat(self) -> bool:
        return max(self.growth) <= GROWTH


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--memory", default="2GiB", help="the budget of the host")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if asked.images < 8 * EVERY:
        parser.error(f"--images is at least {8 * EVERY}: with fewer there is nothing to compare")
    with tempfile.TemporaryDirectory() as out, Studio(device="cpu", memory=asked.memory) as studio:
        begun = time.perf_counter()
        resident = soak(studio.pipeline, found_in(asked.photos), asked.images, Path(out))
        seconds = time.perf_counter() - begun
        budget = studio.pipeline.host.total + studio.pipeline.engine.stats().total
    early, late = (stretch(resident, *part) for part in (EARLY, LATE))
    growth = late.median / early.median - 1, late.peak / early.peak - 1
    report = Soak(asked.images, round(seconds, 1), budget / 2**20, early, late, growth)
    if asked.json:
        print(json.dumps(asdict(report) | {"flat": report.flat, "resident_mib": resident}))
    else:
        print(f"{report.images} photos in {seconds:.0f} s, a budget of {report.budget_mib:.0f} MiB")
        for name, part in (("early", early), ("late", late)):
            print(f"{name:6} median {part.median:7.1f} MiB   peak {part.peak:7.1f} MiB")
        grown = " and ".join(f"{share:+.1%}" for share in growth)
        print(f"{'flat' if report.flat else 'NOT FLAT'}: {grown}, {GROWTH:.0%} is allowed")
    return 0 if report.flat else 1


def soak(pipeline: Pipeline, photos: Sequence[Path], images: int, out: Path) -> list[float]:
    """Resident MiB after every :data:`EVERY` photos."""
    process, resident = psutil.Process(), []
    faces = [photo for photo in photos if has_face(pipeline, photo, out / "face.jpg")]
    if not faces:
        raise SystemExit("none of the photos shows a face, so none can be fused")

    def one(at: int) -> None:
        task, turn = MIXED[at % len(MIXED)], at // len(MIXED)
        photo, options = photos[turn % len(photos)], dict[str, Any]()
        if task == "fuse":
            photo = faces[turn % len(faces)]
            options = {"source": faces[(turn + 1) % len(faces)], "consent": True}
        ending = ".png" if task == "matte" else ".jpg"
        work(pipeline, task, options, photo, out / f"{at % 50}{ending}")

    with ThreadPoolExecutor(pipeline.workers) as pool:
        for done, _ in enumerate(pool.map(one, range(images)), 1):
            if done % EVERY == 0:
                resident.append(process.memory_info().rss / 2**20)
            if done % 100 == 0:
                print(f"{done:6} photos {resident[-1]:8.1f} MiB", file=sys.stderr, flush=True)
    return resident


def has_face(pipeline: Pipeline, photo: Path, target: Path) -> bool:
    return bool(work(pipeline, "enhance", {}, photo, target)["faces"])


def work(
    pipeline: Pipeline, task: str, options: Mapping[str, Any], photo: Path, target: Path
) -> Mapping[str, Any]:
    try:
        return pipeline.process_file(task, options, photo, target)
    except PortrayerError as error:
        raise SystemExit(f"{task} of {photo}: {error}") from error


def stretch(resident: Sequence[float], start: float, end: float) -> Stretch:
    """The readings of a part of the run, in shares of it."""
    part = resident[int(start * len(resident)) : round(end * len(resident))]
    return Stretch(round(statistics.median(part), 1), round(max(part), 1))


if __name__ == "__main__":
    sys.exit(main())
