"""Progress as it happens: who listens to a job is woken by its changes and told what they are."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from math import inf
from time import monotonic

from pydantic import BaseModel

from portrayer.errors import OutputError, UnknownJob
from portrayer.jobs.record import Item, Job, State
from portrayer.jobs.runner import Event
from portrayer.jobs.store import Store

MARKS = 50  # points in time that a job's rate is found from
SPACING = 0.5  # seconds; a batch that settles at once is one of them
FRESH = 30.0  # seconds of silence after which a rate may be out of date
KEPT = 1000  # jobs that are followed at once
ALIVE = 15.0  # seconds of silence: less than any proxy's patience
GAP = 0.2  # seconds between two bursts at least
PAGE = 200  # items in one piece
LARGEST = 2**63 - 1  # number that the ledger can look for


class Track:
    """A job under way: the stage of each running item, and how fast items settle."""

    def __init__(self, now: float) -> None:
        self.stages: dict[int, str] = {}
        # When a mark was begun, when its last item settled, how many had settled by then.
        self._marks = deque([(-inf, now, 0)], maxlen=MARKS)

    def settled(self, now: float) -> None:
        begun, _, count = self._marks[-1]
        if now - begun < SPACING:
            self._marks[-1] = (begun, now, count + 1)
        else:
            self._marks.append((now, now, count + 1))

    def rate(self, now: float) -> float | None:
        """Items a second over the marks; None while there are too few, or after a long silence."""
        (_, begun, few), (_, ended, many) = self._marks[0], self._marks[-1]
        span = ended - begun
        stale = now - ended > max(FRESH, span)
        return None if stale or span <= 0 else (many - few) / span


class Ears:
    """One listener's."""

    def __init__(self) -> None:
        self._woken = asyncio.Event()

    def wake(self) -> None:
        self._woken.set()

    async def wait(self, seconds: float) -> None:
        """Until something has changed since the wait before, ``seconds`` at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        self._woken.clear()


class Hub:
    """Brings what the runner's threads see to those who listen on the event loop.

    What a thread tells is done on the loop, in the order it was told; so there is no lock. Before
    :meth:`open` and after the loop has ended nobody listens and nothing is done. What it remembers
    is for people to look at; the ledger alone knows how a job stands.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.closed = False
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ears: defaultdict[str, set[Ears]] = defaultdict(set)
        self._tracks: dict[str, Track] = {}

    def open(self) -> None:
        """Listen from now on; called on the loop."""
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """Every stream ends, for clients to come back later. From any thread or signal."""
        self.closed = True
        self._tell(self._wake_all)

    # --- from any thread --------------------------------------------------------------------------

    def changed(self, job: str) -> None:
        """The job was put, canceled, retried or removed: how it goes begins anew."""
        self._tell(self._changed, job)

    def staged(self, item: Item, stage: str) -> None:
        """A running item enters a stage: the runner's ``on_stage``."""
        self._tell(self._staged, item.job, item.id, stage)

    def settled(self, event: Event) -> None:
        """An item was settled or put back: the runner's ``on_event``."""
        self._tell(self._settled, event)

    def rate(self, job: str) -> float | None:
        """Items that settle in a second, lately; None where that cannot be said."""
        track = self._tracks.get(job)
        return track.rate(self._clock()) if track else None

    def eta(self, job: str, left: int) -> float | None:
        """Seconds until ``left`` more items have settled, at this rate."""
        rate = self.rate(job)
        return left / rate if rate else None

    def stages(self, job: str) -> Mapping[int, str]:
        """The stage of each running item, as far as it is known."""
        track = self._tracks.get(job)
        return dict(track.stages) if track else {}

    # --- on the loop ------------------------------------------------------------------------------

    @contextmanager
    def listen(self, job: str) -> Iterator[Ears]:
        """Ears that hear every change of the job from here on; many at once are heard as one."""
        ears = Ears()
        self._ears[job].add(ears)
        try:
            yield ears
        finally:
            self._ears[job].discard(ears)
            if not self._ears[job]:
                del self._ears[job]

    def _tell(self, what: Callable[..., None], *told: object) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # all that a closed loop says
                self._loop.call_soon_threadsafe(what, *told)

    def _wake(self, job: str) -> None:
        for ears in self._ears.get(job, ()):
            ears.wake()

    def _wake_all(self) -> None:
        for job in self._ears:
            self._wake(job)

    def _changed(self, job: str) -> None:
        self._tracks.pop(job, None)
        self._wake(job)

    def _staged(self, job: str, item: int, stage: str) -> None:
        self._track(job).stages[item] = stage
        self._wake(job)

    def _settled(self, event: Event) -> None:
        job = event.item.job
        if event.counts.settled == event.counts.total:
            self._tracks.pop(job, None)
        elif job in self._tracks:
            self._tracks[job].stages.pop(event.item.id, None)
            if event.item.state is not State.QUEUED:
                self._tracks[job].settled(self._clock())
        self._wake(job)

    def _track(self, job: str) -> Track:
        if job not in self._tracks:
            if len(self._tracks) >= KEPT:
                del self._tracks[next(iter(self._tracks))]  # the oldest
            self._tracks[job] = Track(self._clock())
        return self._tracks[job]


async def stream(
    store: Store,
    hub: Hub,
    job: str,
    last: int,
    show_item: Callable[[Item, str | None], BaseModel],
    show_job: Callable[[Job], BaseModel],
) -> AsyncIterator[bytes]:
    """A job's Server-Sent Events, from what changed since ``last`` until it is settled.

    ``item``: one that changed, as it is now; its event id is :attr:`Item.changed`, which a client
    gives back as ``last`` and so misses nothing. ``stage``: the next stage of an item. ``job``: how
    it stands after each burst; the last one says how it ended. A ``last`` that no event can have
    had counts as 0. The stream also ends with the hub, and where job or ledger cannot be read.

    ``show_item`` is given the item's stage, as far as it is known, and is called on the loop;
    ``show_job`` is called in a thread, as it may read the ledger.
    """
    told: dict[int, str | None] = {}
    before = b""

    def look() -> tuple[bool, Sequence[Item], bytes]:
        counts = store.counts(job)  # first: if all are settled, the items below are as they stay
        items = store.changes(job, last, PAGE)
        summary = _event("job", show_job(store.job(job)).model_dump_json())
        return counts.settled == counts.total, items, summary

    yield b"retry: 2000\n\n"
    with suppress(UnknownJob, OutputError), hub.listen(job) as ears:
        last = await asyncio.to_thread(_known, store, job, last)
        while not hub.closed:
            settled, items, summary = await asyncio.to_thread(look)
            stages = hub.stages(job)  # only now: they are to be no older than the items
            burst = [
                _event("item", show_item(item, stages.get(item.id)).model_dump_json(), item.changed)
                for item in items
            ]
            told |= {item.id: stages.get(item.id) for item in items}
            if items:
                last = items[-1].changed
            if len(items) == PAGE:
                yield b"".join(burst)
                continue
            burst += [
                _event("stage", json.dumps({"id": id, "stage": stage}))
                for id, stage in stages.items()
                if told.get(id) != stage
            ]
            told = {**stages}
            if settled or summary != before:
                burst.append(summary)
                before = summary
            yield b"".join(burst) or b": alive\n\n"
            if settled:
                return
            await asyncio.sleep(GAP)
            await ears.wait(ALIVE)


def _known(store: Store, job: str, last: int) -> int:
    """``last``, or 0 if it is the number of no change yet: the newest one is still its item's."""
    last = min(max(last, 0), LARGEST)
    return last if store.changes(job, last - 1, 1) else 0


def _event(kind: str, data: str, id: int | None = None) -> bytes:
    number = "" if id is None else f"id: {id}\n"
    return f"{number}event: {kind}\ndata: {data}\n\n".encode()
