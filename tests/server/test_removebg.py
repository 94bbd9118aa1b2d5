"""A client of remove.bg, unchanged but for the host; and what it would read in our answers."""

from __future__ import annotations

import base64
import logging
import socket
import time
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import removebg.removebg
import requests
from PIL import Image as Pillow
from removebg import RemoveBg

from portrayer.errors import OutputError
from portrayer.image import codec
from portrayer.server.foreign import _decoded
from portrayer.server.refusal import DiskFull
from tests.portraits import admiral

from .running import TOKEN, Running, serving
from .test_photos import PORTRAIT, nothing_left, opened, refused

PATH = "/v1.0/removebg"


@pytest.fixture
def client(server: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[RemoveBg]:
    """The public client, pointed at the server; what it leaves open when it fails is closed."""
    with ExitStack() as files:

        def opening(*arguments: Any) -> IO[Any]:
            return files.enter_context(open(*arguments))

        monkeypatch.setattr(removebg.removebg, "open", opening, raising=False)
        monkeypatch.setattr(removebg.removebg, "API_ENDPOINT", server.address + PATH)
        monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield RemoveBg(TOKEN, "error.log")


def test_the_public_client_gets_a_cut_out(client: RemoveBg, tmp_path: Path) -> None:
    """From a file and from text: a PNG of a quarter of a megapixel at most, transparent outside."""
    (tmp_path / "a.jpg").write_bytes(admiral())
    client.remove_background_from_img_file(str(tmp_path / "a.jpg"))
    cut = Pillow.open(tmp_path / "a.jpg_no_bg.png")
    assert cut.mode == "RGBA"
    assert 0.24e6 < cut.width * cut.height <= 0.25e6
    assert np.asarray(cut)[2, 2, 3] == 0
    text = base64.b64encode(PORTRAIT).decode()
    client.remove_background_from_base64_img(
        text, new_file_name=str(tmp_path / "b.png"), bg_color="00ff00"
    )
    green = Pillow.open(tmp_path / "b.png")
    assert green.size == (256, 256)
    r, g, b = np.asarray(green.convert("RGB"))[2, 2]
    assert (r < 10, g > 245, b < 10) == (True, True, True)


def test_the_public_client_gets_a_proper_error(client: RemoveBg, tmp_path: Path) -> None:
    """A bad file is a 400 whose JSON says why, as the client expects it."""
    (tmp_path / "bad.jpg").write_bytes(b"GIF89a, or so it says")
    with pytest.raises(requests.HTTPError) as caught:
        client.remove_background_from_img_file(str(tmp_path / "bad.jpg"))
    assert caught.value.response.status_code == 400
    [error] = caught.value.response.json()["errors"]
    assert error["code"] == "invalid_image"
    assert "GIF" in error["title"]


def test_a_wrong_key_is_told_as_there(server: Running, client: RemoveBg, tmp_path: Path) -> None:
    """403, not 401."""
    (tmp_path / "a.jpg").write_bytes(PORTRAIT)
    with pytest.raises(requests.HTTPError) as caught:
        RemoveBg("wrong", "error.log").remove_background_from_img_file(str(tmp_path / "a.jpg"))
    assert caught.value.response.status_code == 403
    assert caught.value.response.json()["errors"]


def test_json_and_headers(server: Running) -> None:
    """The picture as base64 with the place of the foreground; sizes and credits in headers."""
    answer = server.client.post(
        PATH, files={"image_file": PORTRAIT}, headers={"accept": "application/json"}
    )
    assert answer.status_code == 200, answer.text
    told = answer.json()["data"]
    image = opened(base64.b64decode(told["result_b64"]))
    rows = np.flatnonzero(image[..., 3].any(1))
    assert abs(told["foreground_top"] - rows[0]) <= 1
    assert abs(told["foreground_height"] - np.ptp(rows) - 1) <= 2
    assert answer.headers["x-width"] == "256"
    assert answer.headers["x-type"] == "person"
    assert float(answer.headers["x-credits-charged"]) == 0
    assert int(answer.headers["x-ratelimit-remaining"]) > 0


def test_json_in(server: Running) -> None:
    """The fields as one JSON object, as clients of many languages send them."""
    text = base64.b64encode(PORTRAIT).decode()
    asked = {
        "image_file_b64": text,
        "size": "auto",
        "crop": True,
        "format": "jpg",
        "bg_color": "red",
    }
    answer = server.client.post(PATH, json=asked)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/jpeg"
    assert np.ptp(opened(answer.content)[0, 0] - np.array([255, 0, 0])) <= 12


@pytest.mark.parametrize(
    ("fields", "shape", "mime"),
    [
        ({}, (256, 256, 4), "image/png"),
        ({"channels": "alpha"}, (256, 256), "image/png"),
        ({"bg_color": "81d4fa"}, (256, 256, 3), "image/jpeg"),
        ({"bg_color": "81d4fa77"}, (256, 256, 4), "image/png"),
        ({"format": "webp"}, (256, 256, 4), "image/webp"),
        ({"format": "jpg"}, (256, 256, 3), "image/jpeg"),
        ({"roi": "0% 0% 100% 100%", "scale": "50%"}, (256, 256, 4), "image/png"),
        ({"type": "car", "add_shadow": "true", "some_new_field": "1"}, (256, 256, 4), "image/png"),
        ({"crop": "true", "crop_margin": "10px 20px", "position": "center"}, None, "image/png"),
    ],
)
def test_fields(
    server: Running, fields: dict[str, str], shape: tuple[int, ...] | None, mime: str
) -> None:
    """Each gives the picture that remove.bg's page describes."""
    answer = server.client.post(PATH, files={"image_file": PORTRAIT}, data=fields)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == mime
    assert shape in (None, opened(answer.content).shape)


def test_a_picture_behind(server: Running) -> None:
    """bg_image_file stands behind the cut-out."""
    ground = codec.encode(np.full((90, 90, 3), (10, 200, 30), np.uint8))
    files = {"image_file": PORTRAIT, "bg_image_file": ground}
    answer = server.client.post(PATH, files=files, data={"format": "png"})
    assert answer.status_code == 200, answer.text
    assert np.abs(opened(answer.content)[2, 2].astype(int) - (10, 200, 30)).max() <= 3


def test_as_a_zip(server: Running) -> None:
    """Colours as JPEG, alpha as PNG, of one size."""
    answer = server.client.post(PATH, files={"image_file": PORTRAIT}, data={"format": "zip"})
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(BytesIO(answer.content)) as archive:
        shapes = {name: opened(archive.read(name)).shape for name in archive.namelist()}
    assert shapes == {"color.jpg": (256, 256, 3), "alpha.png": (256, 256)}


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"data": {"size": "auto"}}, "missing_source"),
        (
            {"files": {"image_file": PORTRAIT}, "data": {"image_url": "http://a.example/b.jpg"}},
            "multiple_sources",
        ),
        ({"data": {"image_url": "http://127.0.0.1/a.jpg"}}, "request"),
        ({"data": {"image_file_b64": "%%%"}}, "request"),
        ({"files": {"image_file": PORTRAIT}, "data": {"size": "huge"}}, "request"),
        ({"files": {"image_file": PORTRAIT}, "data": {"bg_color": "octarine"}}, "request"),
        ({"files": {"image_file": PORTRAIT}, "data": {"channels": "cmyk"}}, "request"),
        ({"files": {"image_file": PORTRAIT}, "data": {"roi": "1 2 3"}}, "option"),
        (
            {"files": {"image_file": codec.encode(np.full((64, 64, 3), 128, np.uint8))}},
            "unknown_foreground",
        ),
    ],
)
def test_wrong_requests(server: Running, request_: dict[str, Any], code: str) -> None:
    """400 with remove.bg's code where it has one."""
    assert refused(server.client.post(PATH, **request_), 400)["code"] == code
    assert nothing_left(server)


def test_a_file_that_came_as_text_is_told_as_such(server: Running) -> None:
    """It is neither a photo nor an address to fetch one from."""
    for name in ("image_file", "bg_image_file"):
        files = {"image_file": PORTRAIT} if name == "bg_image_file" else None
        data = {name: "http://127.0.0.1/a.jpg"}
        error = refused(server.client.post(PATH, files=files, data=data), 400)
        assert "as a file" in error["title"]
    assert nothing_left(server)


def test_text_that_cannot_be_kept_is_no_bug(tmp_path: Path) -> None:
    """A disk that fills up while the photo is written is told as it is of a file."""
    with pytest.raises(OutputError):
        _decoded("aGk=", tmp_path / "gone" / "image_file_b64")
    if Path("/dev/full").exists():
        with pytest.raises(DiskFull):
            _decoded("aGk=", Path("/dev/full"))


def test_too_many_at_once_is_told_as_there(tmp_path: Path) -> None:
    """429 in remove.bg's word, with when to come again, before anything is taken in."""
    with serving(tmp_path / "at", max_waiting="1") as running:
        place = urlsplit(running.address)
        head = (
            f"POST {PATH} HTTP/1.1\r\nHost: a\r\nX-Api-Key: {TOKEN}\r\nContent-Length: 99999\r\n"
            "Content-Type: image/jpeg\r\n\r\nx"
        )
        with socket.create_connection((place.hostname, place.port), timeout=30) as other:
            other.sendall(head.encode())
            deadline = time.monotonic() + 30
            while not list((running.folder / "incoming").glob("*")):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            answer = running.client.post(PATH, files={"image_file": PORTRAIT})
    assert refused(answer, 429)["code"] == "rate_limit_exceeded"
    assert int(answer.headers["retry-after"]) > 0
