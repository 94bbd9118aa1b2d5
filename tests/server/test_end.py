"""The end of a server that clients hold on to: in time, and as if all were well."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

from tests.portraits import admiral

from .running import TOKEN, Running, log, serving
from .test_jobs import photos, posted

HEAD = f"Host: a\r\nX-Api-Key: {TOKEN}\r\n"
FORM = "Content-Type: multipart/form-data; boundary=x\r\n"
PART = '--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'


def connected(server: Running) -> socket.socket:
    """A client that is slow in taking."""
    place = urlsplit(server.address)
    assert place.hostname
    assert place.port
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**12)
    client.settimeout(30)
    client.connect((place.hostname, place.port))
    return client


def test_nobody_holds_a_server_up(tmp_path: Path) -> None:
    """Who watches, who takes nothing, who has sent half: SIGTERM ends it all the same, nothing of
    theirs stays, and whose upload was cut is told why.
    """
    with serving(tmp_path / "at") as server, ExitStack() as clients:
        server.ready()
        large = posted(server, [("files", ("large", bytes(32 << 20)))]).json()["id"]
        [item] = server.client.get(f"/v1/jobs/{large}/items").json()["items"]
        many = posted(server, photos(200, admiral())).json()["id"]

        def said(text: str) -> socket.socket:
            client = clients.enter_context(connected(server))
            client.sendall(text.encode())
            return client

        watching = said(f"GET /v1/jobs/{many}/events HTTP/1.1\r\n{HEAD}\r\n")
        taking = said(f"GET /v1/items/{item['id']}/input HTTP/1.1\r\n{HEAD}\r\n")
        assert watching.recv(8) == taking.recv(8) == b"HTTP/1.1"
        half = said(
            f"POST /v1/jobs HTTP/1.1\r\n{HEAD}{FORM}Content-Length: 999999\r\n\r\n{PART}abc"
        )
        said(f"POST /v1/matte HTTP/1.1\r\n{HEAD}{FORM}Transfer-Encoding: chunked\r\n\r\n1\r\n")
        said(f"POST /v1/nothing HTTP/1.1\r\n{HEAD}{FORM}Content-Length: 999999\r\n\r\n")
        said("GET / HTTP/1.1\r\nX: ")
        said("")
        # Who comes last is answered last: by then all of them have been heard.
        last = said(f"GET /v1/nothing HTTP/1.1\r\n{HEAD}\r\n")
        assert last.recv(8) == b"HTTP/1.1"
        assert server.stop() < 10
        assert half.recv(12) == b"HTTP/1.1 503"
    assert "Traceback" not in log(tmp_path / "at")
    assert not list((tmp_path / "at" / "incoming").glob("*"))
