"""The room's heart: the ledger, the runner that works it off, the studio once it is there."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import Request

from portrayer.engine.memory import Budget
from portrayer.errors import (
    CapacityError,
    EngineClosed,
    PortrayerError,
    QueueFull,
    UnknownJob,
)
from portrayer.jobs.backend import Backend, Files, LocalBackend
from portrayer.jobs.child import Child
from portrayer.jobs.record import Item, Job
from portrayer.jobs.runner import Event, Runner
from portrayer.jobs.store import Store
from portrayer.models.catalog import CATALOG
from portrayer.server import intake, prompt
from portrayer.server.backend import ShelfBackend
from portrayer.server.events import Hub
from portrayer.server.intake import Arrival
from portrayer.server.logs import ITEM, JOB
from portrayer.server.metrics import Metrics
from portrayer.server.shelf import Shelf, expired
from portrayer.server.upload import finished
from portrayer.server.views import JobView, job_view
from portrayer.server.wishes import Wish, wish
from portrayer.settings import Settings

if TYPE_CHECKING:
    from portrayer.engine.answer import Stats
    from portrayer.pipeline import Pipeline, Result
    from portrayer.studio import Studio

log = logging.getLogger(__name__)

GRACE = 4.0  # seconds for what is on the device when the server ends
TIDY = 60.0  # seconds between two looks at what is kept too long


class Service:
    """What the routes speak to. It is for one event loop; what blocks runs in threads.

    ``ready``: the models have answered. ``broken``: why nothing will be done any more. ``stuck``:
    what was at work did not end in time, so that the process must; the next one queues it again.
    """

    def __init__(self, settings: Settings, store: Store, shelf: Shelf) -> None:
        self.settings, self.store, self.shelf = settings, store, shelf
        self.hub = Hub()
        self.metrics = Metrics(
            stats=lambda: self.studio.pipeline.engine.stats() if self.studio else None,
            standing=store.standing,
            host=lambda: self.studio.pipeline.host if self.studio else None,
            ready=lambda: self.ready,
            job=store.job,
        )
        self.studio: Studio | None = None
        self.broken: PortrayerError | None = None
        self.ready = self.stopping = self.stuck = False
        self.on_broken: Callable[[], None] = lambda: None
        self._known = asyncio.Event()  # whether it is ready, or never will be
        self._loop: asyncio.AbstractEventLoop | None = None
        self._runner: Runner | None = None
        self.cluster = ""  # where the work of jobs is done, if not here
        self.crew: Callable[[], Stats] | None = None  # what its engines have done
        self._removed: set[str] = set()  # jobs that may still have files
        self._under_way = Counter[bool]()  # requests with a body, those for many photos apart
        self._turn = asyncio.Lock()  # of who adds to the queue
        self._lanes = CapacityLimiter(1)

    # --- life -------------------------------------------------------------------------------------

    @asynccontextmanager
    async def living(self) -> AsyncIterator[None]:
        """Load the models, work the ledger off, tidy; until left, which takes a stage's time."""
        self._loop = asyncio.get_running_loop()
        self.hub.open()
        await asyncio.to_thread(self._sweep)
        tidy, work = asyncio.create_task(self._tidy()), asyncio.create_task(self._work())
        try:
            yield
        finally:
            self.stop()
            tidy.cancel()
            _, late = await asyncio.wait(
                (work, asyncio.create_task(self._close(work))), timeout=GRACE
            )
            self.stuck = bool(late)

    def stop(self) -> None:
        """Begin nothing more; what runs ends with its stage and is queued again."""
        self.stopping = True
        self._known.set()
        self.hub.close()
        if self._runner is not None:
            self._runner.stop(now=True)

    def hush(self) -> None:
        """:meth:`stop`, from a signal."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.stop)

    async def _work(self) -> None:
        """Load the models, then work the ledger off, until stopped. Nothing else ends it well."""
        alone = CapacityLimiter(1)
        try:
            self.studio = await run_sync(_opened, self.settings, limiter=alone)
            if self.stopping:
                return
            await run_sync(self._warm_up, self.studio, limiter=alone)
            self._lanes = CapacityLimiter(self.studio.pipeline.workers)
            self.ready = True
            self._known.set()
            await run_sync(self._serve, self.studio, limiter=alone)
        except Exception as error:
            if not isinstance(error, PortrayerError):
                log.exception("internal error: nothing more is worked on")
                error = PortrayerError(f"nothing more can be worked on: {error}")
            if self.stopping:
                return log.info("stopped: %s", error)
            self.broken = error
            self._known.set()
            self.on_broken()

    async def _close(self, work: asyncio.Task[None]) -> None:
        """The studio refuses what waits for it; one that is only being loaded, once it is there."""
        if self.studio is None:
            await asyncio.wait([work])
        if self.studio is not None:
            await run_sync(self.studio.close)

    def _serve(self, studio: Studio) -> None:
        with self._employed(studio) as employed:
            backend = ShelfBackend(self.shelf, employed)
            runner = Runner(self.store, backend, on_event=self._settled, on_stage=self._staged)
            self._runner = runner
            if not self.stopping:
                runner.serve()

    @contextmanager
    def _employed(self, studio: Studio) -> Iterator[Backend]:
        """Who does the work of jobs. A photo at once is done here in any case."""
        if self.cluster:
            from portrayer.jobs.cluster import RayBackend
            from portrayer.jobs.grid import listen

            with RayBackend(self.cluster, self.settings) as backend:
                self.crew = backend.stats
                if self._loop is not None:
                    self._loop.call_soon_threadsafe(listen)
                yield backend
            return
        with Child(partial(_pipeline, self.settings), studio.pipeline.host) as apart:
            yield LocalBackend(studio.pipeline, apart)

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
        while True:
            try:
                await self._clear()
                for job in await asyncio.to_thread(self._expired):
                    if not self.shelf.held(job):
                        with suppress(UnknownJob):  # somebody was faster
                            await self.remove(job)
            except Exception:
                log.exception("what was kept too long could not be removed")
            await asyncio.sleep(TIDY)

    def _expired(self) -> Collection[str]:
        rows, server = self.store.finished(), self.settings.server
        sizes = self.shelf.sizes(job.id for job, _ in rows)
        table = [(job, ended, sizes[job.id]) for job, ended in rows]
        return expired(table, time.time(), server.keep_days * 86_400, server.keep)

    async def _clear(self) -> None:
        """The files of removed jobs go, as soon as nobody downloads them."""
        for job in [each for each in self._removed if not self.shelf.held(each)]:
            await asyncio.to_thread(self.shelf.drop, job)
            self._removed.discard(job)

    # --- requests ---------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Requests for one photo that are received, or wait for it."""
        return self._under_way[False]

    @asynccontextmanager
    async def received(
        self,
        request: Request,
        files: int,
        long_fields: Mapping[str, int] | None = None,
        *,
        many: bool = False,
    ) -> AsyncIterator[Arrival]:
        """See :func:`intake.received`; :class:`QueueFull` where as many are under way as may be.

        A request is under way until this is left. Those for ``many`` photos are counted apart.
        """
        most = self.settings.server.max_waiting
        if self._under_way[many] >= most:
            raise QueueFull(f"{most} requests are under way, more may not be")
        self._under_way[many] += 1
        try:
            server = self.settings.server
            async with intake.received(request, self.shelf, server, files, long_fields) as arrival:
                yield arrival
        finally:
            self._under_way[many] -= 1

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
        async with self._turn:  # or several would find the same room
            await self.room(len(asked.photos))
            job = await finished(intake.put, self.store, self.shelf, arrival, asked, key)
        if self._runner is not None:
            self._runner.wake()
        return job

    async def photo(self, asked: Wish, seconds: float, request: Request) -> tuple[Result, bytes]:
        """One photo now; see :func:`prompt.made`."""
        result, blob = await prompt.made(asked, seconds, request, partial(self._ready, seconds))
        self.metrics.photo(result.timings)
        return result, blob

    async def _ready(self, seconds: float) -> tuple[Pipeline, CapacityLimiter]:
        """The pipeline, once its models have answered, and its lanes."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._known.wait(), seconds)
        if self.broken is not None:
            raise self.broken
        if self.stopping:
            raise EngineClosed("the server is stopping")
        return self.pipeline(), self._lanes

    def pipeline(self) -> Pipeline:
        """The pipeline; :class:`CapacityError` while its models are being loaded."""
        if self.studio is None or not self.ready:
            raise CapacityError("the models are still being loaded: try again")
        return self.studio.pipeline

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
        async with self._turn:
            counts = await asyncio.to_thread(self.store.counts, job)
            await self.room(counts.failed + counts.canceled)
            moved = await finished(self.store.retry, job)
        if self._runner is not None:
            self._runner.wake()
        self.hub.changed(job)
        return moved

    async def remove(self, job: str) -> bool:
        """The job, and its files as soon as nobody downloads them.

        False where something of it is still to be done.
        """
        gone = await asyncio.to_thread(self.store.remove, job)
        if gone:
            self._removed.add(job)
            self.hub.changed(job)
            await self._clear()
        return gone


def _opened(settings: Settings, host: Budget | None = None) -> Studio:
    """The port is open long before torch is imported."""
    from portrayer.studio import Studio

    return Studio(settings, host=host)


def _pipeline(settings: Settings, host: Budget) -> Files:
    """One like the studio's, in a process of its own."""
    return _opened(settings, host).pipeline
