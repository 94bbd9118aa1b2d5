"""Jobs over real HTTP: queued, watched, downloaded, canceled, tried again, removed."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image as Pillow

from portrayer.image import codec
from tests.portraits import admiral, astronaut

from .running import Running
from .test_photos import PORTRAIT, nothing_left, refused

SMALL = codec.encode(astronaut()[::2, ::2].copy(), "jpeg")


def posted(server: Running, files: list[tuple[str, Any]], **fields: Any) -> httpx.Response:
    headers = fields.pop("headers", {})
    return server.client.post(
        "/v1/jobs", files=files, data={"task": "matte", **fields}, headers=headers
    )


def photos(count: int, blob: bytes = SMALL) -> list[tuple[str, Any]]:
    return [("files", (f"{number:03}.jpg", blob, "image/jpeg")) for number in range(count)]


def items(server: Running, job: str, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = 0
    while cursor is not None:
        page = server.client.get(f"/v1/jobs/{job}/items", params={"cursor": cursor, **query}).json()
        found += page["items"]
        cursor = page["next"]
    return found


def frames(answer: httpx.Response) -> Iterator[dict[str, str]]:
    """The events of a stream of Server-Sent Events."""
    event: dict[str, str] = {}
    for line in answer.iter_lines():
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            event[name] = value
        elif event:
            yield event
            event = {}


def test_every_photo_is_done_and_one_bad_file_fails_alone(server: Running) -> None:
    """Thirty photos and one that is none: 202 at once, then each with its result or its reason."""
    files = [*photos(30), ("files", ("notes.txt", b"not a photo", "text/plain"))]
    answer = posted(server, files, background="white", name="shop")
    assert answer.status_code == 202, answer.text
    queued = answer.json()
    assert (queued["total"], queued["done"], queued["name"]) == (31, 0, "shop")
    view = server.settled(queued["id"])
    assert (view["state"], view["done"], view["failed"]) == ("done", 30, 1)
    assert view["options"] == {"background": "white"}
    [bad] = items(server, view["id"], state="failed")
    assert (bad["name"], bad["error"]["code"]) == ("notes.txt", "decode")
    done = items(server, view["id"], state="done", limit=7)
    assert [each["name"] for each in done] == [f"{number:03}.jpg" for number in range(30)]
    for each in (done[0], done[-1]):
        result = server.client.get(f"/v1/items/{each['id']}/result")
        assert result.headers["content-type"] == "image/png"
        assert Pillow.open(BytesIO(result.content)).size == (128, 128)
        assert server.client.get(f"/v1/items/{each['id']}/input").content == SMALL
    assert refused(server.client.get(f"/v1/items/{bad['id']}/result"), 409)["code"] == "not-ready"
    told = server.client.get(f"/v1/items/{bad['id']}/input")
    assert told.headers["content-type"] == "application/octet-stream"
    assert told.headers["content-disposition"].startswith("attachment")


def test_the_archive_holds_every_result_under_a_safe_name(server: Running) -> None:
    """Names that would leave the archive, or meet in it, are made safe; failures are told."""
    names = ["a.jpg", "A.JPG", "../../etc/passwd", "C:\\x\\b.jpg", "con.png", "头像.jpg", "no.txt"]
    blobs = [SMALL] * 6 + [b"no"]
    files = [("files", (name, blob)) for name, blob in zip(names, blobs, strict=True)]
    view = server.settled(posted(server, files, output="both").json()["id"])
    assert (view["done"], view["failed"]) == (6, 1)
    with server.client.stream("GET", f"/v1/jobs/{view['id']}/results.zip") as answer:
        assert answer.headers["content-type"] == "application/zip"
        blob = answer.read()
        assert int(answer.headers["content-length"]) == len(blob)
    with zipfile.ZipFile(BytesIO(blob)) as archive:
        assert archive.testzip() is None
        found = archive.namelist()
        assert len({name.casefold() for name in found}) == len(found) == 13
        assert not [name for name in found if "/" in name or "\\" in name or ".." in name]
        assert {"a.png", "passwd.png", "b.png", "头像.png", "failed.txt"} <= set(found)
        assert "no.txt: " in archive.read("failed.txt").decode()
        assert {each.compress_type for each in archive.infolist()} == {zipfile.ZIP_STORED}


def test_progress_is_told_as_it_comes_and_goes_on_where_it_was(server: Running) -> None:
    """Every photo's last state is told once; a second listener with the last id hears only what
    is new; what is settled ends the stream."""
    job = posted(server, photos(12)).json()["id"]
    with server.client.stream("GET", f"/v1/jobs/{job}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        told = list(frames(answer))
    states = {
        (row := json.loads(event["data"]))["id"]: row["state"]
        for event in told
        if event.get("event") == "item"
    }
    assert set(states.values()) == {"done"}
    assert len(states) == 12
    last = [event for event in told if event.get("event") == "job"][-1]
    assert json.loads(last["data"])["state"] == "done"
    ids = [int(event["id"]) for event in told if "id" in event]
    assert ids == sorted(ids)
    middle = ids[len(ids) // 2]
    headers = {"last-event-id": str(middle)}
    with server.client.stream("GET", f"/v1/jobs/{job}/events", headers=headers) as answer:
        again = [int(event["id"]) for event in frames(answer) if "id" in event]
    assert all(number > middle for number in again)


def test_a_request_that_is_sent_again_makes_one_job(server: Running) -> None:
    """The same key: the same job, also at the same moment; with another request, a refusal."""
    headers = {"idempotency-key": "order-7"}
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: posted(server, photos(3), headers=headers), range(4)))
    assert {answer.status_code for answer in answers} == {202}
    [job] = {answer.json()["id"] for answer in answers}
    assert server.settled(job)["total"] == 3
    assert refused(posted(server, photos(2), headers=headers), 422)["code"] == "key-reused"
    assert nothing_left(server)
    assert sum(1 for _ in (server.folder / "jobs" / job / "in").iterdir()) == 3


def test_canceled_is_canceled_and_can_be_tried_again(server: Running) -> None:
    """What was not begun never is; what was tried again is done like any other; purged is gone."""
    job = posted(server, photos(60, admiral())).json()["id"]
    answer = server.client.delete(f"/v1/jobs/{job}").json()
    assert answer["moved"] > 0
    view = server.settled(job)
    assert view["state"] == "canceled"
    assert view["canceled"] == answer["moved"]
    with server.client.stream("GET", f"/v1/jobs/{job}/events") as events:
        assert json.loads(list(frames(events))[-1]["data"])["state"] == "canceled"
    assert server.client.post(f"/v1/jobs/{job}/retry").json()["moved"] == view["canceled"]
    assert server.client.delete(f"/v1/jobs/{job}?purge=true").status_code == 200
    assert refused(server.client.get(f"/v1/jobs/{job}"), 404)["code"] == "unknown-job"
    assert not (server.folder / "jobs" / job).exists()


def test_what_is_purged_while_it_is_downloaded_is_sent_whole(server: Running) -> None:
    """The job is gone at once, and who had begun to download it has all of it."""
    job = server.settled(posted(server, photos(20, admiral())).json()["id"])["id"]
    with server.client.stream("GET", f"/v1/jobs/{job}/results.zip") as answer:
        chunks = answer.iter_raw()
        blob = next(chunks)
        assert server.client.delete(f"/v1/jobs/{job}?purge=true").status_code == 200
        assert refused(server.client.get(f"/v1/jobs/{job}"), 404)["code"] == "unknown-job"
        blob += b"".join(chunks)
    with zipfile.ZipFile(BytesIO(blob)) as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == 20


def test_a_key_is_for_one_request(server: Running) -> None:
    """The same form with the same key for another task is refused, not answered with the first's
    job.
    """
    headers = {"idempotency-key": "once", "prefer": "respond-async"}
    for path, status in (("/v1/matte", 202), ("/v1/matte", 202), ("/v1/enhance", 422)):
        answer = server.client.post(path, files={"photo": SMALL}, headers=headers)
        assert answer.status_code == status, answer.text


def test_one_face_into_many_photos(server: Running) -> None:
    """A job of fusing has one source; where it lies is shown to nobody."""
    files = [*photos(2, admiral()), ("source", ("me.jpg", PORTRAIT))]
    answer = posted(server, files, task="fuse", consent="true")
    assert answer.status_code == 202, answer.text
    view = server.settled(answer.json()["id"])
    assert (view["done"], view["failed"]) == (2, 0)
    assert str(server.folder) not in json.dumps(view)
    assert view["options"]["source"] == "(uploaded)"


def test_small_pictures_are_made_of_inputs_and_results(server: Running) -> None:
    """At most 320 px, the cut-out's transparency kept; of a file that is no photo, an error."""
    files = [*photos(1, admiral()), ("files", ("no.txt", b"no"))]
    job = server.settled(posted(server, files).json()["id"])["id"]
    good, bad = items(server, job)
    shown = server.client.get(f"/v1/items/{good['id']}/thumbnail")
    cut = Pillow.open(BytesIO(shown.content))
    assert (cut.mode, max(cut.size)) == ("RGBA", 320)
    assert np.asarray(cut)[0, 0, 3] == 0
    sent = server.client.get(f"/v1/items/{good['id']}/thumbnail?of=input")
    assert Pillow.open(BytesIO(sent.content)).mode == "RGB"
    assert refused(server.client.get(f"/v1/items/{bad['id']}/thumbnail"), 415)["code"] == "decode"


def test_jobs_are_found_by_the_names_of_their_photos(server: Running) -> None:
    """The newest first, page by page."""
    files = [("files", ("needle-in-a-haystack.jpg", SMALL))]
    jobs = [posted(server, files).json()["id"] for _ in range(3)]
    found: list[str] = []
    query: dict[str, Any] = {"search": "IN-A-HAY", "limit": 2}
    while query.get("before", "") is not None:
        page = server.client.get("/v1/jobs", params=query).json()
        found += [job["id"] for job in page["jobs"]]
        query["before"] = page["next"]
    assert found == jobs[::-1]


@pytest.mark.parametrize(
    ("files", "fields", "status"),
    [
        ([], {}, 400),
        (photos(1), {"priority": "high"}, 400),
        (photos(1), {"task": "paint"}, 404),
        (photos(1), {"steps": "matte"}, 400),
        (photos(1), {"background": "octarine"}, 400),
        (photos(1), {"headers": {"idempotency-key": "k" * 300}}, 400),
        ([("paper", ("a.jpg", SMALL))], {}, 400),
    ],
)
def test_a_wrong_job_is_no_job(
    server: Running, files: list[tuple[str, Any]], fields: dict[str, Any], status: int
) -> None:
    """Nothing is queued, nothing stays on the disk."""

    def known() -> list[str]:
        return [job["id"] for job in server.client.get("/v1/jobs").json()["jobs"]]

    before = known()
    refused(posted(server, files or [("note", (None, "x"))], **fields), status)
    assert known() == before
    assert nothing_left(server)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/jobs/none",
        "/v1/jobs/none/items",
        "/v1/jobs/none/events",
        "/v1/jobs/none/results.zip",
        "/v1/items/999999999",
        "/v1/items/999999999/result",
        "/v1/jobs?before=none",
    ],
)
def test_what_is_not_there_is_not_found(server: Running, path: str) -> None:
    """404 with the code of what is missing."""
    assert refused(server.client.get(path), 404)["code"] in ("unknown-job", "unknown-item")
