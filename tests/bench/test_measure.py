"""Laws of a bench: what was asked for is measured, and every figure can be one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from portrayer import studio
from portrayer.bench import chart, command, levers, memory
from portrayer.bench import rig as rigs
from portrayer.bench.figures import Report, Stages
from portrayer.bench.measure import PARTS, Bench, Plan, bottleneck, described, measure
from portrayer.bench.rig import Rig, Setup, Work, devices, opened
from portrayer.bench.tables import tables
from portrayer.engine.device import CpuDevice, cpu_precision
from portrayer.errors import DeviceUnavailable
from portrayer.settings import Settings

from .conftest import SETUP, SIZE

Under = Callable[[Plan], Bench]
SHARES = ("fraction", "cores_busy", "device_busy")


def numbers(value: Any, name: str = "") -> list[tuple[str, float]]:
    """Every number of a tree of figures, with the name of its field."""
    if is_dataclass(value):
        return [n for each in fields(value) for n in numbers(getattr(value, each.name), each.name)]
    if isinstance(value, tuple):
        return [n for each in value for n in numbers(each, name)]
    return [(name, value)] if isinstance(value, int | float) else []


def possible(figures: Any) -> bool:
    """Nothing is negative, nothing but memory and the rest of the CPU time nothing, and what is a
    share is one.
    """
    return all(
        value >= 0
        and (value > 0 or name in ("other", "used"))
        and (value <= 1.05 or name not in SHARES)
        for name, value in numbers(figures)
    )


@pytest.mark.slow
def test_everything_is_measured(plan: Plan) -> None:
    """A row for each size and each batch, possible figures, JSON that is read back as it was, a
    table and a panel for each part.
    """
    heard: list[str] = []
    report = measure(plan, heard.append)
    assert possible(report)
    assert heard
    sizes = list(plan.sizes)
    assert [(row.width, row.height) for row in report.latency] == sizes
    assert [(row.width, row.height) for row in report.photo_memory] == sizes
    assert [row.batch for row in report.forward_memory] == list(plan.batches)
    assert [row.batch for row in report.by_batch] == list(plan.batches)
    assert [row.replicas for row in report.by_replicas] == list(plan.replicas)
    assert all(row.cold > row.warm and row.p95 >= row.warm for row in report.latency)
    names = {row.name for row in report.levers}
    assert {"overlap", "codec"} <= names
    assert len(names & {"processes", "batch"}) == 1, "photos share batches in one process alone"
    read = TypeAdapter(Report).validate_json(json.dumps(asdict(report)))
    assert read == report
    assert all(len(row) == len(table.heads) for table in tables(report) for row in table.rows)
    assert len(tables(report)) == 8
    assert chart.draw(report).startswith(b"\x89PNG")


def test_end_to_end_the_parts_are_the_whole(plan: Plan, bench: Under, rig: Rig) -> None:
    """On the CPU the fraction of the limit is the share of the cores that was busy."""
    found = bench(plan).end_to_end()["end_to_end"]
    assert possible(found)
    assert (found.width, found.height) == SIZE  # the largest
    assert found.limit == pytest.approx(found.fraction**-1 * found.images_per_second)
    assert found.fraction == pytest.approx(found.cores_busy)
    assert found.with_start < found.images_per_second
    report = Report("matte", described(rig), end_to_end=found)
    assert [table.title.split(":")[0] for table in tables(report)] == [
        "End to end",
        "CPU-ms an image, by stage",
    ]
    assert chart.draw(report).startswith(b"\x89PNG")


def test_throughput_has_a_row_for_each_batch_and_number(plan: Plan, bench: Under) -> None:
    """Replicas run at the batch that was best for one."""
    found = bench(replace(plan, sizes=((64, 64),), images=2)).throughput()
    assert possible(tuple(found.values()))
    best = max(found["by_batch"], key=lambda row: row.images_per_second).batch
    assert [row.batch for row in found["by_batch"]] == [1, 2]
    assert [(row.replicas, row.batch) for row in found["by_replicas"]] == [(1, best), (2, best)]


def test_a_forward_takes_memory_and_a_larger_one_more() -> None:
    """Measured in this process, where what is kept from before is given back first."""
    one = replace(SETUP, replicas=1, batch=16)
    few, many = (memory.forward(one, "portrait-matting", batch) for batch in (1, 16))
    assert few is not None
    assert many is not None
    assert many > few >= 0


def test_a_photo_takes_what_is_reserved_for_it(work: Work, tmp_path: Path) -> None:
    """Reserved is more than the photo itself has, used is no less than nothing."""
    reserved, used = memory.photo(SETUP, work, work, tmp_path)
    assert reserved > SIZE[0] * SIZE[1] * 3
    assert used >= 0


def test_a_lever_changes_one_thing(work: Work, tmp_path: Path) -> None:
    """Each run without one differs from the run with all by one field, and has another rate."""
    run = levers.Run(SETUP, work, tmp_path, 2)
    with opened(SETUP) as warm:
        choices = list(levers.offered(run, warm))
    assert {choice.name for choice in choices} >= {"batch", "overlap", "codec"}
    for choice in choices:
        changed = [
            each.name
            for each in fields(run)
            if getattr(run, each.name) != getattr(choice.off, each.name)
        ]
        assert len(changed) == 1
    assert levers.rate(next(c.off for c in choices if c.name == "overlap")) > 0


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> list[CpuDevice]:
    """The processor, looked at as a device with memory of its own, caps and graphs."""

    class Gpu(CpuDevice):
        capped, capturing, asynchronous = 0, True, True

        def __init__(self) -> None:
            super().__init__(cpu_precision())
            self.name = "gpu:0"

        def cap(self, amount: int) -> None:
            self.capped = amount

    found: list[CpuDevice] = [Gpu()]
    for module in (studio, rigs):
        monkeypatch.setattr(module, "open_devices", lambda *_, **__: found)
    return found


def test_on_a_gpu_forwards_alone_are_the_limit(
    gpu: list[CpuDevice], plan: Plan, bench: Under, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the device gives without decoding and encoding; replicas are the devices there are."""
    monkeypatch.setattr(command, "seconds", lambda *_: 1.0)  # another process has no such device
    found = bench(plan).end_to_end()["end_to_end"]
    assert found.limited_by == "the device's forwards"
    assert found.images_per_second == pytest.approx(found.fraction * found.limit)
    rows = bench(plan).throughput()["by_replicas"]
    assert [row.replicas for row in rows] == [1]


def test_on_a_gpu_caps_and_graphs_reach_the_device(
    gpu: list[CpuDevice], work: Work, tmp_path: Path
) -> None:
    """A hard cap is what --gpu-memory says; graphs are a lever where the device has them."""
    capped = Setup(Settings(gpu_memory="512MiB"), graphs=False, hard=True)
    [device] = devices(capped)
    assert vars(device)["capped"] == 512 * 2**20
    assert vars(device)["capturing"] is False
    run = levers.Run(Setup(Settings()), work, tmp_path, 2)
    with opened(run.setup) as found:
        names = [choice.name for choice in levers.offered(run, found)]
    assert "graphs" in names
    assert "allocator" not in names
    assert memory.forward(run.setup, "portrait-matting", 1)


def test_a_hard_cap_needs_an_allocator_that_keeps_it() -> None:
    """The CPU has none: it is told, not passed over."""
    with pytest.raises(DeviceUnavailable, match="no allocator with a hard cap"):
        devices(replace(SETUP, hard=True))


@pytest.mark.parametrize(
    ("cores", "device", "words"),
    [
        (0.98, 0.0, "most of all by forward"),
        (0.4, 0.0, "neither"),
        (0.6, 0.95, "the device's forwards"),
        (0.99, 0.8, "most of all by forward"),
    ],
)
def test_the_bottleneck_is_what_has_no_time_left(cores: float, device: float, words: str) -> None:
    """The device where it is busiest, else the cores with the stage that takes most of them."""
    stages = Stages(decode=1, task=5, encode=2, forward=9, other=0)
    assert words in bottleneck(stages, cores, device)


def test_every_part_is_known_to_the_command_line() -> None:
    """The command line names them without importing what measures them."""
    from portrayer.cli.bench import PARTS as NAMED

    assert tuple(PARTS) == NAMED
