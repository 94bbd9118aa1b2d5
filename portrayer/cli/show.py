"""What people see: a progress bar, a summary, tables."""

from __future__ import annotations

import platform
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import portrayer
from portrayer.engine.host import peak
from portrayer.engine.memory import show
from portrayer.errors import PortrayerError
from portrayer.jobs.record import Counts, State
from portrayer.settings import Settings
from portrayer.storage import Place, said
from portrayer.tasks.presets import Preset

if TYPE_CHECKING:
    from portrayer.cli.backend import Figures
    from portrayer.engine.answer import Stats
    from portrayer.jobs.runner import Event

LISTED = 4  # nodes whose rates stand in the progress line one by one


class Bar:
    """A progress bar on stderr: images/s, time left, failures, memory held, each node's rate."""

    def __init__(self, figures: Figures, *, hidden: bool = False) -> None:
        self._figures = figures
        self._nodes: Counter[str] = Counter()
        console = Console(stderr=True)
        self._progress = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[notes]}"),
            console=console,
            disable=hidden or not console.is_terminal,
        )
        self._row = self._progress.add_task("", total=None, rate="", notes="")
        self._begun, self._done = time.perf_counter(), 0

    def start(self, counts: Counts) -> None:
        self._progress.update(self._row, total=counts.total, completed=counts.settled)

    def update(self, event: Event) -> None:
        self._done += event.item.state is not State.QUEUED
        seconds = time.perf_counter() - self._begun
        rate = self._done / seconds
        stats = self._figures()
        if node := node_of(event):
            self._nodes[node] += 1
        failed = f"{event.counts.failed} failed, " if event.counts.failed else ""
        notes = f"{failed}{show(stats.reserved)} of {show(stats.total)} for the device"
        notes += nodes_told({node: done / seconds for node, done in self._nodes.items()})
        self._progress.update(
            self._row,
            total=event.counts.total,
            completed=event.counts.settled,
            rate=f"{rate:.1f}/s",
            notes=notes,
        )

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


class Tally:
    """What one run did: how many, how fast, with what."""

    def __init__(self, before: Counts, begun: float) -> None:
        self._before, self._begun = before, begun
        self._stages: dict[str, float] = {}
        self._ran: set[tuple[str, str]] = set()
        self._batch = self._done = 0
        self._faces: dict[tuple[str, str], int] = {}
        self._nodes: Counter[str] = Counter()

    def add(self, event: Event) -> None:
        result: Mapping[str, Any] | None = event.item.result
        if event.item.state is not State.DONE or not result:
            return
        self._done += 1
        for stage, seconds in result.get("seconds", {}).items():
            self._stages[stage] = self._stages.get(stage, 0.0) + seconds
        if node := node_of(event):
            self._nodes[node] += 1
        self._ran.add((result.get("device", ""), result.get("precision", "")))
        self._batch = max(self._batch, result.get("batch", 0))
        if "faces" in result:
            self._faces[event.item.job, event.item.source] = result["faces"]

    def faces(self) -> dict[str, int]:
        """How many faces were found in each photo, in all the jobs that it is part of."""
        found: Counter[str] = Counter()
        for (_, source), count in self._faces.items():
            found[said(source)] += count
        return dict(found)

    def report(
        self, counts: Counts, failures: list[dict[str, str]], stats: Stats, output: Place
    ) -> dict[str, Any]:
        """The summary as one JSON object."""
        seconds = time.perf_counter() - self._begun
        devices = sorted({device for device, _ in self._ran})
        precisions = sorted({precision for _, precision in self._ran})
        found: dict[str, Any] = {"faces": self.faces()} if self._faces else {}
        if self._nodes:
            found["nodes"] = {
                node: {"done": done, "images_per_second": round(done / seconds, 3)}
                for node, done in sorted(self._nodes.items())
            }
        return found | {
            "output": str(output),
            "total": counts.total,
            "done": counts.done,
            "done_before": self._before.done,
            "failed": failures,
            "queued": counts.queued,
            "seconds": round(seconds, 3),
            "images_per_second": round(self._done / seconds, 3) if self._done else 0.0,
            "device": ", ".join(devices),
            "precision": ", ".join(precisions),
            "largest_batch": self._batch,
            "out_of_memory_splits": stats.splits,
            "peak_memory_bytes": peak() + stats.resident,
            "device_memory_bytes": {"peak": stats.peak, "budget": stats.total},
            "stage_seconds": {name: round(value, 3) for name, value in self._stages.items()},
        }


def node_of(event: Event) -> str:
    """The node of a cluster that an item was done on; "" for any other."""
    done = event.item.state is State.DONE
    return str((event.item.result or {}).get("node", "")) if done else ""


def nodes_told(rates: Mapping[str, float]) -> str:
    """Images/s of each node; of many only how many there are, and the slowest and the fastest."""
    if len(rates) <= LISTED:
        return "".join(f", {node} {rate:.1f}/s" for node, rate in sorted(rates.items()))
    return f", {len(rates)} nodes with {min(rates.values()):.1f} to {max(rates.values()):.1f}/s"


def told(report: Mapping[str, Any]) -> None:
    """The summary for people: what was done on stdout, what failed on stderr."""
    before = f" ({report['done_before']} before)" if report["done_before"] else ""
    ran = ""
    if report["device"]:
        speed = f"{report['images_per_second']:.1f} images/s"
        ran = f", {speed} on {report['device']} ({report['precision']})"
    print(f"{report['done']} of {report['total']} done{before}{ran}, in {report['output']}")
    faces: Mapping[str, int] = report.get("faces", {})
    if faces:
        total, without = sum(faces.values()), [file for file, n in faces.items() if not n]
        print(f"{_counted(total, 'face')} in {_counted(len(faces), 'photo')}")
        for file in without:
            print(f"no face: {file}: only the whole frame was worked on", file=sys.stderr)
    for failure in report["failed"]:
        print(f"failed: {failure['file']}: {failure['reason']}", file=sys.stderr)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows of equal keys in columns as wide as they need."""
    if not rows:
        return
    heads = list(rows[0])
    cells = [[str(row[h]) for h in heads] for row in rows]
    widths = [max(len(h), *(len(c[i]) for c in cells)) for i, h in enumerate(heads)]
    for line in [heads, *cells]:
        print(
            "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        )


def pairs(report: Mapping[str, Any]) -> None:
    """Names and values, one a line."""
    width = max(map(len, report))
    for name, value in report.items():
        if value != "":
            print(f"{name.replace('_', ' ').ljust(width)}  {value}")


def preset_row(preset: Preset) -> dict[str, Any]:
    """One preset as a row."""
    options = ", ".join(f"{name} {value}" for name, value in preset.options.items())
    return {"name": preset.name, "task": preset.task, "help": preset.help, "options": options}


def diagnosis(settings: Settings) -> dict[str, Any]:
    """What was found, what is used and why, what would be faster."""
    from portrayer.cli.models import row
    from portrayer.engine.cores import cores
    from portrayer.engine.device import discover, open_devices
    from portrayer.engine.host import available
    from portrayer.models.catalog import CATALOG, spec

    found, free = discover(), available()
    report: dict[str, Any] = {
        "portrayer": portrayer.__version__,
        "python": platform.python_version(),
        "torch": version("torch"),
        "system": f"{platform.system()} {platform.machine()}, {cores()} cores",
        "memory": f"{show(free)} available, {settings.memory} of it may be used",
        "found": found.why,
    }
    ready = True
    try:
        devices = open_devices(settings.device, settings.precision)
        names = Counter(device.name for device in devices)
        report["device"] = ", ".join(f"{n} x {name}" for name, n in names.items())
        report["precision"] = devices[0].precision
        asked, best = (
            f"asked for {settings.device!r}",
            f"the best of what was found is {found.kind}",
        )
        report["why"] = best if settings.device == "auto" else asked
        faster = [found.faster] if devices[0].name == "cpu" and found.faster else []
        if devices[0].name == "cpu" and devices[0].precision == "float32":
            faster.append("a processor with bfloat16 (about twice as fast)")
        report["faster"] = "; ".join(faster)
    except PortrayerError as error:
        report["device"], ready = f"none: {error}", False
    # What a user has not brought is no fault of the installation.
    specs = [spec(name, settings.models) for name in CATALOG]
    listed = [(each.weights.shipped, row(each)) for each in specs]
    here = [found for shipped, found in listed if shipped or found["installed"] == "yes"]
    bad = [found for found in here if found["verified"] != "yes"]
    notes = [f"{len(here) - len(bad)} of {len(here)} verified"]
    report["models"] = "; ".join(notes + [f"{found['name']}: {found['verified']}" for found in bad])
    report["ready"] = ready and not bad
    return report
