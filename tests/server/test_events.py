"""Laws of progress: who listens misses nothing, is told nothing twice, and costs nothing idle."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from portrayer.errors import DecodeError
from portrayer.jobs.record import Counts, Failure, Item, Job, State
from portrayer.jobs.runner import Event, Runner
from portrayer.jobs.store import Store
from portrayer.server import events
from portrayer.server.events import FRESH, KEPT, Hub, Track, stream

T = TypeVar("T")
Told = tuple[str, int | None, Any]


class Seen(BaseModel):
    """A view of an item or a job."""

    id: int | str
    state: str = ""
    stage: str | None = None


def show_item(item: Item, stage: str | None) -> Seen:
    return Seen(id=item.id, state=item.state, stage=stage)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "jobs.db") as store:
        yield store


def put(store: Store, n: int, job: str = "j") -> None:
    store.put("matte", {}, ((f"{job}{i}", f"{job}{i}.png", "") for i in range(n)), id=job)


def follow(store: Store, hub: Hub, last: int = 0, job: str = "j") -> AsyncIterator[bytes]:
    def show_job(job: Job) -> Seen:
        counts = store.counts(job.id)
        return Seen(id=job.id, state=f"{counts.settled} of {counts.total}")

    return stream(store, hub, job, last, show_item, show_job)


def parse(text: bytes) -> list[Told]:
    """Events as a browser understands them: (name, id, data); what has no name is not one."""
    found = []
    for block in text.decode().split("\n\n"):
        pairs = (line.partition(": ") for line in block.split("\n"))
        fields = {name: value for name, _, value in pairs if name}
        if "event" in fields:
            id = int(fields["id"]) if "id" in fields else None
            found.append((fields["event"], id, json.loads(fields["data"])))
    return found


async def burst(lines: AsyncIterator[bytes]) -> list[Told]:
    """What is told until the job is, or until the stream ends."""
    found: list[Told] = []
    async for text in lines:
        found += parse(text)
        if found and found[-1][0] == "job":
            break
    return found


def items(told: list[Told]) -> dict[int, str]:
    """What a client believes after it: the state of each item."""
    return {data["id"]: data["state"] for name, _, data in told if name == "item"}


def true(store: Store) -> dict[int, str]:
    return {item.id: str(item.state) for item in store.items("j")}


def on_loop(work: Callable[[Hub], Coroutine[Any, Any, T]]) -> T:
    """Do ``work`` on an event loop, with a hub that is open."""

    async def run() -> T:
        hub = Hub()
        hub.open()
        return await asyncio.wait_for(work(hub), 30)

    return asyncio.run(run())


class Answers:
    """A backend that goes through its stages; every third photo is none."""

    width = 3

    def run(self, job: Job, item: Item, watch: Callable[[str], None]) -> Mapping[str, Any]:
        for stage in ("decode", "infer", "encode"):
            watch(stage)
        if item.id % 3 == 0:
            raise DecodeError("not a picture")
        return {}

    def close(self) -> None:
        pass


def test_a_job_is_told_from_its_beginning_to_its_end(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the real runner: numbers grow, the client's view ends as the ledger's, and the last word
    is that the job is settled."""
    monkeypatch.setattr(events, "GAP", 0)
    put(store, 60)

    async def work(hub: Hub) -> list[Told]:
        runner = Runner(store, Answers(), on_event=hub.settled, on_stage=hub.staged)
        lines = follow(store, hub)
        told = await burst(lines)
        running = asyncio.create_task(asyncio.to_thread(runner.run, "j"))
        told += [each async for text in lines for each in parse(text)]
        await running
        return told

    told = on_loop(work)
    ids = [id for _, id, _ in told if id is not None]
    assert ids == sorted(set(ids))
    assert items(told) == true(store)
    assert told[-1] == ("job", None, {"id": "j", "state": "60 of 60", "stage": None})
    stages = {data["stage"] for name, _, data in told if name == "stage"}
    assert stages <= {"claimed", "decode", "infer", "encode"}


STEPS: Mapping[str, Callable[[Store, Item], object]] = {
    "claim": lambda store, _: store.claim("j"),
    "complete": lambda store, item: store.complete(item, {}),
    "fail": lambda store, item: store.fail(item, Failure("x", "x")),
    "again": lambda store, item: store.fail(item, Failure("x", "x"), again=True),
    "release": lambda store, item: store.release(item),
    "retry": lambda store, _: store.retry("j"),
    "cancel": lambda store, _: store.cancel("j"),
}


@settings(max_examples=25)
@given(st.lists(st.lists(st.sampled_from(sorted(STEPS)), max_size=9), max_size=6), st.data())
def test_who_comes_again_misses_nothing_and_hears_nothing_twice(
    tmp_path_factory: pytest.TempPathFactory, visits: list[list[str]], draw: st.DataObject
) -> None:
    """However the connection is cut, between events: with the last id that was received, a client
    comes to believe what is true, and no change is told again."""
    with Store(tmp_path_factory.mktemp("ledger") / "jobs.db") as store:
        put(store, 5)

        async def work(hub: Hub) -> None:
            believed: dict[int, str] = {}
            last, told = 0, set[int]()
            for steps in visits:
                for step in steps:
                    STEPS[step](store, next(store.items("j", State.RUNNING), some(store)))
                async with aclosing(follow(store, hub, last)) as lines:
                    found = await burst(lines)
                cut = draw.draw(st.integers(0, len(found)))
                for _, id, _ in found[:cut]:
                    last = last if id is None else id
                    assert id not in told
                    told |= set() if id is None else {id}
                believed |= items(found[:cut])
            async with aclosing(follow(store, hub, last)) as lines:
                believed |= items(await burst(lines))
            assert believed == true(store)

        on_loop(work)


def some(store: Store) -> Item:
    """Some item, where none is running: what settles it is refused by the ledger's fence."""
    return next(store.items("j"))


def test_what_changed_twice_is_told_once_as_it_is(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand changes while nobody waits are one burst, with each item once."""
    monkeypatch.setattr(events, "GAP", 0)
    put(store, 20)

    async def work(hub: Hub) -> list[Told]:
        lines = follow(store, hub)
        await burst(lines)
        for _ in range(19):
            claimed = store.claim("j")
            assert claimed is not None
            for _ in range(50):
                hub.staged(claimed[1], "infer")
            store.complete(claimed[1], {})
        return parse(await anext(lines))

    told = on_loop(work)
    names = [name for name, _, _ in told]
    assert names == ["item"] * 19 + ["job"]  # and no stage of what is done already
    assert items(told) == dict.fromkeys(range(1, 20), "done")


def test_stages_are_told_as_they_come(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes while an item runs hears its stage with it; each next one is a word of its own."""
    monkeypatch.setattr(events, "GAP", 0)
    put(store, 2)

    async def work(hub: Hub) -> list[list[Told]]:
        claimed = store.claim("j")
        assert claimed is not None
        hub.staged(claimed[1], "claimed")
        await asyncio.sleep(0)  # what was told is done on the loop
        lines = follow(store, hub)
        await anext(lines)
        told = [parse(await anext(lines))]
        for stage in ("decode", "infer"):
            hub.staged(claimed[1], stage)
            told.append(parse(await anext(lines)))
        other = store.claim("j")
        assert other is not None
        hub.staged(other[1], "claimed")
        return [*told, parse(await anext(lines))]

    first, *more, last = on_loop(work)
    assert [(name, data["stage"]) for name, _, data in first] == [
        ("item", None),
        ("item", "claimed"),
        ("job", None),
    ]
    assert more == [[("stage", None, {"id": 1, "stage": stage})] for stage in ("decode", "infer")]
    assert [(name, data["id"], data["stage"]) for name, _, data in last] == [("item", 2, "claimed")]


def test_at_most_so_many_bursts_a_second(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a burst there is a pause, whatever happens: only what has gone by since is told."""
    put(store, 1)
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", pause)

    async def work(hub: Hub) -> None:
        lines = follow(store, hub)
        await burst(lines)
        for _ in range(3):
            hub.changed("j")
            await anext(lines)

    on_loop(work)
    assert pauses == [events.GAP] * 3


def test_silence_is_told_and_costs_a_look_in_a_long_while(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing changes there is a comment after a time, and no look at the ledger before."""
    monkeypatch.setattr(events, "GAP", 0)
    monkeypatch.setattr(events, "ALIVE", 0.1)
    put(store, 1)
    looks = []
    changes = Store.changes

    def looked(self: Store, job: str, after: int = 0, limit: int = 500) -> list[Item]:
        looks.append(job)
        return changes(self, job, after, limit)

    monkeypatch.setattr(Store, "changes", looked)

    async def work(hub: Hub) -> list[bytes]:
        lines = follow(store, hub)
        await burst(lines)
        looks.clear()
        hub.changed("another")
        return [await anext(lines) for _ in range(3)]

    assert on_loop(work) == [b": alive\n\n"] * 3
    assert looks == ["j"] * 3


def test_the_end_is_not_told_before_the_last_item(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it settles just after the items were read."""
    put(store, 1)
    claimed = store.claim("j")
    assert claimed is not None
    changes = Store.changes

    async def work(hub: Hub) -> list[Told]:
        def late(self: Store, job: str, after: int = 0, limit: int = 500) -> list[Item]:
            found = changes(self, job, after, limit)
            if limit == events.PAGE and store.complete(claimed[1], {}):
                hub.changed("j")
            return found

        lines = follow(store, hub)
        await anext(lines)
        monkeypatch.setattr(Store, "changes", late)
        return [each async for text in lines for each in parse(text)]

    told = on_loop(work)
    assert items(told) == true(store) == {1: "done"}
    assert [name for name, _, _ in told] == ["item", "job", "item", "job"]


@pytest.mark.parametrize("last", [-(10**30), -5, 0, 8, 10**30])
def test_a_number_that_was_never_told_is_harmless(store: Store, last: int) -> None:
    """Before the ledger's range or beyond it: everything is told."""
    put(store, 7)
    told = on_loop(lambda hub: burst(follow(store, hub, last)))
    assert items(told) == true(store)


def test_who_knows_all_is_told_how_the_job_stands(store: Store) -> None:
    """And nothing else; of a settled job that is the end."""
    put(store, 3)
    store.cancel("j")
    last = store.changes("j")[-1].changed

    async def work(hub: Hub) -> list[bytes]:
        return [text async for text in follow(store, hub, last)]

    retry, summary = on_loop(work)
    assert retry == b"retry: 2000\n\n"
    [(name, id, data)] = parse(summary)
    assert (name, id, data["state"]) == ("job", None, "3 of 3")


def test_many_items_come_in_pieces(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """None is lost or told twice at a border."""
    monkeypatch.setattr(events, "PAGE", 4)
    put(store, 8)
    told = on_loop(lambda hub: burst(follow(store, hub)))
    assert [id for name, id, _ in told if name == "item"] == [
        item.changed for item in store.changes("j")
    ]
    assert told[-1][0] == "job"


@pytest.mark.parametrize("thread", [False, True])
def test_a_stream_ends_with_the_hub(store: Store, thread: bool) -> None:
    """At once, also when the end comes from another thread; and one that begins then ends."""
    put(store, 1)

    async def work(hub: Hub) -> list[list[bytes]]:
        lines = follow(store, hub)
        await burst(lines)
        close = threading.Timer(0, hub.close) if thread else None
        close.start() if close else hub.close()
        rest = [text async for text in lines]
        return [rest, [text async for text in follow(store, hub)]]

    assert on_loop(work) == [[], [b"retry: 2000\n\n"]]


def test_a_job_that_is_removed_ends_its_stream(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an error; nobody is listening then."""
    monkeypatch.setattr(events, "GAP", 0)
    put(store, 1)
    put(store, 1, "k")

    async def work(hub: Hub) -> tuple[list[bytes], int]:
        lines = follow(store, hub)
        await burst(lines)
        assert len(hub._ears) == 1
        store.cancel("j")
        store.remove("j")
        hub.changed("j")
        return [text async for text in lines], len(hub._ears)

    assert on_loop(work) == ([], 0)


def test_a_client_that_goes_leaves_nothing(store: Store) -> None:
    """Also in the middle of a wait."""
    put(store, 1)

    async def work(hub: Hub) -> int:
        lines = follow(store, hub)
        await burst(lines)
        waiting = asyncio.ensure_future(anext(lines))
        await asyncio.sleep(0)
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting
        return len(hub._ears)

    assert on_loop(work) == 0


def test_many_changes_wake_once() -> None:
    """A thousand between two waits, from threads, are heard as one; none is heard late."""

    async def work(hub: Hub) -> None:
        def shout() -> None:
            for _ in range(250):
                hub.changed("j")

        with hub.listen("j") as ears, hub.listen("k") as others:
            await asyncio.gather(*(asyncio.to_thread(shout) for _ in range(4)))
            await ears.wait(20)
            for silent in (ears, others):
                waiting = asyncio.ensure_future(silent.wait(20))
                await asyncio.sleep(0.01)
                assert not waiting.done()
                waiting.cancel()

    on_loop(work)


def test_nobody_hears_before_the_loop_or_after_it() -> None:
    """And nobody who speaks is harmed."""
    hub = Hub()
    item = Item(1, "j", "", "", "", State.DONE, 1, None, None, None, None)

    def speak() -> None:
        hub.changed("j")
        hub.staged(item, "decode")
        hub.settled(Event(item, Counts(total=2, done=1), 1.0))

    async def open_it() -> None:
        hub.open()

    speak()
    asyncio.run(open_it())
    speak()
    hub.close()
    assert (hub.rate("j"), hub.eta("j", 3), hub.stages("j")) == (None, None, {})


class Going:
    """Items that settle, on a clock of its own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.hub = Hub(lambda: self.now)

    def item(self, id: int, state: State, job: str = "j") -> Item:
        return Item(id, job, "", "", "", state, 1, None, None, None, None)

    async def stage(self, id: int, job: str = "j") -> None:
        self.hub.staged(self.item(id, State.RUNNING, job), "infer")
        await asyncio.sleep(0)

    async def settle(self, id: int, state: State = State.DONE, left: int = 1000) -> None:
        counts = Counts(total=left + 1, queued=left, done=1)
        self.hub.settled(Event(self.item(id, state), counts, 1.0))
        await asyncio.sleep(0)


@given(st.floats(0.01, 500), st.sampled_from([1, 8, 64]), st.integers(1, 120))
def test_the_rate_is_what_it_was(rate: float, batch: int, batches: int) -> None:
    """Photos that settle in batches, so many a second: from the first batch on the rate is theirs,
    not that of the moment in which a batch settles."""
    track = Track(0.0)
    for number in range(1, batches + 1):
        for _ in range(batch):
            track.settled(number * batch / rate)
    now = batches * batch / rate
    assert track.rate(now) == pytest.approx(rate, rel=0.01)


def test_an_old_rate_is_none() -> None:
    """After a silence longer than all that is known, nothing can be said; nor before the first."""

    async def work() -> None:
        going = Going()
        going.hub.open()
        await going.stage(1)
        assert going.hub.rate("j") is None
        going.now = 2.0
        await going.settle(1)
        assert (going.hub.rate("j"), going.hub.eta("j", 3)) == (0.5, 6.0)
        going.now = 2.0 + FRESH
        assert going.hub.rate("j") == 0.5
        going.now += 0.1
        assert going.hub.rate("j") is None

    asyncio.run(work())


def test_what_is_over_is_forgotten() -> None:
    """An item's stage when it settles or is put back, which is no progress; a job when all of it is
    settled or it is begun anew; and of many jobs the oldest."""

    async def work() -> None:
        going = Going()
        hub = going.hub
        hub.open()
        for id in (1, 2, 3):
            await going.stage(id)
        going.now = 1.0
        await going.settle(1)
        await going.settle(2, State.QUEUED)
        assert hub.stages("j") == {3: "infer"}
        assert hub.rate("j") == 1.0
        await going.settle(3, left=0)
        assert (hub.stages("j"), hub.rate("j")) == ({}, None)
        await going.stage(1)
        hub.changed("j")
        await asyncio.sleep(0)
        assert hub.stages("j") == {}
        for job in range(KEPT + 5):
            await going.stage(1, str(job))
        assert [bool(hub.stages(str(job))) for job in range(8)] == [False] * 5 + [True] * 3

    asyncio.run(work())
