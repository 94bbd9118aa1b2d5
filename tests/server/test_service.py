"""Laws of the room's heart: nothing is lost, nothing ends in silence, nobody waits for nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from fastapi import Request
from starlette.requests import ClientDisconnect

from portrayer.errors import EngineClosed, KeyReused, ModelError, PortrayerError, QueueFull
from portrayer.image import codec
from portrayer.jobs.record import Failure, Job
from portrayer.jobs.store import Store
from portrayer.server.intake import Arrival
from portrayer.server.service import Service
from portrayer.server.shelf import Shelf
from portrayer.settings import Server, Settings
from tests.portraits import astronaut

BLOB = codec.encode(astronaut()[::2, ::2].copy(), "jpeg")
PATIENCE = 60.0  # seconds for whatever must come in the end

Make = Callable[..., Service]
Receive = Callable[[], Coroutine[Any, Any, dict[str, Any]]]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """A service over one folder, with settings of the server's."""
    shelf = Shelf(tmp_path / "at", 0)
    with Store(shelf.ledger) as store:

        def made(device: str = "cpu", **own: Any) -> Service:
            return Service(Settings(device=device, server=Server(**own)), store, shelf)

        yield made


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, PATIENCE))


def body(*parts: bytes, gone: asyncio.Event | None = None) -> Receive:
    """Sends these pieces of a body, then waits, and goes."""
    left = list(parts)

    async def receive() -> dict[str, Any]:
        if left:
            return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}
        if gone is not None:
            await gone.wait()
        return {"type": "http.disconnect"}

    return receive


def request(receive: Receive | None = None) -> Request:
    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", b"image/jpeg")]}
    return Request(scope, receive or body(BLOB, gone=asyncio.Event()))


async def put(service: Service, task: str = "matte", key: str | None = None) -> Job:
    """A request for one photo, as a job."""
    async with service.received(request(), 1, many=True) as arrival:
        return await service.submit(arrival, await service.asked(arrival, task), key)


def arrived(service: Service) -> AbstractAsyncContextManager[Arrival]:
    """A request for one photo, received."""
    return service.received(request(), 1)


def finish(service: Service) -> None:
    """Everything queued fails, as it does for a wrong file."""
    while claimed := service.store.claim():
        assert service.store.fail(claimed[1], Failure("decode", "no photo"))


def lying(service: Service) -> list[str]:
    """What lies in the folder, but for the ledger."""
    root = service.shelf.root
    found = [path for path in root.rglob("*") if path.is_file() and path.parent != root]
    return [str(path.relative_to(root)) for path in found]


def test_many_at_once_find_no_more_room_than_there_is(make: Make) -> None:
    """However they meet, no more photos wait than may; who is refused leaves nothing."""
    service = make(max_queue=3)

    async def work() -> None:
        asked = [put(service) for _ in range(10)]
        made = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(each, Job) for each in made) == 3
        assert sum(isinstance(each, QueueFull) for each in made) == 7
        assert len(lying(service)) == 3
        finish(service)
        await put(service)
        [done, *_] = [each for each in made if isinstance(each, Job)]
        assert await service.retry(done.id) == 1
        await put(service)
        with pytest.raises(QueueFull):
            await service.retry(next(e.id for e in made if isinstance(e, Job) and e != done))

    run(work())


def test_requests_under_way_are_counted_until_they_are_left(make: Make) -> None:
    """While they are received as well; those of many photos have places of their own."""
    service = make(max_waiting=2)

    async def work() -> None:
        async with AsyncExitStack() as stack:
            for _ in range(2):
                await stack.enter_async_context(arrived(service))
            assert service.waiting == 2
            with pytest.raises(QueueFull):
                await stack.enter_async_context(arrived(service))
            await put(service)
        assert service.waiting == 0
        with pytest.raises(ClientDisconnect):
            async with service.received(request(body(BLOB, b"")), 1):
                raise ClientDisconnect
        assert service.waiting == 0

    run(work())


def test_a_key_is_for_one_task(make: Make) -> None:
    """The same form sent to another task is another request, and not answered with the first's."""
    service = make()

    async def work() -> None:
        first = await put(service, "matte", "k")
        assert (await put(service, "matte", "k")).id == first.id
        with pytest.raises(KeyReused):
            await put(service, "enhance", "k")
        assert lying(service) == [f"jobs/{first.id}/in/000000"]

    run(work())


def test_what_is_downloaded_stays_until_it_was_sent(make: Make) -> None:
    """A job that is purged is gone at once, its files when the last has let go of them."""
    service = make()

    async def work() -> None:
        job = await put(service)
        finish(service)
        with service.shelf.hold(job.id):
            assert await service.remove(job.id)
            assert service.store.jobs() == []
            assert lying(service)
        other = await put(service)
        finish(service)
        assert await service.remove(other.id)
        assert lying(service) == []

    run(work())


def test_a_job_with_something_to_do_is_not_removed(make: Make) -> None:
    """Nor anything of it."""
    service = make()

    async def work() -> None:
        job = await put(service)
        assert not await service.remove(job.id)
        assert lying(service) == [f"jobs/{job.id}/in/000000"]

    run(work())


def test_what_is_kept_too_long_goes_but_not_while_it_is_held(make: Make) -> None:
    """The oldest first, until the rest fits; nothing that is not finished."""
    service = make(keep=len(BLOB), keep_days=1)

    async def work() -> None:
        jobs = []
        for _ in range(4):
            jobs.append((await put(service)).id)
            finish(service)
        open = await put(service)
        with service.shelf.hold(jobs[1]):
            async with service.living():
                while len(service.store.jobs()) > 3:
                    await asyncio.sleep(0)
        assert {each.id for each in service.store.jobs()} == {jobs[1], jobs[3], open.id}

    run(work())


def test_a_stop_while_the_models_are_loaded_is_no_error(make: Make) -> None:
    """Whoever waits is told at once; nothing is broken."""
    service = make()

    async def work() -> None:
        async with service.living(), arrived(service) as arrival:
            asked = await service.asked(arrival, "matte")
            waiting = asyncio.create_task(service.photo(asked, PATIENCE, request(body())))
            stays = asyncio.Event()
            told = asyncio.create_task(service.photo(asked, PATIENCE, request(body(gone=stays))))
            with pytest.raises(ClientDisconnect):
                await waiting
            service.stop()
            with pytest.raises(EngineClosed):
                await told
        assert service.broken is None
        assert not service.stuck

    run(work())


def test_who_has_gone_is_not_worked_for(make: Make) -> None:
    """Its photo ends before its next stage, and nothing stays of it; the next one is done."""
    service = make()

    async def work() -> None:
        async with service.living():
            pipeline, _ = await service._ready(PATIENCE)
            forwards = [device.forwards for device in pipeline.engine.stats().devices]
            taken = pipeline.host.free
            assert pipeline.host.take(taken)

            async def leaves() -> dict[str, Any]:
                while not pipeline._precedence._waiting:  # for the memory
                    await asyncio.sleep(0)
                return {"type": "http.disconnect"}

            async with arrived(service) as arrival:
                asked = await service.asked(arrival, "matte")
                receive = asyncio.create_task(leaves())
                photo = asyncio.create_task(
                    service.photo(asked, PATIENCE, request(lambda: asyncio.shield(receive)))
                )
                await receive
                for _ in range(10):  # rounds of the loop until it has heard
                    await asyncio.sleep(0)
                assert not photo.done()
                pipeline.host.release(taken)
                with pytest.raises(ClientDisconnect):
                    await photo
                assert not pipeline.host.reserved
                assert [d.forwards for d in pipeline.engine.stats().devices] == forwards
                stays = request(body(gone=asyncio.Event()))
                result, blob = await service.photo(asked, PATIENCE, stays)
                assert codec.probe(blob).pixels == result.image.shape[0] * result.image.shape[1]
            assert lying(service) == []

    run(work())


def test_what_ends_the_work_ends_the_server(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """A runner that dies of a bug is not left to be missed: the server is told to end."""
    service = make()

    async def work() -> None:
        told = asyncio.Event()
        service.on_broken = told.set
        async with service.living():
            await service._ready(PATIENCE)
            service.store.close()
            while service._runner is None:
                await asyncio.sleep(0)
            service._runner.wake()
            await told.wait()
            assert service.broken is not None
            with pytest.raises(PortrayerError, match="nothing more can be worked on"):
                await service._ready(PATIENCE)

    with caplog.at_level(logging.ERROR):
        run(work())
    assert "the store is closed" in caplog.text


def test_a_device_that_is_not_there_breaks_it(make: Make) -> None:
    """Told to the server and to everybody who waits, at once."""
    service = make(device="cuda:99")

    async def work() -> None:
        told = asyncio.Event()
        service.on_broken = told.set
        async with service.living(), arrived(service) as arrival:
            asked = await service.asked(arrival, "matte")
            stays = asyncio.Event()
            with pytest.raises(ModelError) as caught:
                await service.photo(asked, PATIENCE, request(body(gone=stays)))
            await told.wait()
            assert caught.value is service.broken

    run(work())
