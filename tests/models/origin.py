"""A small network and a small graph, their rows of the catalogue, and a server that publishes
them.
"""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from portrayer.models import model, onnx
from portrayer.models.spec import Graph, ModelSpec, Weights

from . import graphs

SIDE = 8


class Small(nn.Module):
    """Something to be loaded: (N, 3, S, S) to (N, 3, S, S)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 96, 3, 1, 1)
        self.norm = nn.BatchNorm2d(96)
        self.last = nn.Conv2d(96, 3, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.last(self.norm(self.first(x)))
        return result


class Huge(nn.Module):
    """More weights than any machine has memory for."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Linear(10**7, 10**7)


def tensors(seed: int = 0) -> dict[str, Tensor]:
    """A state dict of :class:`Small`."""
    torch.manual_seed(seed)
    return dict(Small().state_dict())


def torch_file(content: Any, **how: Any) -> bytes:
    """What ``torch.save`` writes."""
    file = io.BytesIO()
    torch.save(content, file, **how)
    return file.getvalue()


def small(folder: Path, *urls: str, consent: bool = False, sha: str = "") -> ModelSpec:
    """The row of :class:`Small`, brought by the user into ``folder``."""
    weights = Weights(
        "small.safetensors", sha, 30_000, "for tests", "here", urls or ("none:",), consent, folder
    )
    return ModelSpec("small", "enhance", "small:Small", weights, SIDE, output="picture")


def cutter(
    folder: Path, *urls: str, consent: bool = False, sha: str = "", md5: str = ""
) -> ModelSpec:
    """The row of a graph that cuts out, brought by the user into ``folder``."""
    weights = Weights(
        "cutter.onnx", sha, 2000, "for tests", "here", urls or ("none:",), consent, folder, md5
    )
    return ModelSpec("cutter", "matte", "", weights, 32, output="minmax", graph=Graph(), peak=True)


CONTENT = torch_file(tensors())
SHA256 = sha256(CONTENT).hexdigest()
WHOLE = {"small.safetensors", "small.json"}

GRAPH = graphs.of(cutter(Path()))
KEPT = {"cutter.onnx", "cutter.json"}


def cuts(spec: ModelSpec) -> bool:
    """Whether the graph can be loaded, and gives a matte that spans 0..1."""
    images = np.random.default_rng(0).integers(0, 256, (2, spec.side, spec.side, 3), np.uint8)
    mattes = np.asarray(onnx.load(spec)(images))
    return mattes.shape == images.shape[:3] and (mattes.min(), mattes.max()) == (0, 1)


def inside(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def runs(spec: ModelSpec, seed: int = 0) -> bool:
    """Whether the model can be loaded, and answers as the network that the weights are from."""
    images = torch.randint(0, 256, (2, SIDE, SIDE, 3), dtype=torch.uint8)
    net = Small()
    net.load_state_dict(tensors(seed))
    with torch.inference_mode():
        wanted = model.Model(spec, net.eval())(images)
        return torch.allclose(
            model.load(spec, torch.device("cpu"), torch.float32)(images), wanted, atol=1e-5
        )


class Origin:
    """Publishes ``content`` at ``url``, with an ETag and ranges as RFC 9110 has them.

    ``cut``: bytes of an answer after which the line breaks; ``ranges``: whether they are known;
    ``status``: another answer than the file; ``astray``: by how much a part is not the one that was
    asked for; ``silent``: no answer at all. ``asked``: the ``Range`` of
    each request that was answered, "" for the whole; ``paths``: what each request was for.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.cut: int | None = None
        self.ranges, self.status, self.astray = True, 0, 0
        self.silent = threading.Event()
        self.asked: list[str] = []
        self.paths: list[str] = []
        self.url = ""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.paths.append(request.path)
        if self.silent.is_set():
            request.connection.settimeout(5)
            request.connection.recv(1)  # until the other side gives up
            return
        if self.status:
            request.send_error(self.status)
            return
        etag = f'"{sha256(self.content).hexdigest()}"'
        asked = request.headers["Range"] or ""
        self.asked.append(asked)
        found = re.fullmatch(r"bytes=(\d+)-", asked)
        same = request.headers.get("If-Range", etag) == etag
        start = int(found[1]) if found and self.ranges and same else 0
        start, size = start + self.astray, len(self.content)
        if start >= size:
            request.send_error(416)
            return
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        request.send_header("Content-Length", str(size - start))
        request.send_header("ETag", etag)
        request.end_headers()
        request.wfile.write(self.content[start:][: self.cut])


@contextmanager
def published(content: bytes) -> Iterator[Origin]:
    """A server on this machine that has ``content``."""
    origin = Origin(content)

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            origin.answer(self)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        origin.url = f"http://127.0.0.1:{server.server_port}/small.pth"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield origin
        finally:
            server.shutdown()
            thread.join()
