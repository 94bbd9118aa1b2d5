"""One photo at once, over real HTTP: the picture comes back, wrong requests get one line."""

from __future__ import annotations

import base64
import json
import socket
import time
from collections.abc import Mapping
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image as Pillow

from portrayer.image import codec
from portrayer.studio import Studio
from tests.portraits import admiral, astronaut

from .running import PATIENCE, TOKEN, Running, log

PORTRAIT = codec.encode(astronaut(), "jpeg", quality=95)


def opened(blob: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.asarray(Pillow.open(BytesIO(blob)))


def post(server: Running, path: str, **request: Any) -> httpx.Response:
    return server.client.post(path, **request)


def refused(answer: httpx.Response, status: int) -> Mapping[str, str]:
    """The one error of an answer of this status."""
    assert answer.status_code == status, answer.text
    [error] = answer.json()["errors"]
    assert set(error) == {"title", "code", "detail"}
    assert "\n" not in error["title"]
    return error  # type: ignore[no-any-return]


def nothing_left(server: Running) -> bool:
    return not any((server.folder / "incoming").glob("*"))


def test_the_answer_is_what_the_studio_makes(server: Running) -> None:
    """The same pixels as in Python, with options as fields, and how it came about in headers."""
    answer = post(
        server, "/v1/matte", files={"photo": PORTRAIT}, data={"background": "#204060", "margin": 5}
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    with Studio() as studio:
        made = studio.matte(PORTRAIT, background="#204060").image
    assert np.abs(opened(answer.content).astype(int) - made).max() <= 1
    assert (answer.headers["x-width"], answer.headers["x-height"]) == ("256", "256")
    assert "decode;dur=" in answer.headers["server-timing"]
    assert nothing_left(server)


@pytest.mark.parametrize(
    ("headers", "body", "query"),
    [
        ({"content-type": "image/jpeg"}, PORTRAIT, ""),
        ({"content-type": "application/octet-stream"}, PORTRAIT, ""),
    ],
)
def test_a_photo_may_be_the_whole_body(
    server: Running, headers: dict[str, str], body: bytes, query: str
) -> None:
    """`curl --data-binary @photo.jpg` needs no form."""
    answer = post(server, f"/v1/matte{query}", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    assert opened(answer.content).shape == (256, 256, 4)


def test_json_for_who_accepts_json(server: Running) -> None:
    """The picture as base64, with its size, device and faces."""
    answer = post(
        server,
        "/v1/enhance",
        files={"photo": PORTRAIT},
        data={"options": json.dumps({"format": "webp", "strength": 50})},
        headers={"accept": "application/json"},
    )
    told = answer.raise_for_status().json()
    assert (told["width"], told["height"], told["format"]) == (256, 256, "webp")
    assert len(told["faces"]) == 1
    assert opened(base64.b64decode(told["result_b64"])).shape == (256, 256, 3)


def test_two_faces_are_fused_with_consent_alone(server: Running) -> None:
    """A source and a target, told apart by their names; nothing is done without consent."""
    files = {"source": PORTRAIT, "target": admiral()}
    assert refused(post(server, "/v1/fuse", files=files), 400)["code"] == "option"
    answer = post(server, "/v1/fuse", files=files, data={"consent": "true", "max-side": "512"})
    assert answer.status_code == 200, answer.text
    assert b"compositeWithTrainedAlgorithmicMedia" in answer.content
    assert answer.headers["x-faces"] == "1"


def test_a_chain_is_its_steps_one_after_the_other(server: Running) -> None:
    """Fused, restored, cut out in one request: as three in a row, and marked as synthetic."""
    files = {"source": PORTRAIT, "target": admiral()}
    steps = [
        {"task": "fuse", "options": {"consent": True}},
        {"task": "enhance", "preset": "retouch"},
        {"task": "matte", "options": {"max-side": 300}},
    ]
    answer = post(server, "/v1/chain", files=files, data={"steps": json.dumps(steps)})
    assert answer.status_code == 200, answer.text
    assert max(opened(answer.content).shape) == 300
    assert b"compositeWithTrainedAlgorithmicMedia" in answer.content


def test_a_picture_among_the_options_is_a_file_of_the_request(server: Running) -> None:
    """A background is sent, and no path of the server is ever taken for one."""
    ground = np.full((64, 64, 3), (10, 200, 30), np.uint8)
    files = {"photo": PORTRAIT, "background": codec.encode(ground)}
    answer = post(server, "/v1/matte", files=files)
    assert answer.status_code == 200, answer.text
    assert np.abs(opened(answer.content)[2, 2].astype(int) - (10, 200, 30)).max() <= 3


@pytest.mark.parametrize("path", ["/etc/hostname", "/no/such/file", "../../photo.png", "x"])
def test_no_value_is_a_path(server: Running, path: str) -> None:
    """Whether a file is there is told to nobody."""
    wrong = [
        ("/v1/matte", {"photo": PORTRAIT}, {"background": path}),
        (
            "/v1/fuse",
            {"source": PORTRAIT, "target": PORTRAIT},
            {"target-face": f"like:{path}", "consent": "true"},
        ),
        ("/v1/matte", {"photo": PORTRAIT}, {"preset": f"{path}.toml"}),
    ]
    for address, files, fields in wrong:
        error = refused(post(server, address, files=files, data=fields), 400)
        assert "there are:" in error["title"] or "send it as the file field" in error["title"]


WRONG: list[tuple[str, dict[str, Any], int, str]] = [
    ("/v1/matte", {"files": {"photo": b"nothing of the kind"}}, 415, "decode"),
    ("/v1/matte", {"files": {"photo": b""}}, 415, "decode"),
    ("/v1/matte", {"files": {"picture": PORTRAIT}}, 400, "request"),
    ("/v1/matte", {"data": {"background": "white"}}, 400, "request"),
    ("/v1/matte", {"files": {"photo": PORTRAIT}, "data": {"feather": "300"}}, 400, "option"),
    ("/v1/matte", {"files": {"photo": PORTRAIT}, "data": {"no-such": "1"}}, 400, "option"),
    ("/v1/matte", {"files": {"photo": PORTRAIT}, "data": {"options": "{"}}, 400, "request"),
    ("/v1/matte", {"files": {"photo": PORTRAIT}, "data": {"preset": "none"}}, 400, "option"),
    ("/v1/matte", {"files": {"photo": PORTRAIT}, "data": {"task": "fuse"}}, 400, "request"),
    ("/v1/matte", {"files": [("photo", PORTRAIT), ("photo", PORTRAIT)]}, 400, "request"),
    (
        "/v1/enhance",
        {"files": {"photo": PORTRAIT}, "data": {"model": "gpen-512"}},
        409,
        "not-ready",
    ),
    ("/v1/fuse", {"files": {"target": PORTRAIT}, "data": {"consent": "1"}}, 400, "request"),
    (
        "/v1/chain",
        {"files": {"photo": PORTRAIT}, "data": {"steps": "matte,enhance"}},
        400,
        "option",
    ),
    ("/v1/chain", {"files": {"photo": PORTRAIT}, "data": {"steps": "paint"}}, 404, "unknown-task"),
    ("/v1/chain", {"files": {"photo": PORTRAIT}}, 400, "request"),
    ("/v1/matte", {"content": b"{}", "headers": {"content-type": "text/plain"}}, 400, "request"),
    ("/v1/paint", {"files": {"photo": PORTRAIT}}, 404, "not-found"),
]


@pytest.mark.parametrize(("path", "request_", "status", "code"), WRONG)
def test_what_is_wrong_is_told_in_one_line(
    server: Running, path: str, request_: dict[str, Any], status: int, code: str
) -> None:
    """The right status, a stable code, and nothing left on the disk."""
    assert refused(post(server, path, **request_), status)["code"] == code
    assert nothing_left(server)


def test_no_face_is_an_answer_of_its_own(server: Running) -> None:
    """Fusing into a wall says which of the photos has no face."""
    wall = codec.encode(np.full((128, 128, 3), 90, np.uint8))
    files = {"source": PORTRAIT, "target": wall}
    error = refused(post(server, "/v1/fuse", files=files, data={"consent": "1"}), 422)
    assert error["code"] == "no-face"
    assert "target" in error["title"]


def test_who_has_gone_is_no_error(server: Running) -> None:
    """A client that leaves before its answer: the log has its request as 499, and nothing stays."""
    address = urlsplit(server.address)
    head = (
        f"POST /v1/enhance HTTP/1.1\r\nHost: a\r\nX-Api-Key: {TOKEN}\r\nX-Request-Id: leaves\r\n"
        f"Content-Type: image/jpeg\r\nContent-Length: {len(PORTRAIT)}\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port)) as peer:  # type: ignore[arg-type]
        peer.sendall(head.encode() + PORTRAIT)
        deadline = time.monotonic() + PATIENCE
        while nothing_left(server):
            assert time.monotonic() < deadline
    while not (lines := [line for line in log(server.folder).splitlines() if '"leaves"' in line]):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert [json.loads(line)["message"] for line in lines] == ["POST /v1/enhance 499"]
    assert nothing_left(server)


def test_asked_to_answer_later_it_makes_a_job(server: Running) -> None:
    """`Prefer: respond-async`: 202, and where to look."""
    answer = post(
        server, "/v1/matte", files={"photo": PORTRAIT}, headers={"prefer": "respond-async"}
    )
    assert answer.status_code == 202
    view = server.settled(answer.json()["id"])
    assert answer.headers["location"] == f"/v1/jobs/{view['id']}"
    assert (view["state"], view["done"], view["total"]) == ("done", 1, 1)
