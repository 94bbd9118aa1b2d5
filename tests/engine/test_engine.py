"""Nothing is lost, nothing is swapped, nobody waits for ever: the engine over devices that fail."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portrayer.engine.engine import RETRY, Engine
from portrayer.engine.memory import Budget, Cost
from portrayer.engine.replica import REGROW
from portrayer.errors import (
    ChecksumMismatch,
    DeadlineExceeded,
    EngineClosed,
    ModelError,
    OutOfMemory,
    PortrayerError,
    UnknownModel,
)
from portrayer.models.spec import ModelSpec
from tests.engine.fakes import (
    GIB,
    MIB,
    SIDE,
    Exhausted,
    FakeDevice,
    Gone,
    Memory,
    Pace,
    Paced,
    Vanishing,
    answers,
    engine,
    eventually,
    pictures,
)

Call = tuple[str, int]
"""A model and how many samples."""


def call(one: Engine, name: str, count: int, seed: int = 0, **options: Any) -> int:
    """Infer, check that the answers are those of the samples, and say how large the batch was."""
    samples = pictures(count, seed)
    answer = one.infer(name, samples, **options)
    np.testing.assert_array_equal(answer.arrays, answers(name, samples))
    assert answer.precision == "exact"
    assert answer.arrays.shape[0] == count
    return answer.batch


def call_all(one: Engine, calls: list[Call], threads: int = 16) -> list[int]:
    """Many callers at once, each with its own samples and its own answers."""
    with ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(call, one, n, c, seed) for seed, (n, c) in enumerate(calls)]
        return [future.result(30) for future in futures]


def submitted(one: Engine, count: int) -> bool:
    """Wait until so many requests wait."""
    return eventually(lambda: one.stats().waiting == count)


class Gate:
    """Holds a device before each launch until it is opened."""

    def __init__(self) -> None:
        self.open, self.reached = threading.Event(), threading.Event()

    def __call__(self, *_: object) -> None:
        self.reached.set()
        assert self.open.wait(20)


calls = st.lists(
    st.tuples(st.sampled_from(["a:50", "b:100", "c:200"]), st.integers(1, 6)), max_size=20
)


@settings(max_examples=25)
@given(calls, st.integers(1, 3), st.booleans(), st.booleans(), st.integers(400, 1200))
def test_everyone_gets_their_own(
    calls: list[Call], replicas: int, asynchronous: bool, overlap: bool, total: int
) -> None:
    """Any mix of callers, models, replicas, loops and budgets: every answer, and the right one."""
    memory, shared = Memory(64 * GIB), Budget(total * MIB)
    devices = [FakeDevice(memory, f"fake:{i}", asynchronous=asynchronous) for i in range(replicas)]
    one, _ = engine(devices, shared, overlap=overlap)
    call_all(one, calls)
    stats = one.stats()
    assert stats.waiting == 0
    assert sum(size * times for size, times in stats.batches.items()) == sum(c for _, c in calls)
    assert stats.peak <= stats.total == shared.total
    assert [device.name for device in stats.devices] == [device.name for device in devices]
    assert sum(device.samples for device in stats.devices) == sum(c for _, c in calls)
    assert sum(device.forwards for device in stats.devices) == sum(stats.batches.values())
    one.close()
    assert shared.reserved == 0
    assert all(device.running == 0 for device in devices)


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("fails", range(1, 17))
def test_out_of_memory_at_every_batch_size(fails: int, asynchronous: bool) -> None:
    """Every launch of ``fails`` or more samples runs out: smaller ones run, only 1 is an end."""

    def trouble(name: str, batch: int) -> None:
        if batch >= fails:
            raise Exhausted(f"{batch} are too many")

    device = FakeDevice(trouble=trouble, asynchronous=asynchronous)
    one, (budget,) = engine([device])
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(call, one, "a", 16, seed) for seed in range(3)]
        for future in futures:
            if fails == 1:
                with pytest.raises(OutOfMemory, match="one sample of a"):
                    future.result(20)
            else:
                assert 1 <= future.result(20) < fails
    weights = 64 * MIB
    assert budget.reserved == weights
    assert one.stats().waiting == 0
    one.close()


def test_the_limit_comes_back_with_the_memory() -> None:
    """A shortage makes batches small; when it is over they grow to what they were."""
    device = FakeDevice(Memory(3 * GIB))
    one, _ = engine([device])
    assert call(one, "a", 16) == 16
    device.memory.others = 2 * GIB
    device.memory.empty()
    assert call(one, "a", 16) <= 8
    assert one.stats().splits >= 1
    device.memory.others = 0
    for _ in range(2 * REGROW):
        call(one, "a", 16)
    assert call(one, "a", 16) == 16
    one.close()


@pytest.mark.parametrize("gib", [2, 4, 6, 8])
def test_a_cap_is_filled_and_not_passed(gib: int) -> None:
    """Under a hard cap the batch is as large as fits, and nothing is lost or even tried in vain."""
    memory = Memory(gib * GIB)
    device = FakeDevice(memory, per_sample=400 * MIB)
    one, (budget,) = engine([device])
    fitting = (gib * GIB - 64 * MIB - 16 * MIB) // (400 * MIB)
    assert call(one, "a:64", 40) == min(16, fitting)
    assert memory.most <= memory.cap
    assert budget.peak <= memory.cap
    assert one.stats().splits == 0
    one.close()


@pytest.mark.parametrize("gib", [2, 4, 6, 8])
def test_a_cap_that_others_share(gib: int) -> None:
    """Other programs take and release the device's memory all the while; everyone is served."""
    device = FakeDevice(Memory(gib * GIB), per_sample=300 * MIB, asynchronous=True)
    one, _ = engine([device])
    call(one, "a", 1)
    stop = threading.Event()

    def tenant() -> None:
        for step in range(10**6):
            if stop.wait(0.002):
                return
            device.memory.others = (step * 7 % 10) * gib * GIB // 12

    thread = threading.Thread(target=tenant)
    thread.start()
    try:
        refused = 0
        for seed in range(30):
            try:
                call(one, "a", 8, seed)
            except OutOfMemory:
                refused += 1  # not even one fitted, twice
        assert refused < 30
    finally:
        stop.set()
        thread.join()
    device.memory.others = 0
    call(one, "a", 16)
    assert device.memory.most <= device.memory.cap
    one.close()


@settings(max_examples=15)
@given(calls, st.integers(2, 17))
def test_the_overlapped_loop_answers_as_the_plain_one(calls: list[Call], fails: int) -> None:
    """Launching ahead changes when things run, and nothing else: even where memory ends."""

    def trouble(name: str, batch: int) -> None:
        if batch >= fails:
            raise Exhausted

    for overlap in (False, True):
        device = FakeDevice(asynchronous=True, trouble=trouble)
        one, _ = engine([device], overlap=overlap)
        call_all(one, calls)
        assert device.running == 0
        one.close()


@pytest.mark.parametrize("overlap", [False, True])
def test_the_loop_launches_ahead(overlap: bool) -> None:
    """With overlap one batch waits on the device behind the running one; without, none does."""
    most = 0

    class Watched(FakeDevice):
        def launch(self, model: Any, samples: Any) -> Any:
            nonlocal most
            pending = super().launch(model, samples)
            most = max(most, self.running)
            return pending

    one, _ = engine([Watched(asynchronous=True, largest_batch=2)], overlap=overlap)
    call(one, "a", 12)
    assert most == (2 if overlap else 1)
    one.close()


def test_a_launch_ahead_that_fails_waits_for_the_device() -> None:
    """Memory that a batch in flight holds is no reason to give up: that is finished first."""

    class Optimistic(FakeDevice):
        def measure(self, model: Any) -> Cost:
            return Cost(0, 1)

    memory = Memory(64 * MIB + 120 * MIB)
    one, _ = engine([Optimistic(memory, asynchronous=True, largest_batch=1)])
    call(one, "a:64", 8)
    assert one.stats().splits > 0
    one.close()


def test_a_new_model_waits_for_the_running_one() -> None:
    """A budget that holds one model at a time serves both: loading is not tried beside a batch."""
    device = FakeDevice(asynchronous=True, largest_batch=2)
    one, (budget,) = engine([device], Budget(500 * MIB))
    call_all(one, [("a:200", 3), ("b:200", 3)] * 4)
    assert budget.peak <= 500 * MIB
    one.close()


def test_a_new_model_has_the_device_to_itself() -> None:
    """Real memory that holds one model at a time: none is loaded while a batch of another runs."""
    gate = Gate()
    memory = Memory(300 * MIB)
    device = FakeDevice(memory, per_sample=50 * MIB, asynchronous=True, trouble=gate)
    device.largest_batch = 1
    one, _ = engine([device], Budget(8 * GIB))
    with ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(call, one, "a:150", 1)]
        assert gate.reached.wait(10)
        for at, name in enumerate(["b:150", "a:150", "b:150"]):
            futures.append(pool.submit(call, one, name, 1, at))
            assert submitted(one, at + 1)
        gate.open.set()
        for future in futures:
            future.result(20)
    assert [name for name, _ in device.launched] == ["a:150", "b:150", "a:150", "b:150"]
    one.close()


def test_a_broken_model_is_its_callers_alone() -> None:
    """Bad weights reach those who asked for them; the others, waiting at once, are served."""

    def broken(name: str) -> None:
        if name == "bad":
            raise ChecksumMismatch("bad has sha256 ...")

    one, (budget, _) = engine([FakeDevice(broken=broken) for _ in range(2)])
    with ThreadPoolExecutor(8) as pool:
        good = [pool.submit(call, one, "good", 2, seed) for seed in range(4)]
        bad = [pool.submit(call, one, "bad", 2, seed) for seed in range(4)]
        assert all(future.result(20) for future in good)
        errors = [future.exception(20) for future in bad]
    assert all(isinstance(error, ModelError) for error in errors)
    assert len({id(error) for error in errors}) == 4, "each caller has an error of its own"
    one.close()
    assert budget.reserved == 0


def test_a_refused_model_can_be_asked_for_again() -> None:
    """When what was wrong is mended, the next call is served."""
    wrong = [ChecksumMismatch("damaged"), MemoryError("none"), KeyError("a bug")]

    def broken(name: str) -> None:
        if wrong:
            raise wrong[0]

    one, _ = engine([FakeDevice(broken=broken)])
    while wrong:
        with pytest.raises(type(wrong[0])):
            call(one, "a", 3)
        wrong.pop(0)
    call(one, "a", 3)
    one.close()


def test_one_replica_that_cannot_does_not_stop_the_other() -> None:
    """A model too large for the small card runs on the large one, and is tried there alone."""
    small, large = FakeDevice(Memory(100 * MIB), "small"), FakeDevice(name="large")
    one, _ = engine([small, large])
    for seed in range(10):
        call(one, "a:200", 2, seed)
    assert small.launched == []
    assert {name for name, _ in large.launched} == {"a:200"}
    one.close()


def test_a_replica_tries_again_after_a_while() -> None:
    """Memory that was short when a replica first looked is looked for again after RETRY."""
    now = 0.0
    first = FakeDevice(Memory(8 * GIB, others=8 * GIB), "first")
    second = FakeDevice(name="second", seconds=0.002, largest_batch=1)
    one, _ = engine([first, second], clock=lambda: now)
    assert eventually(lambda: (call(one, "a", 4), first.freed > 0)[1])
    first.memory.others = 0
    call(one, "a", 20)
    assert first.launched == []
    now = 2 * RETRY
    assert eventually(lambda: (call(one, "a", 20), len(first.launched) > 0)[1])
    one.close()


@pytest.mark.parametrize("small_first", [False, True])
def test_one_sample_that_only_the_other_card_can_run(small_first: bool) -> None:
    """A sample that does not fit one device goes to the other before its caller hears a word."""

    def trouble(name: str, batch: int) -> None:
        raise Exhausted

    small, large = FakeDevice(name="small", trouble=trouble), FakeDevice(name="large")
    one, _ = engine([small, large] if small_first else [large, small])
    call_all(one, [("a", 5)] * 12)
    assert {size for _, size in large.launched}
    one.close()


def test_when_no_card_can_run_it_the_caller_hears() -> None:
    """Out of memory on every replica, each more than once, is the end of that sample."""

    def trouble(name: str, batch: int) -> None:
        raise Exhausted

    devices = [FakeDevice(name=f"fake:{i}", trouble=trouble) for i in range(3)]
    one, budgets = engine(devices)
    for _ in range(2):
        with pytest.raises(OutOfMemory, match="one sample of a"):
            call(one, "a", 2)
    assert one.stats().waiting == 0
    assert sum(budget.reserved for budget in budgets) <= 3 * 64 * MIB
    one.close()


def test_other_errors_reach_their_batch_alone(caplog: pytest.LogCaptureFixture) -> None:
    """A bug in a forward is raised to the callers in it; those before and after are served."""

    def trouble(name: str, batch: int) -> None:
        if name == "bad":
            raise ZeroDivisionError("a bug")

    for asynchronous in (False, True):
        device = FakeDevice(trouble=trouble, asynchronous=asynchronous)
        one, (budget,) = engine([device])
        with ThreadPoolExecutor(8) as pool:
            futures = [
                pool.submit(call, one, ("good", "bad")[seed % 2], 3, seed) for seed in range(12)
            ]
            for seed, future in enumerate(futures):
                error = future.exception(20)
                assert isinstance(error, ZeroDivisionError) if seed % 2 else error is None
        assert "a batch of bad failed" in caplog.text
        assert budget.reserved == 2 * 64 * MIB
        one.close()


class Breaks(FakeDevice):
    """A device whose method of this name raises once."""

    method: str

    def __init__(self, method: str) -> None:
        super().__init__(asynchronous=True)
        self.method, self.broke = method, 0

        def broken(*_: object) -> Any:
            self.broke += 1
            delattr(self, method)
            raise RuntimeError("the device fell off")

        setattr(self, method, broken)


@pytest.mark.parametrize("method", ["enter", "load", "measure", "launch", "finish"])
def test_a_device_that_breaks_does_not_take_the_engine_along(method: str) -> None:
    """An error anywhere on the replica's thread is answered, and the thread goes on."""
    device = Breaks(method)
    one, (budget,) = engine([device])
    with pytest.raises(RuntimeError, match="fell off"):
        call(one, "a", 3)
    assert device.broke == 1
    call(one, "a", 3)
    one.close()
    assert budget.reserved == 0


def test_a_cache_that_cannot_be_freed_is_answered() -> None:
    """An error while recovering from another one ends as an answer too."""
    device = Breaks("free")
    failed: list[int] = []

    def trouble(name: str, batch: int) -> None:
        if not failed:
            failed.append(batch)
            raise Exhausted

    device.trouble = trouble
    one, _ = engine([device])
    with pytest.raises(RuntimeError, match="fell off"):
        call(one, "a", 3)
    call(one, "a", 3)
    one.close()


def test_a_failed_forward_is_let_go() -> None:
    """While memory is being freed after a failure, nothing of the failed forward is still alive."""
    alive: list[weakref.ref[Any]] = []
    seen: list[bool] = []

    class Holding(FakeDevice):
        def launch(self, model: Any, samples: Any) -> Any:
            if len(samples) > 4:
                activation = threading.Event()  # anything that can be referred to weakly
                alive.append(weakref.ref(activation))
                raise Exhausted
            return super().launch(model, samples)

        def free(self) -> None:
            seen.append(any(ref() is not None for ref in alive))
            super().free()

    gc.disable()
    try:
        one, _ = engine([Holding()])
        call(one, "a", 16)
        one.close()
    finally:
        gc.enable()
    assert len(alive) == 2
    assert seen
    assert not any(seen)


def test_a_refused_model_is_let_go() -> None:
    """Weights that loaded but may not stay are freed, though their caller keeps the error."""
    device = FakeDevice()
    one, (budget,) = engine([device], Budget(200 * MIB))
    gc.disable()
    try:
        with pytest.raises(OutOfMemory) as caught:
            call(one, "a:150", 1)
        assert "budget" in str(caught.value)
        assert eventually(lambda: budget.reserved == 0)
        assert device.memory.used == 0
    finally:
        gc.enable()
    one.close()


def test_a_deadline() -> None:
    """What still waits at its deadline is refused then; what runs is answered; others stay."""
    gate = Gate()
    device = FakeDevice(largest_batch=2, trouble=gate)
    one, _ = engine([device])
    with ThreadPoolExecutor(3) as pool:
        soon = time.monotonic() + 0.1
        running = pool.submit(call, one, "a", 2, 1, deadline=soon)
        assert gate.reached.wait(10)
        patient = pool.submit(call, one, "a", 2, 2)
        assert submitted(one, 2)
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            call(one, "a", 2, 3, deadline=soon)
        assert time.monotonic() - started < 5
        assert one.stats().waiting == 2
        gate.open.set()
        assert running.result(20) == 2
        assert patient.result(20) == 2
    with pytest.raises(DeadlineExceeded):
        call(one, "a", 1, deadline=time.monotonic() - 1)
    assert call(one, "a", 1, deadline=float("inf")) == 1
    one.close()


@pytest.mark.parametrize("asynchronous", [False, True])
def test_close_answers_everyone(asynchronous: bool) -> None:
    """What runs is answered, what waits hears EngineClosed, what comes later hears it at once."""
    gate = Gate()
    device = FakeDevice(largest_batch=2, trouble=gate, asynchronous=asynchronous)
    one, (budget,) = engine([device])
    with ThreadPoolExecutor(6) as pool:
        running = pool.submit(call, one, "a", 2)
        assert gate.reached.wait(10)
        waiting = [pool.submit(call, one, name, 2) for name in ("a", "b", "a")]
        assert submitted(one, 6)
        closing = [pool.submit(one.close) for _ in range(2)]
        for future in waiting:
            assert isinstance(future.exception(10), EngineClosed)
        gate.open.set()
        assert running.result(10) == 2
        for done in closing:
            done.result(10)
    with pytest.raises(EngineClosed):
        call(one, "a", 1)
    one.close()
    assert budget.reserved == device.memory.used == 0, "the models are unloaded"


def test_close_while_loading() -> None:
    """Closing does not wait for callers of a model that is still being loaded: they hear of it."""
    gate = Gate()
    one, _ = engine([FakeDevice(broken=gate)])
    with ThreadPoolExecutor(2) as pool:
        caller = pool.submit(call, one, "a", 2)
        assert gate.reached.wait(10)
        closing = pool.submit(one.close)
        assert isinstance(caller.exception(10), EngineClosed)
        gate.open.set()
        closing.result(10)


def test_close_while_memory_is_short() -> None:
    """A replica that waits for memory that never comes can be closed."""
    budget = Budget(500 * MIB)
    one, _ = engine([FakeDevice()], budget)
    call(one, "a", 1)
    assert budget.take(budget.free)
    with ThreadPoolExecutor(1) as pool:
        caller = pool.submit(call, one, "a", 1)
        assert submitted(one, 1)
        one.close()
        assert isinstance(caller.exception(10), EngineClosed)


def test_close_after_out_of_memory() -> None:
    """A batch that runs out of memory while the engine closes is answered."""
    gate = Gate()

    def trouble(name: str, batch: int) -> None:
        gate()
        raise Exhausted

    one, _ = engine([FakeDevice(trouble=trouble)])
    with ThreadPoolExecutor(2) as pool:
        caller = pool.submit(call, one, "a", 3)
        assert gate.reached.wait(10)
        closing = pool.submit(one.close)
        assert eventually(lambda: one._closed)
        gate.open.set()
        assert isinstance(caller.exception(10), EngineClosed)
        closing.result(10)


def test_priority_reaches_the_device_first() -> None:
    """Of what waits, the higher priority is launched first, across models and within one."""
    gate = Gate()
    device = FakeDevice(largest_batch=1, trouble=gate)
    one, _ = engine([device])
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(call, one, "first", 1)]
        assert gate.reached.wait(10)
        for at, (name, priority) in enumerate([("low", -1), ("mid", 0), ("top", 2), ("high", 1)]):
            futures.append(pool.submit(call, one, name, 1, priority=priority))
            assert submitted(one, at + 1)
        gate.open.set()
        for future in futures:
            future.result(20)
    assert [name for name, _ in device.launched] == ["first", "top", "high", "mid", "low"]
    one.close()


def test_callers_share_batches() -> None:
    """What waits when a device is free runs together, whoever asked for it."""
    gate = Gate()
    device = FakeDevice(trouble=gate)
    one, _ = engine([device])
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(call, one, "a", 1)]
        assert gate.reached.wait(10)
        futures += [pool.submit(call, one, "a", 2, seed) for seed in range(5)]
        assert submitted(one, 10)
        gate.open.set()
        assert [future.result(20) for future in futures] == [1] + [10] * 5
    assert device.launched == [("a", 1), ("a", 10)]
    assert one.stats().batches == {1: 1, 10: 1}
    (told,) = one.stats().devices
    assert (told.samples, told.forwards, told.batch, told.why) == (11, 2, 10, "all that waited")
    one.close()


@pytest.mark.parametrize("seconds", [(1, 1), (1, 2, 4), (3, 4, 5, 7), (1, 4)])
def test_unequal_replicas_share_the_work(seconds: tuple[int, ...]) -> None:
    """Replicas pull: all together are within 5 % as fast as the sum of their speeds, and each has
    done its part of the work within 5 % of all.
    """
    pace, total = Pace(), 2000
    devices = [Paced(name=f"fake:{i}", seconds=each, pace=pace) for i, each in enumerate(seconds)]
    one, _ = engine(devices)
    with ThreadPoolExecutor(1) as pool:
        caller = pool.submit(call, one, "a", total)
        pace.pass_until(one, total)
        caller.result(20)
    speeds = [1 / each for each in seconds]
    assert pace.now <= 1.05 * total / sum(speeds)
    for device, speed in zip(one.stats().devices, speeds, strict=True):
        assert device.samples / total == pytest.approx(speed / sum(speeds), abs=0.05)
    one.close()


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("forwards", [0, 1, 5])
def test_a_device_that_vanishes_loses_nothing(forwards: int, asynchronous: bool) -> None:
    """One of two falls off the bus in the middle of a batch, for ever: every caller has the right
    answers in the right order, from the other one, and the lost one is left alone.
    """
    lost = Vanishing(name="lost", forwards=forwards, asynchronous=asynchronous, largest_batch=2)
    other = FakeDevice(name="other", seconds=0.001, largest_batch=2)
    now = 0.0
    one, budgets = engine([lost, other], clock=lambda: now)
    assert eventually(
        lambda: (call_all(one, [("a", 5)] * 8), bool(one._refused[one.replicas[0]]))[1]
    )
    tried = len(lost.launched)
    assert tried > 0 or forwards == 0
    call_all(one, [("a", 5), ("b", 3)] * 8)
    assert len(lost.launched) == tried
    assert lost.running == 0
    now = 2 * RETRY
    call_all(one, [("a", 5)] * 8)
    lost.back = True
    now = 4 * RETRY
    assert eventually(lambda: (call(one, "a", 8), len(lost.launched) > tried + 4)[1])
    one.close()
    assert [budget.reserved for budget in budgets] == [0, 0]


POISON = 99
"""The seed of a sample that fails on every device that is :class:`Allergic`."""


@dataclass(eq=False)
class Allergic(FakeDevice):
    """A device that one sample fails on; ``met`` is how large the batches were that it was in."""

    met: list[int] = field(default_factory=list)

    def launch(self, model: Any, samples: Any) -> Any:
        if (samples == pictures(1, POISON)).all((1, 2, 3)).any():
            self.met.append(len(samples))
            raise ZeroDivisionError("a bug")
        return super().launch(model, samples)


@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_a_sample_that_no_device_can_run(replicas: int) -> None:
    """It is tried on two replicas at most, its caller hears of it once, and neither of the two is
    blamed: what comes next runs on all of them.
    """
    devices = [Allergic(name=f"fake:{i}", largest_batch=1) for i in range(replicas)]
    one, _ = engine(devices)
    for times in range(1, 4):
        with pytest.raises(ZeroDivisionError):
            call(one, "a", 1, POISON)
        tried = [len(device.met) for device in devices]
        assert sum(tried) == times * min(2, replicas)
        assert max(tried) <= times
        assert not any(one._refused.values())
    assert eventually(lambda: (call(one, "a", 9), all(d.launched for d in devices))[1])
    one.close()


@pytest.mark.parametrize("priority", [0, 1])
def test_what_shares_a_batch_with_a_second_failure(priority: int) -> None:
    """Fresh samples beside one that fails for the second time are not told with it: they are tried
    again too, whoever stands first, and nobody is blamed.
    """
    devices = first, second = [Allergic(name=name) for name in ("first", "second")]
    one, _ = engine(devices)
    gates = first.trouble, second.trouble = Gate(), Gate()
    with ThreadPoolExecutor(4) as pool:
        held = pool.submit(call, one, "a", 2, 1)
        assert all(gate.reached.wait(10) for gate in gates)
        poison = pool.submit(call, one, "a", 1, POISON)
        assert submitted(one, 1)
        gates[0].open.set()
        assert eventually(lambda: bool(one._refused[one.replicas[0]]))
        fresh = pool.submit(call, one, "a", 1, 2, priority=priority)
        assert submitted(one, 2)
        later = pool.submit(call, one, "a", 2, 3)
        assert submitted(one, 4)
        gates[1].open.set()
        assert isinstance(poison.exception(10), ZeroDivisionError)
        for future in (held, fresh, later):
            future.result(10)
    assert [device.met for device in devices] == [[1], [2]]
    assert not any(one._refused.values())
    one.close()


def test_a_lost_device_beside_a_bad_sample() -> None:
    """Samples that fail show nothing about a device that is gone: though it is tried again for
    them, the others it has failed twice are done elsewhere.
    """
    lost = Vanishing(name="lost", forwards=1, largest_batch=4)
    other = Allergic(name="other", seconds=0.002, largest_batch=1)
    one, _ = engine([lost, other])
    assert eventually(lambda: (call(one, "a", 4), lost.forwards == 0)[1])
    with ThreadPoolExecutor(24) as pool:
        calls = [(4, seed) if seed % 3 else (1, POISON) for seed in range(24)]
        futures = [pool.submit(call, one, "a", count, seed) for count, seed in calls]
        for (_, seed), future in zip(calls, futures, strict=True):
            error = future.exception(20)
            assert isinstance(error, ZeroDivisionError | Gone) if seed == POISON else error is None
    one.close()


def test_what_a_sibling_holds_is_waited_for() -> None:
    """Two replicas whose ledger holds one batch at a time take turns; nobody is refused."""
    shared = Budget(64 * MIB + 16 * MIB + 110 * MIB)
    memory = Memory(8 * GIB)
    devices = [FakeDevice(memory, f"fake:{i}") for i in range(2)]
    one, _ = engine(devices, shared)
    call_all(one, [("a:64", 3)] * 10)
    assert shared.peak <= shared.total
    one.close()


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros((0, SIDE, SIDE, 3), np.uint8),
        np.zeros((1, SIDE + 1, SIDE, 3), np.uint8),
        np.zeros((SIDE, SIDE, 3), np.uint8),
        np.zeros((1, SIDE, SIDE, 3), np.float32),
    ],
    ids=["none", "size", "dimensions", "type"],
)
def test_what_the_model_does_not_take_is_said_to_its_caller(samples: Any) -> None:
    """A wrong array never reaches a batch, where it would fail its neighbours."""
    one, _ = engine([FakeDevice()])
    with pytest.raises(ValueError, match=r"a takes uint8 \(N >= 1, 2, 2, 3\)"):
        one.infer("a", samples)
    call(one, "a", 2)
    one.close()


def test_an_unknown_model_is_said_to_its_caller() -> None:
    """What the catalogue does not have is not waited for."""

    def missing(name: str) -> ModelSpec:
        raise UnknownModel(f"no model is called {name}")

    one = Engine([FakeDevice()], lambda _: Budget(GIB), missing)
    with pytest.raises(UnknownModel):
        one.infer("nobody", pictures(1))
    one.close()


def test_an_error_raised_by_many_is_each_ones_own() -> None:
    """Two callers of one failed batch do not share a traceback."""
    one, _ = engine([FakeDevice()], Budget(100 * MIB))
    errors: list[PortrayerError] = []

    def caller() -> None:
        try:
            call(one, "a:200", 2)
        except PortrayerError as error:
            errors.append(error)

    threads = [threading.Thread(target=caller) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len({id(error) for error in errors}) == len(errors) == 4
    one.close()


@pytest.mark.parametrize("seed", range(3))
def test_a_storm(seed: int) -> None:
    """Callers, memory that ends at random, bugs, deadlines: everyone hears exactly one thing."""
    rng = np.random.default_rng(seed)
    lock = threading.Lock()

    def trouble(name: str, batch: int) -> None:
        with lock:
            chance = rng.random()
        if chance < 0.1:
            raise Exhausted
        if chance < 0.13:
            raise ZeroDivisionError

    devices = [
        FakeDevice(Memory(2 * GIB), f"fake:{i}", asynchronous=bool(i), trouble=trouble)
        for i in range(3)
    ]
    one, budgets = engine(devices)
    fine, failed = 0, 0

    def caller(at: int) -> None:
        nonlocal fine, failed
        for step in range(12):
            options = {"deadline": time.monotonic() + 0.02} if (at + step) % 9 == 0 else {}
            try:
                call(one, "abc"[(at * step) % 3], 1 + (at + step) % 5, at * 100 + step, **options)
            except (OutOfMemory, ZeroDivisionError, DeadlineExceeded):
                with lock:
                    failed += 1
            else:
                with lock:
                    fine += 1

    threads = [threading.Thread(target=caller, args=(at,)) for at in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert fine + failed == 144
    assert fine > 50
    one.close()
    assert [budget.reserved for budget in budgets] == [0, 0, 0]
    assert [device.running for device in devices] == [0, 0, 0]
