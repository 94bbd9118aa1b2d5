"""What was asked for on the command line, and the photos that are meant by it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from portrayer import storage
from portrayer.errors import InputError
from portrayer.storage import Place, is_url, signature, within
from portrayer.tasks import TASKS
from portrayer.tasks.options import pictures

READABLE = ".jpg .jpeg .jpe .jfif .png .webp .bmp .dib .tif .tiff"
UNREADABLE = ".gif .heic .heif .avif .jxl .jp2"  # tried all the same, so that the reason is told
ENDINGS = frozenset(f"{READABLE} {UNREADABLE}".split())

Entry: TypeAlias = tuple[Path, Path]
"""A photo and the folder its place in the tree is counted from."""


class Photo(NamedTuple):
    """A photo at a path or a URL, its path below the root it was found in, and its signature."""

    place: str
    relative: str
    signature: str


@dataclass(frozen=True, slots=True)
class Request:
    """Photos and folders, a task with its options, and where the results go.

    ``options``: those that differ from the defaults. ``inputs``: paths and URLs, None for stdin.
    ``output``: None for stdout, else a file or a folder, a path or a URL. ``beside``: for a task of
    several inputs, the photos that come before each of ``inputs``, by the inputs' names, absolute.
    ``alone``: whether no other request is made with it.

    Raises:
        InputError: an input does not exist, the output is not for these inputs, or a URL is of no
            store that is known and installed.
    """

    task: str
    options: Mapping[str, Any]
    inputs: list[Place] | None
    output: Place | None
    watch: bool = False
    retry_failed: bool = False
    beside: Mapping[str, Place] = field(default_factory=dict)
    alone: bool = True

    def __post_init__(self) -> None:
        for place in (*self.beside.values(), *(self.inputs or ())):
            storage.check(place)
            if not is_url(place) and not Path(place).exists():
                raise InputError(f"{place} does not exist")
        if self.output is not None:
            storage.check(self.output, output=True)
        for name, place in self.beside.items():
            if is_folder(place):
                raise InputError(f"{place} is a folder: the {name} is one photo")
        if self.inputs is None and self.watch:
            raise InputError("- (stdin) cannot be watched")
        if self.watch and self.far:
            raise InputError("--watch looks at folders of this machine: run again for a URL")
        if self.inputs is None and self.output and _folder_there(self.output):
            raise InputError(f"{self.output} is a folder: what comes from stdin needs a file")
        if self.output is None and not self._one:
            raise InputError("- (stdout) takes one photo: name a folder with -o")
        if not self.single and self.output and names_file(self.output) and not _there(self.output):
            raise InputError(f"{self.output} would be a file, many results need a folder")
        for place in self.inputs or ():
            # Of a bucket nobody knows all names before the first result is written.
            if self.output is not None and is_folder(place) and within(place, self.output):
                raise InputError(f"{place} lies in the output {self.output}: name another output")

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
    def far(self) -> bool:
        """Whether anything of it is a URL."""
        places = (*self.beside.values(), *(self.inputs or ()), self.output or "")
        return any(map(is_url, places))

    @property
    def ahead(self) -> list[Place]:
        """What else is read for each photo: those beside it, and pictures that options name."""
        named = pictures(TASKS[self.task].options, self.options)
        return [*self.beside.values(), *(Path(os.path.abspath(path)) for path in named.values())]

    @property
    def single(self) -> bool:
        """One photo to one named file or to stdout, rather than into a folder."""
        if self.inputs is None or self.output is None:
            return True
        return self._one and names_file(self.output) and not _folder_there(self.output)

    @property
    def _one(self) -> bool:
        return self.inputs is None or (
            self.alone
            and len(self.inputs) == 1
            and not self.watch
            and not is_folder(self.inputs[0])
        )


def names_file(place: Place) -> bool:
    """Whether a place at which nothing may be yet is meant to be a picture, going by its name."""
    return storage.suffix(place).lower() in ENDINGS and not str(place).endswith("/")


def is_folder(place: Place) -> bool:
    """Whether photos are to be looked for in it: a URL that ends with ``/`` or not like a picture.

    Of the web everything is a photo.
    """
    if not is_url(place):
        return Path(place).is_dir()
    return not storage.of_web(place) and not names_file(place)


def _there(place: Place) -> bool:
    return not is_url(place) and Path(place).exists()


def _folder_there(place: Place) -> bool:
    return not is_url(place) and Path(place).is_dir()


def find(request: Request) -> Iterator[Entry]:
    """Photos among the inputs, absolute: files as named, folders searched through.

    Hidden names, the output, the photos beside, links to folders, and what is neither file nor link
    are left out.

    Raises:
        InputError: a folder cannot be read.
    """
    results = None if request.output is None else Path(request.output).resolve()
    beside = set(request.beside.values())
    local = (place for place in request.inputs or () if not is_url(place))
    for named in map(Path, map(os.path.abspath, local)):
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


def listed(request: Request) -> Iterator[Photo]:
    """As :func:`find`, with URLs: objects as named, and what lies below a folder, as it is listed.

    Raises:
        InputError: a folder or an object cannot be read.
    """
    ahead = [signature(*request.ahead)] if request.ahead else []
    for path, top in find(request):
        marks = (*ahead, signature(path))
        yield Photo(str(path), path.relative_to(top).as_posix(), "+".join(marks))
    beside = {str(place) for place in request.beside.values()}
    for named in map(str, filter(is_url, request.inputs or ())):
        if not is_folder(named):
            mark = storage.entry(named).signature
            yield Photo(named, storage.name(named), "+".join((*ahead, mark)))
            continue
        root = named.rstrip("/")
        for entry in storage.walk(root):
            place = entry.place
            own = place in beside or within(place, request.output or "")
            if names_file(place) and not own:
                yield Photo(place, place[len(root) + 1 :], "+".join((*ahead, entry.signature)))


def _is_file(path: Path) -> bool:
    """Not a pipe or a device, which would be waited for; a dead link is told about when read."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True


def _unreadable(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # gone between listing and looking
        raise InputError(f"{error.filename} cannot be read: {error.strerror}") from error
