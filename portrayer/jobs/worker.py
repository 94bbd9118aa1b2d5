"""One node's share of the work: a pipeline of its own, and the files that travel to it and back."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import psutil

import portrayer
from portrayer import storage
from portrayer.engine.answer import Stats
from portrayer.engine.cores import counting
from portrayer.engine.host import available
from portrayer.engine.memory import parse
from portrayer.errors import CapacityError, OutputError, PortrayerError
from portrayer.jobs.backend import Files
from portrayer.jobs.child import answer as answered
from portrayer.jobs.record import JSON
from portrayer.settings import Settings

FOLDER = "portrayer-node-"  # then the process's number
RESULT = "result"
KEPT = 64  # pictures of options that stay on the node for the next photos


@dataclass(frozen=True, slots=True)
class Errand:
    """An item's work as it travels.

    ``source`` and ``target``: URLs, or paths on the driver's machine, where the file travels.
    ``pictures`` and ``beside``: the paths of other files that do, as they stand in the ``options``.
    The bytes come as further arguments: of each of the ``pictures``, of each ``beside``, and of the
    source, in pieces.
    """

    task: str
    options: Mapping[str, JSON]
    source: str
    target: str
    pictures: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of an errand: what to keep of it, or the error and the errno of its cause.

    ``files``: what is to be written where the target is, the picture last: what the name has after
    the target's stem, and the bytes.
    """

    result: Mapping[str, JSON] | None
    error: Exception | None
    number: int | None
    files: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Birth:
    """A process that is there. ``refusal``: why it can do nothing."""

    token: str
    version: str
    refusal: PortrayerError | None


class Worker:
    """The actor. Its methods are called from as many threads as its pipeline works on photos."""

    def __init__(
        self, opened: Callable[[Settings], Files], settings: Settings, cores: int, sharers: int
    ) -> None:
        """``cores``: those it may count on, of a node whose memory is for so many ``sharers``."""
        self._birth = Birth(uuid4().hex, portrayer.__version__, None)
        self._folder = _folder()
        self._kept: dict[str, None] = {}
        try:
            share = parse(settings.memory, available()) // sharers
            with counting(cores):
                self._files = opened(settings.model_copy(update={"memory": str(share)}))
        except PortrayerError as error:  # raised here, Ray would wrap it in its own
            self._birth = Birth(self._birth.token, portrayer.__version__, error)

    def birth(self) -> Birth:
        """Which process this is; another after each death."""
        return self._birth

    def work(self, errand: Errand, *blobs: bytes) -> Answer:
        """Do it. A target that is a URL is written from here, else its files are in the answer."""
        try:
            with TemporaryDirectory(dir=self._folder) as name:
                return self._work(errand, Path(name), list(blobs))
        except OSError as error:  # this node's own disk: another may do it
            said = f"{storage.name(errand.source)} cannot be kept on the node at work on it"
            return Answer(None, CapacityError(f"{said} ({error.strerror})"), None)

    def figures(self) -> Stats | None:
        """What its engine has done; None where there is none."""
        engine = getattr(self._files, "engine", None)
        return None if engine is None else engine.stats()

    def leave(self) -> None:
        """Remove what it keeps on the node's disk."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _work(self, errand: Errand, folder: Path, blobs: list[bytes]) -> Answer:
        source, target = storage.place(errand.source), storage.place(errand.target)
        out = folder / "out"
        out.mkdir()
        if isinstance(target, Path):
            target = out / f"{RESULT}{target.suffix}"
        places = {path: self._keep(path, blobs.pop(0)) for path in errand.pictures}
        for number, path in enumerate(errand.beside):
            places[path] = str(folder / f"{number}{Path(path).suffix}")
            Path(places[path]).write_bytes(blobs.pop(0))
        if isinstance(source, Path):
            source = folder / f"source{source.suffix}"
            with source.open("wb") as file:
                file.writelines(blobs)
        options = {name: moved(value, places) for name, value in errand.options.items()}
        result, error, code = answered(self._files, errand.task, options, source, target)
        if isinstance(error, OutputError) and isinstance(target, Path):
            raise OSError(code, error.reason)
        if error is not None and not all(map(os.path.exists, places.values())):
            raise OSError(errno.ENOENT, "what it needs besides was removed for others'")
        return Answer(result, error, code, () if error else _read(out))

    def _keep(self, path: str, blob: bytes) -> str:
        """Where a picture lies that many photos want: it is written, and decoded, once for all."""
        place = self._folder / f"{sha256(blob).hexdigest()[:32]}{Path(path).suffix}"
        self._kept.pop(str(place), None)
        self._kept[str(place)] = None  # the last to go
        if not place.exists():
            part = place.with_name(uuid4().hex)
            part.write_bytes(blob)
            part.replace(place)
        for old in list(self._kept)[:-KEPT]:
            self._kept.pop(old, None)
            Path(old).unlink(missing_ok=True)
        return str(place)


def moved(value: JSON, places: Mapping[str, str]) -> JSON:
    """An option's value, its path exchanged for the new place; a word and a colon may stand before
    it.
    """
    if isinstance(value, Mapping):
        return {name: moved(each, places) for name, each in value.items()}
    if not isinstance(value, str) or value in places:
        return places[value] if isinstance(value, str) else value
    word, colon, path = value.partition(":")
    return f"{word}{colon}{places[path]}" if path in places else value


def _folder() -> Path:
    """This process's own on the node's disk; those of processes that died are removed."""
    root = Path(tempfile.gettempdir())
    for old in root.glob(f"{FOLDER}*"):
        number = old.name.removeprefix(FOLDER).partition("-")[0]
        if number.isdigit() and not psutil.pid_exists(int(number)):
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{FOLDER}{os.getpid()}-", dir=root))


def _read(out: Path) -> tuple[tuple[str, bytes], ...]:
    """The results in a folder, the picture's last."""
    found = sorted(out.iterdir(), key=lambda path: path.stem == RESULT)
    return tuple((path.name.removeprefix(RESULT), path.read_bytes()) for path in found)
