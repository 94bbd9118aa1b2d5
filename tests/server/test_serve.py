"""The server as a process: who may reach it, how it starts, how it ends, what survives it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import httpx
import pytest
from PIL import Image as Pillow

from portrayer.server import serve
from tests.engine.fakes import eventually
from tests.portraits import admiral

from .running import TOKEN, Running, log, serving
from .test_jobs import items, photos, posted
from .test_photos import PORTRAIT, refused

KILLS = 20


def start(*flags: str) -> subprocess.CompletedProcess[str]:
    """`portrayer serve`, expected to end by itself."""
    command = [sys.executable, "-m", "portrayer", "serve", *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_second_server_over_one_folder_refuses(server: Running) -> None:
    """One clear line, exit code 3, and the first goes on."""
    second = start("--port", "0", "--data", str(server.folder))
    assert second.returncode == 3
    [line] = second.stderr.splitlines()
    assert "another portrayer is working in this folder" in line
    assert server.client.get("/healthz").status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_what_others_can_reach_needs_a_token(tmp_path: Path, host: str) -> None:
    """Said before anything is opened."""
    refusal = start("--host", host, "--port", "0", "--data", str(tmp_path / "at"))
    assert refusal.returncode == 2
    assert "token" in refusal.stderr
    assert not (tmp_path / "at").exists()


def test_a_taken_port_is_told(server: Running, tmp_path: Path) -> None:
    """One line that names the way out."""
    port = server.address.rpartition(":")[2]
    refusal = start("--port", port, "--data", str(tmp_path / "at"))
    assert refusal.returncode == 3
    [line] = refusal.stderr.splitlines()
    assert "--port" in line


def test_the_last_packet_of_an_answer_does_not_wait() -> None:
    """Connections send at once, whatever the client has not acknowledged yet."""
    with serve._listening("127.0.0.1", 0) as sock:
        with socket.create_connection(sock.getsockname()[:2]):
            accepted, _ = sock.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_only_who_has_the_token_is_served(server: Running) -> None:
    """By either header; health needs none; a wrong one is told apart from none by nothing."""
    with httpx.Client(base_url=server.address, trust_env=False) as stranger:
        for path in ("/healthz", "/readyz", "/openapi.json", "/docs"):
            assert stranger.get(path).status_code == 200
        for path in ("/v1/jobs", "/metrics", "/v1/system", "/v1/items/1/result"):
            assert refused(stranger.get(path), 401)["code"] == "unauthorized"
            wrong = stranger.get(path, headers={"x-api-key": TOKEN[:-1]})
            assert refused(wrong, 401)["code"] == "unauthorized"
        bearer = {"authorization": f"Bearer {TOKEN}"}
        assert stranger.get("/v1/jobs", headers=bearer).status_code == 200


def test_a_method_that_is_not_for_an_address_is_told(server: Running) -> None:
    """405 with all that are, whichever route of the address was found first."""
    answer = server.client.put("/v1/jobs")
    assert refused(answer, 405)["code"] == "request"
    assert answer.headers["allow"] == "GET, POST"
    assert server.client.request("TRACE", "/v1/matte").status_code == 405


def test_no_answer_sends_a_client_elsewhere(server: Running) -> None:
    """An address with a slash too many is not there: no answer repeats the host it was told."""
    for path in ("/v1/jobs/", "/v1/matte/", "/static"):
        answer = server.client.get(path, headers={"host": "elsewhere.example"})
        assert refused(answer, 404)["code"] == "not-found"
        assert "location" not in answer.headers


@pytest.mark.parametrize("path", ["/", "/docs", "/static/docs.js", "/openapi.json"])
def test_a_page_can_only_be_read(server: Running, path: str) -> None:
    """405 with the method that is, also where no route of ours is."""
    answer = server.client.put(path)
    assert refused(answer, 405)["code"] == "request"
    assert "GET" in answer.headers["allow"]


def test_a_page_of_another_site_is_refused(server: Running) -> None:
    """Whatever a browser sends along, a foreign page starts nothing; every answer is guarded."""
    headers = {"origin": "https://elsewhere.example", "sec-fetch-site": "cross-site"}
    answer = server.client.post("/v1/matte", files={"photo": PORTRAIT}, headers=headers)
    assert refused(answer, 403)["code"] == "forbidden"
    assert "access-control-allow-origin" not in answer.headers
    plain = server.client.get("/v1/tasks").headers
    assert plain["x-content-type-options"] == "nosniff"
    assert "default-src 'self'" in plain["content-security-policy"]


def test_a_stop_queues_again_what_was_not_done(tmp_path: Path) -> None:
    """SIGTERM in the middle of a job ends the server well and soon; the next one does the rest,
    each photo once."""
    with serving(tmp_path / "at") as first:
        first.ready()
        job = posted(first, photos(40, admiral())).json()["id"]
        while first.client.get(f"/v1/jobs/{job}").json()["done"] < 5:
            time.sleep(0.01)
        assert first.stop() < 10
    with serving(tmp_path / "at") as second:
        left = second.client.get(f"/v1/jobs/{job}").json()
        assert left["failed"] == left["canceled"] == 0
        assert left["done"] < 40
        view = second.settled(job)
        assert (view["state"], view["done"]) == ("done", 40)
        assert {each["attempt"] for each in items(second, job)} == {1}
    assert "Traceback" not in log(tmp_path / "at")


@pytest.mark.parametrize("seconds", [0, 0.5, 1])
def test_a_stop_while_it_starts_is_a_stop(tmp_path: Path, seconds: float) -> None:
    """At whatever moment between the open port and the models: it ends well, and soon."""
    with serving(tmp_path / "at") as running:
        assert running.client.get("/healthz").status_code == 200
        time.sleep(seconds)  # the moment
        assert running.stop() < 10
    assert "Traceback" not in log(tmp_path / "at")


def killed_often(folder: Path, count: int, kills: int, random: Random) -> None:
    """A job of ``count`` photos under ``kills`` kills at random moments: all done, once, whole."""
    job, written = "", {}
    for _ in range(kills):
        with serving(folder) as running:
            if not job:
                job = posted(running, photos(count)).json()["id"]
            if random.random() < 0.7:
                running.ready()
            out = folder / "jobs" / job / "out"
            time.sleep(random.uniform(0, 0.4))
            now = {path.name: path.stat().st_mtime_ns for path in out.glob("*.png")}
            assert {name: now[name] for name in written} == written
            done = items(running, job, state="done")
            written = {f"{each['name'][:3]:0>6}.png": 0 for each in done}
            written = {name: now[name] for name in written if name in now}
            running.kill()
    with serving(folder) as running:
        view = running.settled(job)
        assert (view["total"], view["done"]) == (count, count), items(running, job, state="failed")
        results = sorted(out.iterdir())
        assert [path.name for path in results] == [f"{number:06}.png" for number in range(count)]
        for path in results:
            Pillow.open(path).load()
        assert not any((folder / "incoming").glob("*"))


def test_a_kill_loses_nothing(tmp_path: Path) -> None:
    """Two kills at random moments of a job: all done, each once, every file whole."""
    killed_often(tmp_path / "at", 20, 2, Random(os.getpid()))


@pytest.mark.stress
def test_twenty_kills_lose_nothing(tmp_path: Path) -> None:
    """The same for twenty kills and a hundred photos."""
    killed_often(tmp_path / "at", 100, KILLS, Random(5))


def test_an_upload_that_was_cut_off_leaves_nothing(tmp_path: Path) -> None:
    """A kill while photos come in: the next server sweeps them away."""
    with serving(tmp_path / "at") as running:

        def half() -> object:
            yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
            yield bytes(1 << 20)
            while not list((tmp_path / "at" / "incoming").rglob("0*")):
                time.sleep(0.01)
            running.kill()
            yield bytes(1 << 20)

        with pytest.raises(httpx.TransportError):
            running.client.post(
                "/v1/jobs",
                content=half(),  # type: ignore[arg-type]
                headers={"content-type": "multipart/form-data; boundary=x"},
            )
        assert list((tmp_path / "at" / "incoming").rglob("0*"))
    with serving(tmp_path / "at") as again:
        assert again.client.get("/v1/jobs").json()["jobs"] == []
        deadline = time.monotonic() + 10
        while (tmp_path / "at" / "incoming").exists():
            assert time.monotonic() < deadline


def test_the_log_is_a_json_object_a_line(server: Running) -> None:
    """Each with its request's id, which the answer carries too."""
    answer = server.client.get("/v1/tasks", headers={"x-request-id": "trace-me"})
    assert answer.headers["x-request-id"] == "trace-me"

    def written() -> bool:
        lines = [json.loads(line) for line in log(server.folder).splitlines()]
        return any(line.get("request") == "trace-me" for line in lines)

    assert eventually(written)  # after the answer, which nothing holds back any more
