"""Laws of the figures: what is told to Prometheus and to people is what happened."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from portrayer.engine.answer import DeviceStats, Stats
from portrayer.engine.memory import Budget
from portrayer.engine.nvml import Gpu
from portrayer.errors import UnknownJob
from portrayer.jobs.record import Counts, Item, Job, Standing, State
from portrayer.jobs.runner import Event
from portrayer.server.metrics import SIZES, Metrics

DEVICE = DeviceStats("cpu", "float32", 30, 100, ("modnet",), 8.0, 40, 10, 4, "all that waited")
STATS = Stats(waiting=0, batches={}, splits=0, reserved=0, peak=0, total=0, devices=(DEVICE,))
JOBS = {
    name: Job(name, task, {}, 0, created=0.0, touched=100.0)
    for name, task in (("j", "matte"), ("k", "fuse+matte"))
}


def found(job: str) -> Job:
    if job not in JOBS:
        raise UnknownJob(f"there is no job {job}")
    return JOBS[job]


def metrics(**sources: Callable[[], Any]) -> Metrics:
    """Figures of a server where nothing has happened, but for ``sources``."""
    quiet: dict[str, Callable[[], Any]] = {
        "stats": lambda: None,
        "standing": lambda: Standing({}, 0, None),
        "host": lambda: None,
        "ready": lambda: False,
        "gpus": lambda: (),
    }
    return Metrics(job=found, **(quiet | sources))


class Figures:
    """What Prometheus reads."""

    def __init__(self, metrics: Metrics) -> None:
        families = list(text_string_to_metric_families(metrics.text().decode()))
        assert len({family.name for family in families}) == len(families)
        self._samples = [sample for family in families for sample in family.samples]
        keys = [(sample.name, *sorted(sample.labels.items())) for sample in self._samples]
        assert len(set(keys)) == len(keys)
        assert not [name for name, *_ in keys if name.endswith("_created")]

    def of(self, name: str) -> Mapping[Any, float]:
        """By its labels' values in the order of the labels' names; by the value, of one label."""
        found = {
            tuple(value for _, value in sorted(sample.labels.items())): sample.value
            for sample in self._samples
            if sample.name == f"portrayer_{name}"
        }
        return {key[0] if len(key) == 1 else key: value for key, value in found.items()}

    def one(self, name: str) -> float:
        """Of one without labels."""
        return self.of(name)[()]

    @property
    def names(self) -> set[str]:
        return {sample.name.removeprefix("portrayer_") for sample in self._samples}


def event(
    job: str = "j", state: State = State.DONE, attempt: int = 1, wait: float = 0.0, **result: Any
) -> Event:
    item = Item(1, job, "", "", "", state, attempt, None, result, 100.0 + wait, None)
    return Event(item, Counts(), 1.0)


ROUTES = st.sampled_from(["/v1/jobs", "/v1/jobs/{job}", "unmatched"])
TASKS = st.sampled_from(["matte", "fuse"])
REQUESTS = st.tuples(
    ROUTES,
    st.sampled_from(["GET", "POST", "other"]),
    st.sampled_from([200, 404, 500]),
    st.floats(0, 100),
)


@given(st.lists(REQUESTS, max_size=20))
def test_every_answer_is_counted(requests: list[tuple[str, str, int, float]]) -> None:
    """By route, method and status, with its time."""
    all_of = metrics()
    for each in requests:
        all_of.requested(*each)
    told = Figures(all_of)
    assert told.of("requests_total") == Counter(
        (str(code), method, route) for route, method, code, _ in requests
    )
    times: dict[str, list[float]] = {route: [] for route, *_ in requests}
    for route, _, _, seconds in requests:
        times[route].append(seconds)
    sums = {route: sum(seconds) for route, seconds in times.items()}
    assert told.of("request_duration_seconds_sum") == pytest.approx(sums)
    below = {
        (at, route): n for (at, route), n in told.of("request_duration_seconds_bucket").items()
    }
    for route, seconds in times.items():
        for bound in ("0.25", "1.0", "60.0", "+Inf"):
            assert below[bound, route] == sum(each <= float(bound) for each in seconds)


STATES = st.sampled_from([State.DONE, State.FAILED, State.QUEUED])
EVENTS = st.tuples(
    st.sampled_from(["j", "k"]), STATES, st.integers(1, 3), st.floats(0, 1e6), st.floats(0, 9)
)


@given(st.lists(EVENTS, max_size=20))
def test_every_item_is_counted(items: list[tuple[str, State, int, float, float]]) -> None:
    """By its job's task and how it was settled; put back is a retry; the first claim says how long
    it waited; what was done tells its stages."""
    all_of = metrics()
    for job, state, attempt, wait, seconds in items:
        all_of.settled(event(job, state, attempt, wait, seconds={"decode": seconds}))
    told = Figures(all_of)
    settled = [item for item in items if item[1] is not State.QUEUED]
    assert told.of("items_total") == Counter(
        (str(state), JOBS[job].task) for job, state, *_ in settled
    )
    assert told.one("retries_total") == len(items) - len(settled)
    waits = [wait for _, _, attempt, wait, _ in settled if attempt == 1]
    assert told.one("queue_wait_seconds_count") == len(waits)
    assert told.one("queue_wait_seconds_sum") == pytest.approx(sum(waits))
    done = [seconds for _, state, _, _, seconds in settled if state is State.DONE]
    assert told.of("stage_duration_seconds_count") == ({"decode": len(done)} if done else {})
    assert sum(told.of("stage_duration_seconds_sum").values()) == pytest.approx(sum(done))


def test_an_item_whose_job_is_gone_is_let_be() -> None:
    """It was removed meanwhile: the runner is not disturbed. An adopted one has no stages."""
    all_of = metrics()
    all_of.settled(event("removed"))
    assert Figures(all_of).of("items_total") == {}
    all_of.settled(event(adopted=True))
    assert Figures(all_of).of("items_total") == {("done", "matte"): 1}


def test_threads_lose_no_count() -> None:
    """Eight of them at once."""
    all_of = metrics()

    def work() -> None:
        for _ in range(200):
            all_of.requested("/", "GET", 200, 0.1)
            all_of.canceled(JOBS["j"], 2)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = Figures(all_of)
    assert told.of("requests_total") == {("200", "GET", "/"): 1600}
    assert told.of("items_total") == {("canceled", "matte"): 3200}


@given(st.dictionaries(st.tuples(TASKS, st.integers(-1, 2)), st.integers(0, 20_000)))
def test_the_queue_is_as_it_stands(queued: dict[tuple[str, int], int]) -> None:
    """By task and priority, read when somebody asks."""
    told = Figures(metrics(standing=lambda: Standing(queued, 0, None)))
    expected = {(str(priority), task): n for (task, priority), n in queued.items()}
    assert told.of("queue_items") == expected
    assert told.one("queue_oldest_seconds") == 0


def test_the_oldest_wait_grows() -> None:
    """It is told in seconds until now."""
    told = Figures(metrics(standing=lambda: Standing({}, 0, time.time() - 100)))
    assert told.one("queue_oldest_seconds") == pytest.approx(100, abs=20)


@given(st.dictionaries(st.integers(1, 200), st.integers(1, 1000)), st.integers(0, 9))
def test_the_engines_counters_are_its_own(batches: dict[int, int], splits: int) -> None:
    """Batches as a histogram of their sizes, splits as what became of a lack of memory."""
    stats = replace(STATS, batches=batches, splits=splits)
    told = Figures(metrics(stats=lambda: stats))
    assert told.one("batch_size_count") == sum(batches.values())
    assert told.one("batch_size_sum") == sum(size * n for size, n in batches.items())
    for most in (*map(float, SIZES), float("inf")):
        bound = "+Inf" if most > 64 else str(most)
        below = sum(n for size, n in batches.items() if size <= most)
        assert told.of("batch_size_bucket")[bound] == below
    assert told.of("oom_total") == {"halved": splits}


def test_devices_and_memory_are_told_once_each() -> None:
    """Replicas that share a budget are one device; the host's photos have a budget of their own;
    a card that no driver knows of is not there."""
    stats = replace(STATS, devices=(DEVICE, replace(DEVICE, models=("gpen",)), DEVICE))
    host = Budget(1000)
    assert host.take(250)
    told = Figures(metrics(stats=lambda: stats, host=lambda: host, ready=lambda: True))
    assert told.of("worker_up") == {"cpu": 1}
    assert told.of("model_loaded") == {"modnet": 1, "gpen": 1}
    assert told.of("memory_reserved_bytes") == {"cpu": 30, "host": 250}
    assert told.of("memory_budget_bytes") == {"cpu": 100, "host": 1000}
    assert told.one("ready") == 1
    assert not [name for name in told.names if name.startswith("gpu_")]
    assert {"process_resident_memory_bytes", "process_open_fds"} <= told.names


def test_two_cards_of_one_name_are_two() -> None:
    """By their number, as the driver counts them."""
    cards = (Gpu("H200", 0.5, 1 << 30, 4 << 30), Gpu("H200", 0.25, 2 << 30, 4 << 30))
    told = Figures(metrics(gpus=lambda: cards))
    assert told.of("gpu_utilization_ratio") == {"0": 0.5, "1": 0.25}
    assert told.of("gpu_memory_used_bytes") == {"0": 1 << 30, "1": 2 << 30}
    assert told.of("gpu_memory_total_bytes") == {"0": 4 << 30, "1": 4 << 30}


def test_before_the_models_are_loaded_the_rest_is_told() -> None:
    """Not ready is a figure, and not the only one."""
    told = Figures(metrics())
    assert told.one("ready") == 0
    assert "queue_oldest_seconds" in told.names
    assert not {"worker_up", "batch_size_count"} & told.names


def test_a_source_that_fails_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """The others are told; it is logged once until it has worked again."""
    broken = True

    def stats() -> Stats:
        if broken:
            raise OSError("gone")
        return STATS

    all_of = metrics(stats=stats, standing=lambda: Standing({("matte", 0): 3}, 0, None))
    for broken, times in ((True, 1), (True, 1), (False, 1), (True, 2)):
        told = Figures(all_of)
        assert told.of("queue_items") == {("0", "matte"): 3}
        assert ("worker_up" in told.names) is not broken
        lines = [record for record in caplog.records if "engine" in record.getMessage()]
        assert len(lines) == times
        assert all(line.levelno == logging.WARNING and line.exc_info for line in lines)


def test_its_registry_is_its_own() -> None:
    """Two servers in one process count each for itself, and nothing goes to the global one."""
    one, other = metrics(), metrics()
    one.requested("/", "GET", 200, 0.1)
    assert Figures(other).of("requests_total") == {}
    assert not [family for family in REGISTRY.collect() if family.name.startswith("portrayer")]


@pytest.mark.parametrize(("name", "lanes"), [("cpu", 2), ("cuda:0", 9)])
def test_stages_share_the_cores_where_they_are_the_device(name: str, lanes: int) -> None:
    """There, a replica for each core is all there is; beside a GPU it is the workers."""
    devices = (replace(DEVICE, name=name),) * 2
    all_of = metrics(stats=lambda: replace(STATS, devices=devices))
    all_of.photo({"decode": 0.5, "infer": 3.0})
    stages = all_of.pace(9)["stages"]
    assert stages["decode"] == {"seconds": 0.5, "photos_per_second": lanes / 0.5}
    assert stages["infer"] == {"seconds": 16.0, "photos_per_second": 2 / 16.0}
    assert Figures(all_of).of("stage_duration_seconds_sum") == {"decode": 0.5, "infer": 3.0}
