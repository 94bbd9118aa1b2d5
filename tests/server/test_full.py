"""A disk that fills up during a job: photos fail with the reason, the ledger can be read, and with
room again the rest is done."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from portrayer.image import codec
from tests.cli.test_disk import disk
from tests.portraits import admiral

from .running import PATIENCE, Running, serving
from .test_jobs import items, photos, posted
from .test_photos import nothing_left, refused

COUNT = 24
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a disk in memory as on Linux")


def still(server: Running, job: str) -> dict[str, int]:
    """The job, once it has not moved for a while."""
    seen: list[dict[str, int]] = []
    deadline = time.monotonic() + PATIENCE
    while len(seen) < 15 or seen[-15] != seen[-1]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
        view = server.client.get(f"/v1/jobs/{job}").raise_for_status().json()
        seen.append({name: view[name] for name in ("queued", "running", "done", "failed")})
    return seen[-1]


@pytest.mark.parametrize(("size", "spare"), [(13, "8MiB"), (5, "0B")])
def test_a_disk_that_fills_up(size: int, spare: str, tmp_path: Path) -> None:
    """With bytes kept for the ledger every photo that does not fit fails with the reason; without
    any, some may wait. Nothing is lost either way."""
    at = tmp_path / "disk"
    with disk(at, size << 20), serving(at / "data", spare_disk=spare) as server:
        server.ready()
        job = posted(server, photos(COUNT, admiral())).raise_for_status().json()["id"]
        full = still(server, job)
        assert 0 < full["done"] < COUNT
        failed = items(server, job, state="failed")
        assert failed or spare == "0B"
        assert all("disk is full" in each["error"]["reason"] for each in failed)
        if spare != "0B":
            assert full["done"] + full["failed"] == COUNT
            assert refused(posted(server, photos(1)), 507)["code"] == "disk-full"
        assert server.client.get("/healthz").status_code == 200
        grow = ["mount", "-o", f"remount,size={64 << 20}", str(at)]
        subprocess.run(grow, check=True)
        deadline = time.monotonic() + PATIENCE
        while server.client.get("/readyz").status_code != 200:
            assert time.monotonic() < deadline
        still(server, job)  # what could not be written down is, now
        server.client.post(f"/v1/jobs/{job}/retry").raise_for_status()
        view = server.settled(job)
        assert (view["done"], view["failed"]) == (COUNT, 0)
        results = sorted((at / "data" / "jobs" / job / "out").iterdir())
        assert len(results) == COUNT
        assert {codec.probe(path.read_bytes()).format for path in results} == {"png"}
        assert nothing_left(server)
