"""Which words belong to which rooms of the package, held against the syntax trees of its files.

``import-linter`` (see ``pyproject.toml``) holds the floors. Here are the words: who may say
``torch``, ``cuda``, ``print`` or ``os.environ``, who may start threads, and what nothing may be
called.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

import portrayer

PACKAGE = Path(portrayer.__file__).parent
LINES = 350

Rooms = tuple[str, ...]
IMAGE: Rooms = ("image",)
PEERS: Rooms = (*IMAGE, "bench.encoders")  # how others write a picture, to measure against
CUDA: Rooms = ("engine.device", "engine.cuda")
TORCH: Rooms = ("nets", "models", *CUDA)
JOBS: Rooms = (
    "jobs.child",
    "jobs.children",
    "jobs.crew",
    "jobs.runner",
    "jobs.seats",
    "jobs.store",
)
THREADS: Rooms = (
    "engine",
    "pipeline",
    "studio",
    *JOBS,
    "bench.apart",
    "bench.beside",
    "bench.flow",
)
DOWNLOAD: Rooms = ("models.weights", "server.remote")
SERVER: Rooms = ("server",)

# Modules, by the rooms that may import them. A room is a module with all that lies in it.
MODULES: Mapping[str, Rooms] = {
    "torch": TORCH,
    "torch.cuda": CUDA,
    "onnxruntime": ("models.runtime",),
    "cv2": PEERS,
    "PIL": PEERS,
    "simplejpeg": IMAGE,
    "isal": IMAGE,
    "pymatting": IMAGE,
    "sqlite3": ("jobs.store",),
    "tomllib": ("settings",),
    "os.environ": ("settings",),
    "os.getenv": ("settings",),
    "rich": ("cli",),
    "typer": ("cli",),
    "threading": THREADS,
    "concurrent": THREADS,
    "queue": THREADS,
    "multiprocessing": THREADS,
    "asyncio": SERVER,
    "fastapi": SERVER,
    "starlette": SERVER,
    "uvicorn": SERVER,
    "python_multipart": SERVER,
    "prometheus_client": SERVER,
    "zipstream": SERVER,
    "pynvml": ("engine.nvml",),
    "fsspec": ("storage",),
    "urllib.request": (*DOWNLOAD, "storage"),
    "http.client": DOWNLOAD,
    "requests": DOWNLOAD,
    "httpx": DOWNLOAD,
}

# Names and attributes.
NAMES: Mapping[str, Rooms] = {
    "cuda": CUDA,
    "environ": ("settings",),
    "getenv": ("settings",),
    "print": ("cli",),
}

# Constants: a device may be named where the user names it and where it is opened.
CONSTANTS: Mapping[str, Rooms] = {"cuda": ("settings", "cli", "engine", "models.runtime")}

# Locks: at most this many, and where nothing is said, as many as the room likes.
LOCKS: Mapping[str, int] = {"jobs.store": 1}

FORBIDDEN_WORDS = frozenset(
    {"manager", "helper", "util", "common", "handler", "processor", "info", "misc"}
)
FORBIDDEN_NAMES = frozenset({"data"})


@dataclass(frozen=True, slots=True)
class Source:
    """One file: its dotted name below the package (``""`` is the package's own), and its text."""

    module: str
    text: str

    @property
    def nodes(self) -> Iterator[ast.AST]:
        return ast.walk(ast.parse(self.text))


Law = Callable[[Source], Iterator[str]]


def sources(root: Path) -> list[Source]:
    """Every Python file under ``root``."""
    return [
        Source(
            ".".join(path.relative_to(root).with_suffix("").parts)
            .removesuffix("__init__")
            .strip("."),
            path.read_text(encoding="utf-8"),
        )
        for path in sorted(root.rglob("*.py"))
    ]


def within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def allowed(module: str, rooms: Rooms) -> bool:
    return any(within(module, room) for room in rooms)


def imported(node: ast.AST) -> list[str]:
    """Dotted names that this node imports, at once or by ``import_module("name")``."""
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=str(module), names=names, level=0):
            return [f"{module}.{alias.name}" for alias in names]
        case ast.Call(func=func, args=[ast.Constant(value=str(name)), *_]):
            return [name] if spoken(func).endswith(("import_module", "__import__")) else []
    return []


def spoken(node: ast.AST) -> str:
    """``a.b.c`` of a name or attribute; ``.c`` where it hangs on something that has no name."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attr):
            return f"{spoken(value)}.{attr}"
    return ""


def imports(source: Source) -> Iterator[str]:
    for node in source.nodes:
        for name in imported(node):
            for module, rooms in MODULES.items():
                if within(name, module) and not allowed(source.module, rooms):
                    yield f"{source.module} imports {name}"


def names(source: Source) -> Iterator[str]:
    for node in source.nodes:
        for name, rooms in NAMES.items():
            said = f".{spoken(node)}".endswith(f".{name}")
            if said and not allowed(source.module, rooms):
                yield f"{source.module} says {spoken(node)}"


def constants(source: Source) -> Iterator[str]:
    for node in source.nodes:
        match node:
            case ast.Constant(value=str(value)):
                for word, rooms in CONSTANTS.items():
                    if value.partition(":")[0] == word and not allowed(source.module, rooms):
                        yield f"{source.module} says {value!r}"


def locks(source: Source) -> Iterator[str]:
    made = [
        spoken(node.func)
        for node in source.nodes
        if isinstance(node, ast.Call)
        and re.search(r"(^|\.)(R?Lock|Condition|(Bounded)?Semaphore)$", spoken(node.func))
    ]
    if len(made) > LOCKS.get(source.module, len(made)):
        yield f"{source.module} makes {len(made)} locks: {', '.join(made)}"


def words(name: str) -> set[str]:
    """The words of a snake_case or CamelCase name, in lower case and singular."""
    split = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)
    return {word.lower().removesuffix("s") for word in split}


def naming(source: Source) -> Iterator[str]:
    defined = [
        node.name
        for node in source.nodes
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    for name in [*source.module.split("."), *defined]:
        if FORBIDDEN_WORDS & words(name) or name.strip("_").lower() in FORBIDDEN_NAMES:
            yield f"{source.module} calls something {name}"


def length(source: Source) -> Iterator[str]:
    lines = len(source.text.splitlines())
    if lines > LINES:
        yield f"{source.module} has {lines} lines: it is asked for its second noun"


LAWS: tuple[Law, ...] = (imports, names, constants, locks, naming, length)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_every_room_keeps_to_its_words(law: Law) -> None:
    """No file of the package breaks a law."""
    assert [breach for source in sources(PACKAGE) for breach in law(source)] == []


def test_every_file_is_walked() -> None:
    """The laws look at every file of the package, by the module name it has."""
    modules = {source.module for source in sources(PACKAGE)}
    assert {"", "errors", "types", "image", "engine", "models", "nets", "tasks", "jobs"} <= modules
    assert len(modules) == len(list(PACKAGE.rglob("*.py")))


BREACHES = [
    (imports, "tasks/matting.py", "import torch"),
    (imports, "tasks/matting.py", "import numpy as np, torch.nn as nn"),
    (imports, "engine/scheduler.py", "from torch.nn import functional as F"),
    (imports, "engine/memory.py", "def f():\n    import torch"),
    (imports, "tasks/matting.py", "from importlib import import_module\nimport_module('torch')"),
    (imports, "tasks/__init__.py", "import importlib\nimportlib.import_module('cv2.dnn')"),
    (imports, "models/model.py", "from torch import cuda"),
    (imports, "models/onnx.py", "import onnxruntime"),
    (imports, "pipeline.py", "from PIL import Image"),
    (imports, "tasks/faces.py", "if TYPE_CHECKING:\n    import cv2"),
    (imports, "jobs/runner.py", "import sqlite3"),
    (imports, "engine/memory.py", "from os import environ"),
    (imports, "image/codec.py", "from concurrent.futures import ThreadPoolExecutor"),
    (imports, "jobs/backend.py", "import threading"),
    (imports, "studio.py", "from rich.progress import Progress"),
    (imports, "cli.py", "import urllib.request"),
    (imports, "cli/serve.py", "import uvicorn"),
    (imports, "jobs/names.py", "import fsspec.core"),
    (imports, "jobs/runner.py", "import asyncio"),
    (imports, "server/routes.py", "import threading"),
    (imports, "server/routes.py", "import http.client"),
    (names, "models/model.py", "model.to(x).cuda()"),
    (names, "engine/memory.py", "torch.backends.cuda.matmul"),
    (names, "cli.py", "os.environ['HOME']"),
    (names, "image/files.py", "import os as system\nsystem.environ"),
    (names, "models/weights.py", "home = os.getenv('HOME')"),
    (names, "studio.py", "print('hello')"),
    (names, "jobs/backend.py", "list(map(print, rows))"),
    (constants, "models/model.py", "x.to('cuda:0')"),
    (constants, "nets/unet.py", "device = 'cuda'"),
    (locks, "jobs/store.py", "a, b = threading.Lock(), RLock()"),
    (naming, "image/utils.py", ""),
    (naming, "helpers/codec.py", ""),
    (naming, "data.py", ""),
    (naming, "engine/engine.py", "class MemoryManager: ..."),
    (naming, "engine/engine.py", "class GPUInfo: ..."),
    (naming, "engine/engine.py", "def request_handler(): ..."),
    (naming, "server/app.py", "async def _data(): ..."),
    (length, "pipeline.py", "x = 1\n" * (LINES + 1)),
]


@pytest.mark.parametrize(("law", "path", "text"), BREACHES)
def test_a_planted_breach_is_found(law: Law, path: str, text: str, tmp_path: Path) -> None:
    """A law that the package keeps is one that would be seen broken."""
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text(text, encoding="utf-8")
    (source,) = sources(tmp_path)
    assert list(law(source))


MEANT = [
    ("nets/unet.py", "import torch\nfrom torch import nn"),
    ("engine/device.py", "import torch.cuda\ntorch.cuda.is_available()"),
    ("models/runtime.py", "import onnxruntime\nx = 'cuda'"),
    ("engine/cuda.py", "import torch.cuda\ntorch.cuda.empty_cache()"),
    ("engine/engine.py", "device = 'cuda:1'"),
    ("settings.py", "import os, tomllib\nos.environ.get('X'), os.getenv('Y'), 'cuda'"),
    ("cli/__init__.py", "from rich.console import Console\nprint('done')"),
    ("cli/batch.py", "import typer"),
    ("jobs/store.py", "import sqlite3, threading\nlock = threading.Lock()"),
    ("engine/engine.py", "import threading\na, b = threading.Lock(), threading.Condition()"),
    ("models/weights.py", "import urllib.request"),
    (
        "tasks/matting.py",
        "from portrayer.image import composite\n'the word torch and cuda in prose'",
    ),
    ("image/metadata.py", "def decoded_data_size(): ...\nclass Information: ...\nprint_size = 3"),
    ("server/app.py", "import asyncio"),
    ("pipeline.py", "x = 1\n" * LINES),
]


@pytest.mark.parametrize(("path", "text"), MEANT)
def test_what_is_meant_is_let_be(path: str, text: str, tmp_path: Path) -> None:
    """No law is so wide that it forbids what a room is for."""
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text(text, encoding="utf-8")
    (source,) = sources(tmp_path)
    assert [breach for law in LAWS for breach in law(source)] == []
