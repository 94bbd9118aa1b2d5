"""The app over a folder of its own, without a process: what it tells of that folder."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import httpx
import pytest

from portrayer.errors import OutputError
from portrayer.server.app import opened
from portrayer.settings import Server, Settings


def settings(folder: Path) -> Settings:
    return Settings(device="cpu", server=Server(data=folder))


@pytest.mark.skipif(sys.platform == "win32", reason="permissions as on POSIX")
def test_the_folder_is_its_owners_alone(tmp_path: Path) -> None:
    """Photos of people are not for everybody on the machine."""
    with opened(settings(tmp_path / "new" / "at")):
        assert (tmp_path / "new" / "at").stat().st_mode & 0o077 == 0


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """In one line."""
    (tmp_path / "file").touch()
    with pytest.raises(OutputError) as caught, opened(settings(tmp_path / "file" / "at")):
        pass
    assert "\n" not in str(caught.value)


def test_no_error_says_where_the_server_keeps_its_files(tmp_path: Path) -> None:
    """A ledger that is damaged while it is used: clients hear of it, and not where it lies."""

    async def answer() -> httpx.Response:
        with opened(settings(tmp_path / "at")) as app:
            app.state.service.store.close()  # what it remembers of the file goes
            app.state.service.store._closed = False
            for path in (tmp_path / "at").glob("jobs.sqlite*"):
                path.write_bytes(b"no ledger" * 1000)
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://localhost"
            ) as client:
                return await client.get("/v1/jobs")

    told = asyncio.run(answer())
    assert told.status_code == 507
    [error] = told.json()["errors"]
    assert "job ledger" in error["title"]
    assert str(tmp_path) not in told.text
