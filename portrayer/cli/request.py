"""What was asked for on the command line, and the photos that are meant by it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

from portrayer.errors import InputError
from portrayer.tasks import TASKS
from portrayer.tasks.options import pictures

READABLE = ".jpg .jpeg .jpe .jfif .png .webp .bmp .dib .tif .tiff"
UNREADABLE = ".gif .heic .heif .avif .jxl .jp2"  # tried all the same, so that the reason is told
ENDINGS = frozenset(f"{READABLE} {UNREADABLE}".split())

Entry: TypeAlias = tuple[Path, Path]
"""A photo and the folder its place in the tree is counted from."""


@dataclass(frozen=True, slots=True)
class Request:
    """Photos and folders, a task with its options, and where the results go.

    ``options``: those that differ from the defaults. ``inputs``: None for stdin. ``output``: None
    for stdout, else a file or a folder. ``beside``: for a task of several inputs, the photos that
    come before each of ``inputs``, by the inputs' names, absolute. ``alone``: whether no other
    request is made with it.

    Raises:
        InputError: an input does not exist, or the output is not for these inputs.
    """

    task: str
    options: Mapping[str, Any]
    inputs: list[Path] | None
    output: Path | None
    watch: bool = False
    retry_failed: bool = False
    beside: Mapping[str, Path] = field(default_factory=dict)
    alone: bool = True

    def __post_init__(self) -> None:
        for path in (*self.beside.values(), *(self.inputs or ())):
            if not path.exists():
                raise InputError(f"{path} does not exist")
        for name, path in self.beside.items():
            if path.is_dir():
                raise InputError(f"{path} is a folder: the {name} is one photo")
        if self.inputs is None and self.watch:
            raise InputError("- (stdin) cannot be watched")
        if self.inputs is None and self.output and self.output.is_dir():
            raise InputError(f"{self.output} is a folder: what comes from stdin needs a file")
        if self.output is None and not self._one:
            raise InputError("- (stdout) takes one photo: name a folder with -o")
        if not self.single and self.output and names_file(self.output) and not self.output.exists():
            raise InputError(f"{self.output} would be a file, many results need a folder")

    @property
    def job(self) -> str:
        """Its name in the ledger: the task's, and where there are photos beside, one for each."""
        if not self.beside:
            return self.task
        photos = os.fsencode("\0".join(map(str, self.beside.values())))
        return f"{self.task}-{sha256(photos).hexdigest()[:16]}"

    @property
    def wish(self) -> dict[str, Any]:
        """The options of its job: the task's own, and where the photos beside lie."""
        return {**self.options, **{name: str(path) for name, path in self.beside.items()}}

    @property
    def ahead(self) -> list[Path]:
        """What else is read for each photo: those beside it, and pictures that options name."""
        named = pictures(TASKS[self.task].options, self.options)
        return [*self.beside.values(), *(Path(os.path.abspath(path)) for path in named.values())]

    @property
    def single(self) -> bool:
        """One photo to one named file or to stdout, rather than into a folder."""
        if self.inputs is None or self.output is None:
            return True
        return self._one and names_file(self.output) and not self.output.is_dir()

    @property
    def _one(self) -> bool:
        return self.inputs is None or (
            self.alone and len(self.inputs) == 1 and not self.watch and not self.inputs[0].is_dir()
        )


def names_file(path: Path) -> bool:
    """Whether a path that may not exist yet is meant to be a picture, going by its name."""
    return path.suffix.lower() in ENDINGS


def find(request: Request) -> Iterator[Entry]:
    """Photos among the inputs, absolute: files as named, folders searched through.

    Hidden names, the output, the photos beside, links to folders, and what is neither file nor link
    are left out.

    Raises:
        InputError: a folder cannot be read.
    """
    results = request.output and request.output.resolve()
    beside = set(request.beside.values())
    for named in map(Path, map(os.path.abspath, request.inputs or ())):
        if not named.is_dir():
            yield named, named.parent
            continue
        for at, folders, names in os.walk(named, onerror=_unreadable):
            here = Path(at)
            folders[:] = sorted(
                f for f in folders if not f.startswith(".") and (here / f).resolve() != results
            )
            for name in sorted(names):
                path = here / name
                if name.startswith(".") or path in beside:
                    continue
                if names_file(path) and _is_file(path):
                    yield path, named


def signature(*paths: Path) -> str:
    """Tells one content of files from another, without reading them; empty where one is gone."""
    try:
        states = [path.stat() for path in paths]
    except OSError:
        return ""
    return "+".join(f"{state.st_size}-{state.st_mtime_ns}" for state in states)


def _is_file(path: Path) -> bool:
    """Not a pipe or a device, which would be waited for; a dead link is told about when read."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True


def _unreadable(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # gone between listing and looking
        raise InputError(f"{error.filename} cannot be read: {error.strerror}") from error
