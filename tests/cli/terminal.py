"""The command line as a person has it: what they type, and what comes back."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import pytest
import skimage.data
from PIL import Image as Pillow

from portrayer.cli import main
from portrayer.image import codec
from portrayer.types import Image

PROGRAM = (sys.executable, "-m", "portrayer")
# The same for a process that is to hear Ctrl-C, which children of a background job do not.
LISTENING = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "from portrayer.cli import main; main()"
)


@dataclass(frozen=True)
class Outcome:
    """``code``: the exit code; ``out``, ``err``: what was written."""

    code: int
    out: bytes
    err: str

    @property
    def report(self) -> dict[str, Any]:
        """What ``--json`` printed."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found

    @property
    def failed(self) -> dict[str, str]:
        """Name of the photo to the code of what went wrong, of what ``--json`` printed."""
        return {Path(row["file"]).name: row["code"] for row in self.report["failed"]}

    def complaint(self) -> str:
        """The one line on stderr, and nothing on stdout."""
        [line] = self.err.splitlines()
        assert line.startswith("portrayer: ")
        assert self.out == b""
        return line.removeprefix("portrayer: ")


def portrayer(*arguments: object, stdin: bytes = b"") -> Outcome:
    """Run the command line in this process."""
    written = BytesIO(), BytesIO()
    out, err = (TextIOWrapper(raw, "utf-8", write_through=True) for raw in written)
    typed = mock.patch("sys.stdin", TextIOWrapper(BytesIO(stdin)))
    with typed, redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    code = end.value.code
    assert isinstance(code, int)
    return Outcome(code, written[0].getvalue(), written[1].getvalue().decode())


@contextmanager
def started(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """The command line in a process of its own, killed at the end if it still lives."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", LISTENING, *map(str, arguments)]
    with subprocess.Popen(command, **pipes) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


@cache
def astronaut(side: int) -> Image:
    """A portrait of ``side`` x ``side`` pixels, RGB."""
    photograph: Any = skimage.data
    shape = (side, side)
    return np.asarray(cv2.resize(photograph.astronaut(), shape, interpolation=cv2.INTER_AREA))


def photo(path: Path, side: int = 96, shade: int = 0) -> Path:
    """Save a portrait under this name; ``shade`` makes one unlike another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(blob(codec.format_of(path), side, shade))
    return path


def blob(format: str = "jpeg", side: int = 96, shade: int = 0) -> bytes:
    """A portrait as a file."""
    return codec.encode(np.clip(astronaut(side).astype(int) + shade, 0, 255).astype("u1"), format)


def picture(path: Path | bytes) -> tuple[str, tuple[int, int]]:
    """Mode and (width, height) of a file, every pixel of which was read by another library."""
    with Pillow.open(BytesIO(path) if isinstance(path, bytes) else path) as image:
        image.load()
        return image.mode, image.size


def tree(folder: Path, *, wanted: Callable[[Path], bool] = Path.is_file) -> set[str]:
    """Every file below a folder, hidden ones too, the ledger's own folder excepted."""
    names = (path.relative_to(folder) for path in folder.rglob("*") if wanted(path))
    return {name.as_posix() for name in names if name.parts[0] != ".portrayer"}


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Name to (inode, time of writing) of every file of :func:`tree`."""
    stats = {name: (folder / name).stat() for name in tree(folder)}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in stats.items()}
