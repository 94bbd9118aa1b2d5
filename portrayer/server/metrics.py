"""Figures: what Prometheus scrapes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from portrayer.engine.nvml import Gpu, utilisation
from portrayer.errors import PortrayerError
from portrayer.jobs.record import Job, Standing, State
from portrayer.jobs.runner import Event
from portrayer.server.pace import Timings, Window

if TYPE_CHECKING:
    from portrayer.engine.answer import Stats
    from portrayer.engine.memory import Budget

log = logging.getLogger(__name__)

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
WAITS = (0.1, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)
SIZES = (1, 2, 4, 8, 16, 32, 64)

# A line more for each of them, which nobody reads.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """Counters that are told, gauges that are read when somebody asks.

    Telling is safe from any thread. ``stats``, ``standing``, ``host``, ``gpus`` and ``ready`` say
    how things stand, None or () where there is no such thing yet; ``job`` finds a job by its id.
    """

    content_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(
        self,
        *,
        stats: Callable[[], Stats | None],
        standing: Callable[[], Standing],
        host: Callable[[], Budget | None],
        ready: Callable[[], bool],
        job: Callable[[str], Job],
        gpus: Callable[[], Sequence[Gpu]] = utilisation,
    ) -> None:
        self._stats, self._job = stats, job
        self._window = Window()
        self._registry = CollectorRegistry()
        self._requests = self._counter("requests", "Answers", "route", "method", "code")
        self._durations = self._histogram("request_duration_seconds", "Answers", SECONDS, "route")
        self._items = self._counter("items", "Photos of jobs that were settled", "task", "state")
        self._retries = self._counter("retries", "Photos that were put back to be tried again")
        self._waits = self._histogram("queue_wait_seconds", "From put to claim", WAITS)
        self._stages = self._histogram("stage_duration_seconds", "Of a photo", SECONDS, "stage")
        self._registry.register(
            Sources(
                {
                    "queue": lambda: _queue(standing(), time.time()),
                    "engine": lambda: _engine(stats()),
                    "memory": lambda: _memory(stats(), host()),
                    "gpus": lambda: _gpus(gpus()),
                    "ready": lambda: [_gauge("ready", "Whether the models answer", {(): ready()})],
                }
            )
        )
        ProcessCollector(registry=self._registry)

    def requested(self, route: str, method: str, code: int, seconds: float) -> None:
        """A request was answered. ``route``: the template of its address; ``method``: one of few,
        as the route: a client's own words are no labels.
        """
        self._requests.labels(route, method, code).inc()
        self._durations.labels(route).observe(seconds)

    def settled(self, event: Event) -> None:
        """An item was settled or put back."""
        item = event.item
        try:
            job = self._job(item.job)
        except PortrayerError:
            return  # removed meanwhile, or the ledger cannot be read: the runner says so
        if item.state is State.QUEUED:
            return self._retries.inc()
        self._items.labels(job.task, item.state).inc()
        if item.attempt == 1 and item.started is not None:
            self._waits.observe(max(0.0, item.started - job.touched))
        seconds = (item.result or {}).get("seconds")
        if item.state is State.DONE and isinstance(seconds, Mapping):
            self.photo(cast(Timings, seconds))

    def canceled(self, job: Job, items: int) -> None:
        """Items of the job were canceled."""
        self._items.labels(job.task, State.CANCELED).inc(items)

    def photo(self, timings: Timings) -> None:
        """A photo was finished: seconds by stage."""
        for stage, seconds in timings.items():
            self._stages.labels(stage).observe(seconds)
        self._window.add(timings, _busy(self._stats()))

    def pace(self, workers: int) -> dict[str, Any]:
        """How fast photos and stages have been lately: :meth:`Window.pace`."""
        stats = self._stats()
        devices = stats.devices if stats else ()
        if all(device.name == "cpu" for device in devices):
            workers = len(devices)  # one for each core, and every stage needs the cores
        return self._window.pace(_busy(stats), len(devices), workers)

    def text(self) -> bytes:
        """Everything as Prometheus reads it. What cannot be read just now is left out."""
        return generate_latest(self._registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"portrayer_{name}", text, labels, registry=self._registry)

    def _histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(
            f"portrayer_{name}", text, labels, buckets=buckets, registry=self._registry
        )


class Sources(Collector):
    """Families that are read when somebody asks. One that cannot be is left out, and logged once
    until it can.
    """

    def __init__(self, sources: Mapping[str, Callable[[], Iterable[Metric]]]) -> None:
        self._sources = sources
        self._silent: set[str] = set()

    def collect(self) -> Iterator[Metric]:
        for name, read in self._sources.items():
            try:
                families = list(read())
            except Exception:
                if name not in self._silent:
                    log.warning("metrics of %s cannot be read", name, exc_info=True)
                self._silent.add(name)
                continue
            self._silent.discard(name)
            yield from families


def _busy(stats: Stats | None) -> float:
    return sum(device.busy for device in stats.devices) if stats else 0.0


Values: TypeAlias = Mapping[Any, float]
"""A gauge's values by its labels' values: a tuple of text each."""


def _gauge(name: str, text: str, values: Values, *labels: str) -> Metric:
    family = GaugeMetricFamily(f"portrayer_{name}", text, labels=labels)
    for label, value in values.items():
        family.add_metric(label, value)
    return family


def _queue(standing: Standing, now: float) -> Iterator[Metric]:
    queued = {(task, str(priority)): n for (task, priority), n in standing.queued.items()}
    yield _gauge("queue_items", "Photos that wait", queued, "task", "priority")
    oldest = 0.0 if standing.oldest is None else max(0.0, now - standing.oldest)
    yield _gauge("queue_oldest_seconds", "Since the oldest waiting job was put", {(): oldest})


def _engine(stats: Stats | None) -> Iterator[Metric]:
    if stats is None:
        return
    sizes, total = stats.batches, sum(stats.batches.values())
    buckets = [
        (str(float(most)), sum(n for size, n in sizes.items() if size <= most)) for most in SIZES
    ]
    samples = sum(size * n for size, n in sizes.items())
    yield HistogramMetricFamily(
        "portrayer_batch_size",
        "Samples of a forward",
        buckets=[*buckets, ("+Inf", total)],
        sum_value=samples,
    )
    splits = CounterMetricFamily("portrayer_oom", "Out of memory", labels=["action"])
    splits.add_metric(["halved"], stats.splits)
    yield splits
    devices = {(device.name,): 1 for device in stats.devices}
    yield _gauge("worker_up", "A device that takes work", devices, "device")
    models = {(model,): 1 for device in stats.devices for model in device.models}
    yield _gauge("model_loaded", "A model that is on a device", models, "model")


def _memory(stats: Stats | None, host: Budget | None) -> Iterator[Metric]:
    devices = stats.devices if stats else ()
    budgets = {(device.name,): (device.reserved, device.total) for device in devices}
    if host is not None:
        budgets["host",] = host.reserved, host.total
    reserved = {label: part for label, (part, _) in budgets.items()}
    yield _gauge("memory_reserved_bytes", "Promised to work under way", reserved, "budget")
    totals = {label: total for label, (_, total) in budgets.items()}
    yield _gauge("memory_budget_bytes", "What may be promised at most", totals, "budget")


def _gpus(gpus: Sequence[Gpu]) -> Iterator[Metric]:
    def each(value: Callable[[Gpu], float]) -> Values:
        return {(str(number),): value(gpu) for number, gpu in enumerate(gpus)}

    if not gpus:
        return
    used, total = each(lambda gpu: gpu.memory_used), each(lambda gpu: gpu.memory_total)
    busy = each(lambda gpu: gpu.utilisation)
    yield _gauge("gpu_memory_used_bytes", "By all programs", used, "gpu")
    yield _gauge("gpu_memory_total_bytes", "Of the card", total, "gpu")
    yield _gauge("gpu_utilization_ratio", "Time in which something ran, lately", busy, "gpu")
