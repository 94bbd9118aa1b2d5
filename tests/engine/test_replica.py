"""One device under a budget: who is loaded, who makes room, and what is learnt when memory ends."""

from __future__ import annotations

import gc
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portrayer.engine.memory import Budget
from portrayer.engine.replica import REGROW, Replica
from portrayer.errors import OutOfMemory, UnknownModel
from portrayer.models.spec import ModelSpec
from tests.engine.fakes import GIB, MIB, Exhausted, FakeDevice, Memory, answers, pictures, spec


def replica(
    total: int = GIB, device: FakeDevice | None = None, budget: Budget | None = None
) -> Replica:
    return Replica(device or FakeDevice(), budget or Budget(total), spec)


def run(replica: Replica, name: str, count: int, wanted: int | None = None) -> int:
    """A batch from start to end; its size."""
    replica.prepare(name)
    size = replica.reserve(name, wanted or count)
    if size:
        samples = pictures(min(size, count))
        results = replica.finish(replica.launch(name, list(samples), size))
        np.testing.assert_array_equal(results, answers(name, samples))
    return size


def test_a_name_that_has_become_another_model() -> None:
    """It is loaded anew, once nothing of the old one runs; what runs is finished by the old one."""
    rows = {"a:50": spec("a:50")}
    one = Replica(FakeDevice(asynchronous=True), Budget(GIB), rows.__getitem__)
    one.prepare("a:50")
    first = one.loaded["a:50"].model
    running = one.launch("a:50", list(pictures(1)), one.reserve("a:50", 1))
    rows["a:50"] = replace(rows["a:50"], peak=True)
    one.prepare("a:50")
    assert one.loaded["a:50"].model is first
    one.finish(running)
    one.prepare("a:50")
    assert one.loaded["a:50"].spec == rows["a:50"]
    kept = one.loaded["a:50"]
    one.prepare("a:50")
    assert one.loaded["a:50"] is kept
    del first, kept
    one.close()
    assert one.budget.reserved == 0


names = st.sampled_from(["a:50", "b:100", "c:200", "d:300"])


@given(
    st.lists(st.tuples(names, st.integers(1, 20), st.integers(0, 3)), max_size=30),
    st.sampled_from([GIB // 2, GIB, 2 * GIB]),
    st.booleans(),
)
def test_the_ledger_covers_what_is_used(
    steps: list[tuple[str, int, int]], total: int, padded: bool
) -> None:
    """Whatever runs, real use never passes what is reserved, and that never passes the budget."""
    device = FakeDevice(Memory(64 * GIB), asynchronous=True)
    if padded:
        device.padding = lambda samples: min(16, 1 << (samples - 1).bit_length())
    one = replica(total, device)
    for name, wanted, fewer in steps:
        one.prepare(name)
        reserved = one.reserve(name, wanted)
        if not reserved:
            continue
        assert reserved <= min(wanted, device.largest_batch)
        samples = list(pictures(max(1, reserved - fewer)))
        running = one.launch(name, samples, reserved)
        assert device.memory.used <= one.budget.reserved <= total
        one.finish(running)
    assert one.budget.peak <= total
    one.close()
    assert one.budget.reserved == device.memory.used == 0


@given(st.lists(names, min_size=1, max_size=25))
def test_the_least_recently_used_goes_first(order: list[str]) -> None:
    """The models that stay are the most recently used ones; none goes without need."""
    one = replica(800 * MIB)
    recent: list[str] = []
    for name in order:
        before = list(one.loaded)
        one.prepare(name)
        recent = [n for n in recent if n != name] + [name]
        kept = [n for n in recent if n in one.loaded]
        assert kept == recent[-len(kept) :], "a model went before one that was used less recently"
        recent = kept
        if name in before:
            assert sorted(one.loaded) == sorted(before)


def test_what_runs_stays() -> None:
    """A model with a batch in flight is not unloaded, however much another wants its room."""
    one = replica(500 * MIB, FakeDevice(asynchronous=True))
    one.prepare("a:300")
    running = one.launch("a:300", list(pictures(1)), one.reserve("a:300", 1))
    one.prepare("b:300")
    assert list(one.loaded) == ["a:300"]
    one.finish(running)
    one.prepare("b:300")
    assert list(one.loaded) == ["b:300"]


def test_a_model_does_not_make_room_for_itself() -> None:
    """Where a sibling holds the memory, reserving says not now, and the model stays loaded."""
    budget = Budget(500 * MIB)
    one = replica(budget=budget)
    one.prepare("a:100")
    assert budget.take(390 * MIB)
    assert one.reserve("a:100", 3) == 0
    assert list(one.loaded) == ["a:100"]
    budget.release(390 * MIB)
    assert run(one, "a:100", 3) == 3


def test_reserving_what_is_not_loaded_is_not_now() -> None:
    """Reserving before preparing reserves nothing."""
    one = replica()
    assert one.reserve("a", 1) == 0
    assert one.budget.reserved == 0


def test_too_large_for_the_budget_is_said_at_once() -> None:
    """Weights, or weights and one sample, beyond the total: OutOfMemory, and nothing is kept."""
    one = replica(300 * MIB)
    for name in ("weights:400", "sample:250"):
        with pytest.raises(OutOfMemory, match="needs") as caught:
            one.prepare(name)
        assert "300.0 MiB" in str(caught.value)
        del caught
        gc.collect()  # pytest keeps the frames a while
        assert one.loaded == {}
        assert one.budget.reserved == 0
    assert run(one, "fits:100", 1) == 1


def test_siblings_count_shared_weights_once() -> None:
    """A model that two replicas of a budget hold is reserved once, until the last lets it go."""
    memory, budget = Memory(8 * GIB), Budget(GIB)
    one, other = (replica(device=FakeDevice(memory), budget=budget) for _ in range(2))
    one.prepare("a:100")
    other.prepare("a:100")
    assert budget.reserved == 100 * MIB
    one.close()
    assert budget.reserved == memory.used == 100 * MIB, "the other still holds the weights"
    other.close()
    assert budget.reserved == memory.used == 0


@pytest.mark.parametrize("fails", ["load", "measure"])
def test_other_programs_memory_is_asked_for_once_more(fails: str) -> None:
    """Memory that ends while loading: idle models go, caches are freed, and it is tried again."""
    device = FakeDevice(Memory(1000 * MIB))
    one = replica(4 * GIB, device)
    assert run(one, "old:600", 1)
    device.memory.others = {"load": 250, "measure": 150}[fails] * MIB
    assert run(one, "new:200", 1)
    assert list(one.loaded) == ["new:200"]


def test_a_model_that_the_device_cannot_hold() -> None:
    """Memory that does not come back is OutOfMemory, caused by the allocator's own error."""
    device = FakeDevice(Memory(100 * MIB))
    one = replica(4 * GIB, device)
    with pytest.raises(OutOfMemory, match="fake") as caught:
        one.prepare("a:200")
    assert isinstance(caught.value.__cause__, Exhausted)
    device.memory.cap = GIB
    assert run(one, "a:200", 1) == 1, "and later it may fit"


def test_a_failed_launch_gives_its_memory_back() -> None:
    """Errors in launch and finish release exactly what was reserved."""
    device = FakeDevice()
    one = replica(device=device)
    one.prepare("a")
    before = one.budget.reserved

    def broken(name: str, batch: int) -> None:
        raise KeyError(name)

    device.trouble = broken
    with pytest.raises(KeyError):
        one.launch("a", list(pictures(2)), one.reserve("a", 5))
    assert one.budget.reserved == before
    with pytest.raises(ValueError, match="shape"):
        one.launch("a", [pictures(1)[0], np.zeros((3, 3, 3), np.uint8)], one.reserve("a", 2))
    assert one.budget.reserved == before
    assert one.loaded["a"].running == 0


def test_as_many_results_as_samples() -> None:
    """A device that loses a result is found out; the memory comes back all the same."""

    class Forgetful(FakeDevice):
        def finish(self, pending: Any) -> Any:
            return super().finish(pending)[1:]

    one = replica(device=Forgetful())
    one.prepare("a")
    before = one.budget.reserved
    with pytest.raises(ValueError, match="2 results for 3 samples"):
        one.finish(one.launch("a", list(pictures(3)), one.reserve("a", 3)))
    assert one.budget.reserved == before
    assert one.loaded["a"].running == 0


def test_a_limit_is_learnt_and_unlearnt() -> None:
    """Halved by each failure, doubled after REGROW good batches, within 1 and the largest batch."""
    one = replica(8 * GIB)
    one.prepare("a")
    one.prepare("idle")
    seen = []
    for _ in range(6):
        seen.append(one.reserve("a", 99))
        one.budget.release(one.loaded["a"].cost.of(seen[-1]))
        one.shrink("a", seen[-1])
    assert seen == [16, 8, 4, 2, 1, 1]
    assert "idle" not in one.loaded, "before one sample fails for good, the others make room"
    assert one.splits == 6
    for limit in (1, 2, 4, 8, 16, 16):
        assert [run(one, "a", 20) for _ in range(REGROW)] == [limit] * REGROW


def test_padding_is_paid_for() -> None:
    """A device that runs fuller batches than asked for has the fuller batch reserved."""
    device = FakeDevice(padding=lambda samples: 1 << (samples - 1).bit_length())
    one = replica(64 * MIB + 16 * MIB + 700 * MIB, device)
    one.prepare("a:64")
    assert one.reserve("a:64", 7) == 4, "seven fit, but they would run as eight"
    assert one.budget.free == 300 * MIB
    running = one.launch("a:64", list(pictures(3)), 4)
    assert running.reserved == device._need(4)


def whole(one: Replica, name: str, count: int) -> None:
    """A batch of just so many, reserved, run and finished."""
    one.prepare(name)
    assert one.reserve(name, count) == count
    one.finish(one.launch(name, list(pictures(count)), count))


def test_why_a_batch_was_no_larger() -> None:
    """What bounded the last batch is said, with the numbers as they are."""
    one = replica(64 * MIB + 16 * MIB + 850 * MIB)
    one.prepare("a:64")
    assert (one.stats().batch, one.stats().why) == (0, "")

    def told(waiting: int, sharing: int = 1) -> tuple[int, str]:
        count = one.reserve("a:64", waiting, sharing)
        one.budget.release(one.loaded["a:64"].cost.of(count))
        return one.stats().batch, one.stats().why

    assert told(5) == (5, "all that waited")
    assert told(8) == (8, "all that waited")
    assert told(9, 4) == (3, "its share of 9 that waited")
    assert told(40) == (8, "memory: 866.0 MiB of 930.0 MiB free")
    assert one.budget.take(300 * MIB)
    assert told(40) == (5, "memory: 566.0 MiB of 930.0 MiB free")
    assert one.budget.take(500 * MIB)
    assert one.reserve("a:64", 40) == 0
    assert one.stats().batch == 5, "what was not run has no reason"
    one.budget.release(800 * MIB)
    one.shrink("a:64", 8)
    assert told(40) == (4, "an out-of-memory at 8")
    assert told(4) == (4, "all that waited")
    for _ in range(2 * REGROW):
        whole(one, "a:64", 4)
    assert told(40) == (8, "memory: 866.0 MiB of 930.0 MiB free")


def test_why_of_a_device_at_its_best() -> None:
    """As many as pay on the device, though more would fit; also where batches are padded."""
    one = replica(8 * GIB, FakeDevice(padding=lambda samples: 1 << (samples - 1).bit_length()))
    one.prepare("a")
    assert (one.reserve("a", 40), one.stats().why) == (16, "the device's best")
    one.shrink("a", 7)
    assert (one.reserve("a", 3), one.stats().why) == (2, "an out-of-memory at 7")


def test_busy_is_the_time_with_a_batch() -> None:
    """Batches that overlap count once, the one that runs counts up to now, failures count too."""
    now = 0.0

    def trouble(name: str, batch: int) -> None:
        nonlocal now
        now += 1.0
        if batch == 3:
            raise KeyError(name)

    device = FakeDevice(asynchronous=True, trouble=trouble)
    one = Replica(device, Budget(4 * GIB), spec, clock=lambda: now)
    one.prepare("a")
    now += 10.0
    assert one.stats().busy == 0.0
    first, second = (
        one.launch("a", list(pictures(count)), one.reserve("a", count)) for count in (1, 2)
    )
    assert one.stats().busy == 2.0
    now += 4.0
    one.finish(first)
    now += 8.0
    one.finish(second)
    assert one.stats().busy == 14.0
    now += 16.0
    with pytest.raises(KeyError):
        one.launch("a", list(pictures(3)), one.reserve("a", 3))
    now += 32.0
    stats = one.stats()
    assert stats.busy == 15.0
    assert (stats.samples, stats.forwards) == (3, 2), "what failed answered nobody"


def test_a_replica_tells_what_it_is() -> None:
    """Its device, its models and its budget, as they are now."""
    one = replica(500 * MIB)
    assert (one.stats().models, one.stats().reserved, one.stats().total) == ((), 0, 500 * MIB)
    one.prepare("a:100")
    one.prepare("b:150")
    stats = one.stats()
    assert (stats.name, stats.precision) == ("fake", "exact")
    assert stats.models == ("a:100", "b:150")
    assert stats.reserved == 250 * MIB


def test_an_unknown_model_is_no_harm() -> None:
    """Whatever the catalogue raises comes through, and the replica goes on."""

    def missing(name: str) -> ModelSpec:
        raise UnknownModel(name)

    one = Replica(FakeDevice(), Budget(GIB), missing)
    with pytest.raises(UnknownModel):
        one.prepare("nobody")
    assert one.loaded == {}


def test_two_replicas_never_pass_the_budget_they_share() -> None:
    """Two threads over one ledger: real use stays within it, and both get their work done."""
    memory, budget = Memory(8 * GIB), Budget(700 * MIB)
    done = []

    def work(at: int) -> None:
        one = replica(device=FakeDevice(memory, asynchronous=True), budget=budget)
        count = 0
        while count < 60:
            count += run(one, "a:50", 3, 3)
        done.append(at)

    threads = [threading.Thread(target=work, args=(at,)) for at in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(done) == [0, 1]
    assert budget.peak <= budget.total
