"""A report as tables of words, the same for a terminal, for Markdown and for a chart's labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from portrayer.bench.figures import EndToEnd, Machine, Report
from portrayer.engine.memory import show

Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A title, and rows as wide as its heads; the first column names, the others count."""

    title: str
    heads: Row
    rows: tuple[Row, ...]


def tables(report: Report) -> tuple[Table, ...]:
    """Those that have rows, in the order in which they are measured."""
    return tuple(table for table in _tables(report) if table.rows)


def on(machine: Machine) -> str:
    """The machine in one line."""
    names = dict.fromkeys(machine.devices)
    devices = ", ".join(f"{machine.devices.count(name)} x {name}" for name in names)
    gpus = f" ({', '.join(machine.gpus)})" if machine.gpus else ""
    return (
        f"portrayer {machine.portrayer}, torch {machine.torch}, {machine.precision} on "
        f"{devices}{gpus}; {machine.processor}, {machine.cores} cores, "
        f"{show(machine.memory)} free, {machine.system}"
    )


def _tables(report: Report) -> Iterator[Table]:
    yield Table(
        "Latency of one photo, file to file",
        ("photo", "cold start, s", "warm, ms", "95th percentile, ms"),
        tuple(
            (size(r.width, r.height), f"{r.cold:.2f}", ms(r.warm), ms(r.p95))
            for r in report.latency
        ),
    )
    yield Table(
        "Memory of a forward, beside the weights",
        ("model and batch", "reserved for it", "used"),
        tuple(
            (
                f"{r.model}, {r.batch}",
                mib(r.cost),
                "no room" if r.used is None else mib(r.used),
            )
            for r in report.forward_memory
        ),
    )
    yield Table(
        "Memory of a photo on the host, beside an idle process",
        ("photo", "reserved for it", "used"),
        tuple((size(r.width, r.height), mib(r.reserved), mib(r.used)) for r in report.photo_memory),
    )
    yield Table(
        "Forwards alone, by batch, one replica",
        ("batch", "images/s", "largest batch that ran"),
        tuple((str(r.batch), f"{r.images_per_second:.1f}", str(r.ran)) for r in report.by_batch),
    )
    yield Table(
        "Forwards alone, by replicas, at the best batch",
        ("replicas", "images/s", "batch"),
        tuple(
            (str(r.replicas), f"{r.images_per_second:.1f}", str(r.batch))
            for r in report.by_replicas
        ),
    )
    if report.end_to_end is not None:
        yield from _end_to_end(report.end_to_end)
    yield Table(
        "Levers, one at a time",
        ("lever", "images/s as it is", "changed", "ratio"),
        tuple(
            (f"{r.name}: {r.change}", f"{r.on:.1f}", f"{r.off:.1f}", f"{r.ratio:.2f}")
            for r in report.levers
        ),
    )


def _end_to_end(found: EndToEnd) -> Iterator[Table]:
    yield Table(
        f"End to end: {found.images} photos of {size(found.width, found.height)}, files to files",
        ("what", "figure"),
        (
            ("images/s", f"{found.images_per_second:.1f}"),
            (
                "the same with start-up and ledger",
                f"{found.with_start:.1f}",
            ),
            (f"limit by {found.limited_by}, images/s", f"{found.limit:.1f}"),
            ("fraction of the limit", f"{found.fraction:.2f}"),
            ("processes", str(found.processes)),
            ("cores busy", f"{found.cores_busy:.0%}"),
            ("device busy", f"{found.device_busy:.0%}"),
            ("bottleneck", found.bottleneck),
        ),
    )
    alone = found.alone.shares()
    yield Table(
        "CPU-ms an image, by stage",
        ("stage", "all at once", "one photo at a time"),
        (
            *(
                (stage, f"{spent:.1f}", f"{alone[stage]:.1f}")
                for stage, spent in found.together.shares().items()
            ),
            ("sum", f"{found.together.total:.1f}", f"{found.alone.total:.1f}"),
        ),
    )


def size(width: int, height: int) -> str:
    return f"{width}x{height}"


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f}"


def mib(amount: int) -> str:
    return f"{amount / 2**20:.0f} MiB"
