"""The room's heart: the ledger, the runner that works it off, the studio once it is there."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import Request

from portrayer.errors import (
    Canceled,
    CapacityError,
    EngineClosed,
    InputError,
    OutputError,
    PortrayerError,
    QueueFull,
)
from portrayer.jobs.backend import Files, LocalBackend
from portrayer.jobs.child import Child
from portrayer.jobs.record import JSON, Item, Job
from portrayer.jobs.runner import Event, Runner
from portrayer.jobs.store import Store
from portrayer.models.catalog import CATALOG
from portrayer.server import intake
from portrayer.server.events import Hub
from portrayer.server.intake import Arrival
from portrayer.server.logs import ITEM, JOB
from portrayer.server.metrics import Metrics
from portrayer.server.shelf import Shelf, expired
from portrayer.server.views import JobView, job_view
from portrayer.server.wishes import Wish, wish
from portrayer.settings import Settings

if TYPE_CHECKING:
    from portrayer.pipeline import Result
    from portrayer.studio import Studio

log = logging.getLogger(__name__)

INTERACTIVE = 1  # the priority of who waits for one photo
GRACE = 4.0  # seconds for what is on the device when the server ends
TIDY = 60.0  # seconds between two looks at what is kept too long


class Sparing(LocalBackend):
    """A backend that leaves the disk's last bytes to the ledger."""

    def __init__(self, shelf: Shelf, *args: Any) -> None:
        super().__init__(*args)
        self._shelf = shelf

    def run(self, job: Job, item: Item, watch: Callable[[str], None]) -> Mapping[str, JSON]:
        try:
            self._shelf.check()
        except CapacityError as full:
            raise OutputError(str(full)) from full
        return super().run(job, item, watch)


class Service:
    """What the routes speak to. It is for one event loop; what blocks runs in threads.

    ``ready``: set once the models have answered. ``broken``: why they never will. ``stuck``: what
    was at work did not end in time, so that the process must; the next one queues it again.
    """

    def __init__(self, settings: Settings, store: Store, shelf: Shelf) -> None:
        self.settings, self.store, self.shelf = settings, store, shelf
        self.hub = Hub()
        self.metrics = Metrics(
            stats=lambda: self.studio.pipeline.engine.stats() if self.studio else None,
            standing=store.standing,
            host=lambda: self.studio.pipeline.host if self.studio else None,
            ready=lambda: self.ready.is_set(),
            job=store.job,
        )
        self.studio: Studio | None = None
        self.ready = asyncio.Event()
        self.broken: PortrayerError | None = None
        self.stopping = self.stuck = False
        self.on_broken: Callable[[], None] = lambda: None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._runner: Runner | None = None
        self.waiting = 0
        self._lanes = CapacityLimiter(1)

    # --- life -------------------------------------------------------------------------------------

    @asynccontextmanager
    async def living(self) -> AsyncIterator[None]:
        """Load the models, work the ledger off, tidy; until left, which takes a stage's time."""
        self._loop = asyncio.get_running_loop()
        self.hub.open()
        await asyncio.to_thread(self._sweep)
        tasks = [asyncio.create_task(each) for each in (self._work(), self._tidy())]
        try:
            yield
        finally:
            self.stop()
            tasks[1].cancel()
            if self.studio is not None:
                tasks.append(asyncio.create_task(run_sync(self.studio.close)))
            _, late = await asyncio.wait(tasks, timeout=GRACE)
            self.stuck = bool(late)

    def stop(self) -> None:
        """Begin nothing more; what runs ends with its stage and is queued again."""
        self.stopping = True
        self.hub.close()
        if self._runner is not None:
            self._runner.stop(now=True)

    def hush(self) -> None:
        """:meth:`stop`, from a signal."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.stop)

    async def _work(self) -> None:
        alone = CapacityLimiter(1)
        try:
            studio = self.studio = await run_sync(_opened, self.settings, limiter=alone)
            await run_sync(self._warm_up, studio, limiter=alone)
        except Exception as error:
            if not isinstance(error, PortrayerError):
                log.exception("the models could not be loaded")
                error = PortrayerError(f"the models could not be loaded: {error}")
            self.broken = error
            return self.on_broken()
        self._lanes = CapacityLimiter(studio.pipeline.workers)
        self.ready.set()
        with Child(partial(_pipeline, self.settings)) as apart:
            backend = Sparing(self.shelf, studio.pipeline, apart)
            runner = Runner(self.store, backend, on_event=self._settled, on_stage=self._staged)
            self._runner = runner
            if not self.stopping:
                await run_sync(runner.serve, limiter=alone)

    def _warm_up(self, studio: Studio) -> None:
        for spec in CATALOG.values():
            if spec.weights.shipped:
                studio.pipeline.engine.infer(
                    spec.name, np.zeros((1, spec.side, spec.side, 3), np.uint8)
                )

    def _staged(self, item: Item, stage: str) -> None:
        JOB.set(item.job)  # what this thread logs from here on is about it
        ITEM.set(str(item.id))
        self.hub.staged(item, stage)

    def _settled(self, event: Event) -> None:
        item, error = event.item, event.item.error
        why = {"code": error.code, "reason": error.reason} if error else {}
        log.info("photo %s", item.state, extra={"seconds": round(event.seconds, 4), **why})
        self.metrics.settled(event)
        self.hub.settled(event)

    def _sweep(self) -> None:
        self.shelf.sweep({job.id for job in self.store.jobs()})

    async def _tidy(self) -> None:
        """Remove finished jobs that are too old or too many, the oldest first."""
        server = self.settings.server
        while True:
            with suppress(PortrayerError, OSError):
                finished = await asyncio.to_thread(self._finished)
                keep = server.keep_days * 86_400
                for job in expired(finished, time.time(), keep, server.keep):
                    if not self.shelf.held(job):
                        await self.remove(job)
            await asyncio.sleep(TIDY)

    def _finished(self) -> list[tuple[Job, float, int]]:
        return [(job, end, self.shelf.size(job.id)) for job, end in self.store.finished()]

    # --- requests ---------------------------------------------------------------------------------

    def received(
        self, request: Request, files: int, long_fields: Mapping[str, int] | None = None
    ) -> AbstractAsyncContextManager[Arrival]:
        """See :func:`intake.received`."""
        return intake.received(request, self.shelf, self.settings.server, files, long_fields)

    async def room(self, more: int = 1) -> None:
        """:class:`QueueFull` where ``more`` photos would be more than may wait."""
        standing = await asyncio.to_thread(self.store.standing)
        waiting, most = sum(standing.queued.values()), self.settings.server.max_queue
        if waiting + more > most:
            raise QueueFull(f"{waiting} photos wait, at most {most} may")

    async def asked(self, arrival: Arrival, name: str = "") -> Wish:
        """What a form asks for; ``name``: the task, where the address says it."""
        return await asyncio.to_thread(wish, arrival.form, self.settings, name)

    async def submit(self, arrival: Arrival, asked: Wish, key: str | None) -> Job:
        """The request as a job; see :func:`intake.put`."""
        await self.room(len(asked.photos))
        job = await asyncio.to_thread(intake.put, self.store, self.shelf, arrival, asked, key)
        if self._runner is not None:
            self._runner.wake()
        return job

    def vacancy(self) -> None:
        """:class:`QueueFull` where as many wait for one photo as may."""
        most = self.settings.server.max_waiting
        if self.waiting >= most:
            raise QueueFull(f"{self.waiting} requests wait, at most {most} may")

    async def photo(self, asked: Wish, seconds: float, request: Request) -> tuple[Result, bytes]:
        """One photo now, before the photos of jobs; given up when the client has gone."""
        gone = False
        self.vacancy()
        [photo] = asked.photos
        sources = [*(file.path for file in asked.beside.values()), photo.path]
        end = time.monotonic() + seconds

        def watch(stage: str) -> None:
            if gone:
                raise Canceled("the client has gone")

        def work() -> tuple[Result, bytes]:
            assert self.studio is not None
            left = max(0.0, end - time.monotonic())
            with self.studio.pipeline.process(
                asked.task.name,
                sources,
                asked.chosen,
                priority=INTERACTIVE,
                seconds=left,
                watch=watch,
            ) as result:
                return result, result.encode()

        self.waiting += 1
        listener = asyncio.create_task(_departure(request))
        try:
            await self._ready(seconds)
            job = asyncio.create_task(run_sync(work, limiter=self._lanes))
            await asyncio.wait((job, listener), return_when=asyncio.FIRST_COMPLETED)
            gone = not job.done()
            result, blob = await job
        finally:
            self.waiting -= 1
            listener.cancel()
        self.metrics.photo(result.timings)
        return result, blob

    async def _ready(self, seconds: float) -> None:
        if self.broken is not None:
            raise self.broken
        if self.stopping:
            raise EngineClosed("the server is stopping")
        try:
            await asyncio.wait_for(self.ready.wait(), seconds)
        except TimeoutError as error:
            raise CapacityError("the models are still being loaded: try again") from error

    # --- jobs -------------------------------------------------------------------------------------

    async def view(self, job: str) -> JobView:
        """How a job stands."""
        return await asyncio.to_thread(self.seen, job)

    def seen(self, job: str | Job) -> JobView:
        """How a job stands; reads the ledger, in this thread."""
        found = self.store.job(job) if isinstance(job, str) else job
        counts = self.store.counts(found.id)
        left = counts.total - counts.settled
        rate = self.hub.rate(found.id) if left else None
        return job_view(found, counts, rate, self.hub.eta(found.id, left) if left else None)

    async def cancel(self, job: str) -> int:
        """Nothing more of it is begun, what runs ends with its stage. How many photos."""
        cancel = self.store.cancel if self._runner is None else self._runner.cancel
        found = await asyncio.to_thread(self.store.job, job)
        moved = await asyncio.to_thread(cancel, job)
        self.metrics.canceled(found, moved)
        self.hub.changed(job)
        return moved

    async def retry(self, job: str) -> int:
        """What failed or was canceled is queued again. How many photos."""
        counts = await asyncio.to_thread(self.store.counts, job)
        await self.room(counts.failed + counts.canceled)
        moved = await asyncio.to_thread(self.store.retry, job)
        if self._runner is not None:
            self._runner.wake()
        self.hub.changed(job)
        return moved

    async def remove(self, job: str) -> bool:
        """The job with all its files; False where something of it is still to be done."""
        if self.shelf.held(job):
            raise InputError("somebody is downloading from it: try again")
        gone = await asyncio.to_thread(self.store.remove, job)
        if gone:
            await asyncio.to_thread(self.shelf.drop, job)
            self.hub.changed(job)
        return gone


async def _departure(request: Request) -> None:
    """Until the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _opened(settings: Settings) -> Studio:
    """The port is open long before torch is imported."""
    from portrayer.studio import Studio

    return Studio(settings)


def _pipeline(settings: Settings) -> Files:
    """One like the studio's, in a process of its own."""
    return _opened(settings).pipeline
