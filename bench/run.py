"""Portrayer beside what people use: the same photos, weights and cores, in one run.

    python bench/run.py PHOTOS [--task matte] [--images 60] [--rounds 5] [--side 1920x1080]
                               [--rembg PATH] [--json]

PHOTOS are repeated to ``--images`` files, as JPEG files of ``--side`` where that is given. Peers
are ``rembg p`` (matting, where it is installed; on the same network as ONNX, at rembg's own 320 px,
which is less work) and a plain loop (``peers/plain.py``), in float32 as such loops run and in the
precision that Portrayer chose, so that what precision gives and what the rest gives are told apart.

Each is a process of its own, from files to files. In each round everyone runs once over all photos
and once over a few, two for each core, in turn; what is told are medians of the rounds. A photo
takes what the one run takes longer than the other, start-up is what is left of that. The pictures
that come out are compared: all must do the same work.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import psutil
from photos import at_size, found_in, repeated  # this file's neighbour
from PIL import Image

import portrayer

PR_SET_CHILD_SUBREAPER = 36
LOOK = 0.2  # seconds between two looks at a contender's memory
PEERS = Path(__file__).resolve().parent / "peers"

# How far results may be from Portrayer's and still be the same work: of a matte, the share of the
# pixels that are the person's in only one of both, in % (what is soft Portrayer draws with care,
# its peers do not, and rembg stretches its mattes); of a picture, the mean distance in levels.
NEAR = {"matte": 6.0, "enhance": 1.5, "fuse": 1.5}
COMPARED = 12  # results, in the first round


@dataclass(frozen=True)
class Work:
    """Photos to be done: the ``folder`` of targets, and the ``table`` of rows, the target last."""

    task: str
    folder: Path
    table: Path
    rows: Sequence[Sequence[Path]]


@dataclass(frozen=True)
class Contender:
    """A program that does work: ``words`` of its command, with {folder}, {table} and {out}."""

    name: str
    words: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    def run(self, work: Work, out: Path) -> Run:
        """Once over all of it, in a process; ends the program unless every result is there."""
        places = {"{folder}": work.folder, "{table}": work.table, "{out}": out}
        command = [str(places.get(word, word)) for word in self.words]
        out.mkdir()
        own = [child.pid for child in psutil.Process().children()]
        begun = time.perf_counter()
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(command, env=self.environment, stdout=said, stderr=said)
            with ThreadPoolExecutor(1) as beside:
                peak = beside.submit(most, process.pid)
                _, status, used = os.wait4(process.pid, 0)
                seconds = time.perf_counter() - begun
            cpu = used.ru_utime + used.ru_stime + orphans(own)
            process.returncode = os.waitstatus_to_exitcode(status)
            made = [path for row in work.rows for path in results(out, row[-1])]
            if process.returncode or len(made) != len(work.rows):
                said.seek(0)
                words = said.read().decode(errors="replace")[-2000:]
                raise SystemExit(f"{self.name}: {len(made)} of {len(work.rows)} results\n{words}")
        size = sum(path.stat().st_size for path in made) / len(made)
        return Run(len(made), seconds, cpu, peak.result(), size)


def most(pid: int) -> int:
    """The most bytes that a process and those it has started had resident at once, as looked at
    now and then until it ends.
    """
    found, root = 0, psutil.Process(pid)
    with suppress(psutil.Error):
        while root.status() != psutil.STATUS_ZOMBIE:
            held = 0
            for each in (root, *root.children(recursive=True)):
                with suppress(psutil.Error):
                    held += each.memory_info().rss
            found = max(found, held)
            time.sleep(LOOK)
    return found


def orphans(own: Collection[int]) -> float:
    """CPU seconds of processes that another has left behind, once they have ended: children that
    are not our ``own``. Why they come here, :func:`main` says.
    """
    left = [child.pid for child in psutil.Process().children() if child.pid not in own]
    spent = [os.wait4(pid, 0)[2] for pid in left]
    return sum(used.ru_utime + used.ru_stime for used in spent)


@dataclass(frozen=True)
class Run:
    """What a process took: seconds, seconds of all cores, the most memory, bytes a result."""

    images: int
    seconds: float
    cpu: float
    peak: int
    size: float


@dataclass(frozen=True)
class Row:
    """Medians of a contender's rounds, and how many times as fast Portrayer is (1 for itself).

    ``difference``: of its pictures from Portrayer's, as :data:`NEAR` has it.
    """

    name: str
    images_per_second: float
    with_start_up: float
    start_up_seconds: float
    cpu_ms: float
    peak_mib: float
    bytes_per_result: int
    difference: float
    ratio: float = 1.0
    ratio_with_start_up: float = 1.0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("--task", choices=tuple(NEAR), default="matte")
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", default="", help="bring the photos to this size, as 1920x1080")
    parser.add_argument("--rembg", default=shutil.which("rembg") or "", help="the rembg program")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    few = 2 * len(os.sched_getaffinity(0))
    if asked.images <= few or asked.rounds < 1:
        parser.error(f"more than {few} images and at least one round are needed")
    # Linux: who is left behind by a contender is ours, and its CPU time is counted.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        photos = found_in(asked.photos)
        if asked.side:
            photos = at_size(photos, asked.side, place / "sized")
        # In a process of its own: a child's peak of memory begins with what its parent holds.
        with ProcessPoolExecutor(1, get_context("spawn")) as apart:
            photos, precision = apart.submit(fitting, photos, asked.task).result()
        whole, some = (
            prepared(asked.task, photos, count, place / name)
            for name, count in (("whole", asked.images), ("few", few))
        )
        rows = race(contenders(asked.task, precision, asked.rembg, place), whole, some, asked)
    told = {
        "task": asked.task,
        "images": asked.images,
        "photos": len(photos),
        "side": asked.side or "as they are",
        "rounds": asked.rounds,
        "cores": len(os.sched_getaffinity(0)),
        "processor": processor(),
        "precision": precision,
        "portrayer": portrayer.__version__,
    }
    if asked.json:
        print(json.dumps(told | {"rows": [asdict(row) for row in rows]}, indent=2))
    else:
        show(told, rows)
    far = [row.name for row in rows if row.difference > NEAR[asked.task]]
    if far:
        print(f"not the same work: {', '.join(far)}", file=sys.stderr)
    return 1 if far else 0


def fitting(photos: Sequence[Path], task: str) -> tuple[list[Path], str]:
    """The photos that the task is measured on: for those that work on faces, the ones with a single
    face; and the precision that Portrayer has here.
    """
    from portrayer.studio import Studio

    with Studio(device="cpu") as studio:
        precision = studio.pipeline.engine.replicas[0].device.precision
        if task == "matte":
            return list(photos), precision
        fit = [photo for photo in photos if len(studio.enhance(photo).faces or ()) == 1]
    if not fit:
        raise SystemExit("none of the photos shows a single face")
    return fit, precision


def prepared(task: str, photos: Sequence[Path], count: int, place: Path) -> Work:
    """``count`` photos in a folder, and the table of them; with the next photo's face for each to
    be fused.
    """
    place.mkdir()
    targets = sorted(repeated(photos, count, place / "in").iterdir())
    rows: list[list[Path]] = [[target] for target in targets]
    heads = ["photo"]
    if task == "fuse":
        heads = ["source", "target"]
        rows = [[photos[(at + 1) % len(photos)], target] for at, target in enumerate(targets)]
    with (place / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([heads, *rows])
    return Work(task, place / "in", place / "table.csv", rows)


def contenders(task: str, precision: str, rembg: str, place: Path) -> list[Contender]:
    """Portrayer first."""
    program = [sys.executable, "-m", "portrayer", task]
    if task == "fuse":  # JPEG, so that it is not the PNG encoders that are compared
        program += ["--pairs", "{table}", "--yes", "--format", "jpeg"]
    else:
        program.append("{folder}")
    program += ["-o", "{out}", "--json", "--device", "cpu"]
    plain = [sys.executable, str(PEERS / "plain.py"), task, "{table}", "{out}"]
    found = [
        Contender("portrayer", program),
        Contender("portrayer, float32", [*program, "--precision", "float32"]),
        Contender("plain loop, float32", plain),
        Contender(f"plain loop, {precision}", [*plain, "--precision", precision]),
    ]
    if precision == "float32":
        found = found[::2]
    if task == "matte" and rembg:
        model = place / "models" / "portrayer.onnx"
        model.parent.mkdir()
        subprocess.run([sys.executable, str(PEERS / "network.py"), str(model)], check=True)
        custom = ["-m", "u2net_custom", "-x", json.dumps({"model_path": str(model)})]
        own = {"U2NET_HOME": str(model.parent), "MODEL_CHECKSUM_DISABLED": "1"}
        words = [rembg, "p", *custom, "{folder}", "{out}"]
        found.append(Contender("rembg p", words, {**os.environ, **own}))
    return found


def race(
    runners: Sequence[Contender], whole: Work, few: Work, asked: argparse.Namespace
) -> list[Row]:
    """Everyone in turn, round after round, after a first short run that compiles and caches."""
    place = whole.folder.parent
    for runner in runners:
        runner.run(few, place / "first")
        shutil.rmtree(place / "first")
    runs: dict[str, list[tuple[Run, Run]]] = {runner.name: [] for runner in runners}
    apart: dict[str, float] = {}
    ours = place / "ours"
    for turn in range(asked.rounds):
        for runner in runners:
            out, short = place / "out", place / "short"
            runs[runner.name].append((runner.run(whole, out), runner.run(few, short)))
            shutil.rmtree(short)
            done = runs[runner.name][-1][0]
            print(
                f"{turn + 1}/{asked.rounds} {runner.name:22} {done.images / done.seconds:7.2f} "
                "images/s with start-up",
                file=sys.stderr,
                flush=True,
            )
            if not turn:
                if runner is runners[0]:
                    shutil.copytree(out, ours)
                apart[runner.name] = difference(whole, ours, out)
            shutil.rmtree(out)
    rows = [median(name, each, apart[name]) for name, each in runs.items()]
    return [compared(rows[0], row) for row in rows]


def median(name: str, rounds: Sequence[tuple[Run, Run]], difference: float) -> Row:
    whole, few = (
        Run(
            each[0].images,
            statistics.median(run.seconds for run in each),
            statistics.median(run.cpu for run in each),
            max(run.peak for run in each),
            statistics.median(run.size for run in each),
        )
        for each in zip(*rounds, strict=True)
    )
    more = whole.images - few.images
    each = (whole.seconds - few.seconds) / more
    if each <= 0:
        raise SystemExit(f"{name}: a few photos took as long as all; take more --images or a rest")
    return Row(
        name=name,
        images_per_second=round(1 / each, 3),
        with_start_up=round(whole.images / whole.seconds, 3),
        start_up_seconds=round(few.seconds - few.images * each, 2),
        cpu_ms=round((whole.cpu - few.cpu) / more * 1000, 1),
        peak_mib=round(whole.peak / 2**20, 1),
        bytes_per_result=round(whole.size),
        difference=round(difference, 2),
    )


def compared(first: Row, row: Row) -> Row:
    return Row(
        **asdict(row)
        | {
            "ratio": round(first.images_per_second / row.images_per_second, 2),
            "ratio_with_start_up": round(first.with_start_up / row.with_start_up, 2),
        }
    )


def results(out: Path, photo: Path) -> list[Path]:
    """The files that were made of a photo: NAME.png, or NAME--SOURCE.jpg where it was fused."""
    return [*out.glob(f"{photo.stem}.*"), *out.glob(f"{photo.stem}--*")]


def difference(work: Work, ours: Path, theirs: Path) -> float:
    """How far two contenders' pictures are from each other, as :data:`NEAR` has it."""
    apart = []
    for photo, *_ in (row[::-1] for row in work.rows[:COMPARED]):
        one, other = (pixels(results(out, photo)[0]) for out in (ours, theirs))
        if work.task == "matte":
            apart.append(100 * float(((one > 127) != (other > 127)).mean()))
        else:
            apart.append(float(np.abs(one - other).mean()))
    return statistics.mean(apart)


def pixels(path: Path) -> np.ndarray:
    """Alpha (H, W) where there is one, else colours (H, W, 3), in levels."""
    with Image.open(path) as opened:
        picture = opened.getchannel("A") if opened.mode == "RGBA" else opened.convert("RGB")
        return np.asarray(picture, np.float32)


def processor() -> str:
    """The processor's own name, where the system says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "")


def show(told: Mapping[str, object], rows: Sequence[Row]) -> None:
    """A Markdown table, to be pasted into a page."""
    print(", ".join(f"{name}: {value}" for name, value in told.items()) + "\n")
    heads = ("", "images/s", "with start-up", "start-up s", "CPU-ms", "peak MiB", "KiB a result",
             "difference", "ratio", "with start-up")  # fmt: skip
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    for row in rows:
        cells = list(asdict(row).values())
        cells[6] = round(row.bytes_per_result / 1024)
        print("| " + " | ".join(map(str, cells)) + " |")


if __name__ == "__main__":
    sys.exit(main())
