"""The ledger alone, without photos: how many rows a second, how large, how soon it goes on.

    python bench/ledger.py [--rows 100000] [--threads 16] [--folder /tmp] [--json]

A listing is put page by page, then put again as by a listing begun anew. Some items are claimed and
left as by a kill; the ledger is opened and recovered, and a backend that does nothing has all items
done by so many threads. Where the last tenth takes the CPU time of the first, nothing is quadratic.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

from portrayer.jobs.backend import Watch
from portrayer.jobs.record import JSON, Entry, Item, Job
from portrayer.jobs.runner import Event, Runner
from portrayer.jobs.store import Store

PAGE = 1000  # rows to a transaction, as the command line does it
SYNCS = 200
ANSWER: Mapping[str, JSON] = {  # what a pipeline says of a photo
    "width": 1920,
    "height": 1080,
    "device": "cpu:0",
    "precision": "bfloat16",
    "batch": 1,
    "seconds": {"decode": 0.0049, "task": 0.0581, "encode": 0.0187, "write": 0.0021},
}


@dataclass(frozen=True)
class Report:
    """What a run was, and what came of it. Rates are items a second, sizes MiB."""

    rows: int
    threads: int
    sync_ms: float  # the median of writing 4 KiB through to the disk: the least a commit takes
    put: float
    put_again: float
    open_seconds: float  # of the ledger as it was left, with a commit
    recover_seconds: float
    done: float
    cpu_us: float  # of this process, to claim, settle and tell an item
    first_tenth_cpu_us: float
    last_tenth_cpu_us: float
    open_done_seconds: float
    bytes_per_row: float
    file_mib: float
    log_mib: float  # the largest the write-ahead log was seen
    resident_mib: float


@dataclass(frozen=True)
class Nothing:
    """A backend that has every item done at once."""

    width: int

    def run(self, job: Job, item: Item, watch: Watch) -> Mapping[str, JSON]:
        return ANSWER

    def close(self) -> None:
        """Nothing was opened."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--folder", type=Path, help="on the disk that is to be measured")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if asked.rows < 10 * asked.threads:
        parser.error("--rows is at least ten times --threads")
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        report = measure(Path(folder), asked.rows, asked.threads)
    if asked.json:
        print(json.dumps(asdict(report), indent=2))
    else:
        for name, value in asdict(report).items():
            print(f"{name.replace('_', ' '):>20} {value:,}")
    return 0


def measure(folder: Path, rows: int, threads: int) -> Report:
    """All of it, in ``folder``, which is empty."""
    path, sync = folder / "jobs.sqlite", sync_ms(folder / "probe")
    log = path.with_name(f"{path.name}-wal")
    largest = 0

    def put(store: Store) -> None:
        listing = entries(rows)
        while page := list(islice(listing, PAGE)):
            store.put("matte", {"size": 1}, page, id="j")
            look()

    def look() -> None:
        nonlocal largest
        with suppress(FileNotFoundError):
            largest = max(largest, log.stat().st_size)

    with Store(path) as store:
        fresh, again = timed(lambda: put(store)), timed(lambda: put(store))
        left = [store.claim("j") for _ in range(threads)]
    assert all(left)
    with Opened(path) as opened:
        recovering = timed(lambda: opened.store.recover("j"))
        moments = array("d")

        def settled(event: Event) -> None:
            moments.append(time.process_time())
            if not len(moments) % PAGE:
                look()

        runner = Runner(opened.store, Nothing(threads), on_event=settled)
        working = timed(lambda: runner.run("j"))
        counts = opened.store.counts("j")
        assert counts.done == counts.total == rows
    with Opened(path) as closing:
        assert closing.store.claim("j") is None
    tenth = rows // 10
    return Report(
        rows=rows,
        threads=threads,
        sync_ms=round(sync, 3),
        put=round(rows / fresh),
        put_again=round(rows / again),
        open_seconds=round(opened.seconds, 3),
        recover_seconds=round(recovering, 3),
        done=round(rows / working),
        cpu_us=round((moments[-1] - moments[0]) / rows * 1e6),
        first_tenth_cpu_us=round((moments[tenth] - moments[0]) / tenth * 1e6),
        last_tenth_cpu_us=round((moments[-1] - moments[-1 - tenth]) / tenth * 1e6),
        open_done_seconds=round(closing.seconds, 3),
        bytes_per_row=round(path.stat().st_size / rows),
        file_mib=round(path.stat().st_size / 2**20, 1),
        log_mib=round(largest / 2**20, 1),
        resident_mib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10, 1),
    )


class Opened:
    """A ledger as the next program finds it: ``seconds`` until it could be written."""

    def __init__(self, path: Path) -> None:
        begun = time.perf_counter()
        self.store = Store(path)
        self.store.check()
        self.seconds = time.perf_counter() - begun

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()


def entries(rows: int) -> Iterator[Entry]:
    """A bucket's photos in the order it lists them."""
    for number in range(rows):
        key = f"2026/11/{number // 100_000:02}/{number:08}"
        yield (
            f"s3://photos/{key}.jpg",
            f"s3://cutouts/{key}.png",
            f"{400_000 + number}-{number:032x}",
        )


def sync_ms(probe: Path) -> float:
    """The median of writing one page through to the disk."""
    with probe.open("wb", buffering=0) as file:

        def write() -> None:
            file.write(bytes(4096))
            os.fsync(file.fileno())

        median = statistics.median(timed(write) for _ in range(SYNCS))
    probe.unlink()
    return 1e3 * median


def timed(act: Callable[[], object]) -> float:
    """Seconds that ``act`` takes."""
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


if __name__ == "__main__":
    sys.exit(main())
