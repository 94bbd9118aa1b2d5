"""A report as one picture. matplotlib is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from io import BytesIO
from typing import Any

from portrayer.bench.figures import Report
from portrayer.bench.tables import on, size
from portrayer.errors import InputError

COLUMNS, WIDE, HIGH = 3, 4.6, 3.4  # of panels, and inches of each
BLUE, GREY = "#2f6db5", "#9aa5b1"

Draw = Callable[[Any], None]


def check() -> None:
    """:class:`InputError` where it could not be drawn."""
    if find_spec("matplotlib") is None:
        raise InputError("a chart is drawn by matplotlib: pip install 'portrayer[demo]'")


def draw(report: Report) -> bytes:
    """A PNG file with a panel for each thing that was measured."""
    from matplotlib.figure import Figure

    panels = list(_panels(report))
    columns = min(COLUMNS, max(1, len(panels)))
    rows = -(-len(panels) // columns) or 1
    figure = Figure(figsize=(WIDE * columns, HIGH * rows + 0.6), layout="constrained")
    figure.suptitle(f"portrayer {report.task}\n{on(report.machine)}", fontsize=8, wrap=True)
    for number, (title, panel) in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, columns, number)
        panel(axes)
        axes.set_title(title, fontsize=10)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    blob = BytesIO()
    figure.savefig(blob, format="png", dpi=120)
    return blob.getvalue()


def _panels(report: Report) -> Iterator[tuple[str, Draw]]:
    """Titles and what draws them, of what was measured."""
    for title, rates, key in (
        ("Forwards alone, images/s by batch", report.by_batch, "batch"),
        ("Forwards alone, images/s by replicas", report.by_replicas, "replicas"),
    ):
        if rates:
            names = [str(getattr(rate, key)) for rate in rates]
            yield title, _bars(names, {"": [rate.images_per_second for rate in rates]})
    if report.latency:
        names = [size(r.width, r.height) for r in report.latency]
        spent = {
            "cold start": [r.cold for r in report.latency],
            "warm": [r.warm for r in report.latency],
        }
        yield "Latency of one photo, s", _bars(names, spent)
    if report.forward_memory:
        held = {
            "reserved": [r.cost / 2**20 for r in report.forward_memory],
            "used": [(r.used or 0) / 2**20 for r in report.forward_memory],
        }
        names = [str(r.batch) for r in report.forward_memory]
        yield "Memory of a forward by batch, MiB", _bars(names, held)
    if report.photo_memory:
        held = {
            "reserved": [r.reserved / 2**20 for r in report.photo_memory],
            "used": [r.used / 2**20 for r in report.photo_memory],
        }
        names = [size(r.width, r.height) for r in report.photo_memory]
        yield "Memory of a photo, MiB", _bars(names, held)
    if report.end_to_end is not None:
        together, alone = report.end_to_end.together.shares(), report.end_to_end.alone.shares()
        stages = {"one at a time": [*alone.values()], "all at once": [*together.values()]}
        yield "CPU-ms an image by stage", _bars(list(together), stages)
    if report.levers:
        names = [f"{r.name}\n{r.change}" for r in report.levers]
        yield "Speed without a lever, of all on", _lying(names, [r.ratio for r in report.levers])


def _bars(names: Sequence[str], series: dict[str, list[float]]) -> Draw:
    """Groups of upright bars with their values on top."""

    def panel(axes: Any) -> None:
        width = 0.8 / len(series)
        for number, (label, values) in enumerate(series.items()):
            colour = (BLUE, GREY)[(number + 1) % 2] if len(series) > 1 else BLUE
            left = [x + (number - (len(series) - 1) / 2) * width for x in range(len(values))]
            bars = axes.bar(left, values, width, label=label, color=colour)
            axes.bar_label(
                bars, [f"{v:.3g}" if v < 100 else f"{v:.0f}" for v in values], fontsize=7
            )
        axes.set_xticks(range(len(names)), names)
        axes.margins(y=0.25)
        if len(series) > 1:
            axes.legend(fontsize=7, frameon=False)

    return panel


def _lying(names: Sequence[str], values: Sequence[float]) -> Draw:
    """Bars from the left, the first on top, and a line at 1."""

    def panel(axes: Any) -> None:
        bars = axes.barh(range(len(values)), values, color=BLUE)
        axes.bar_label(bars, fmt="%.2f", fontsize=7, padding=2)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.axvline(1, color=GREY, linewidth=1)

    return panel
