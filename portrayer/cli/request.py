"""What was asked for on the command line, and the photos that are meant by it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from portrayer.errors import InputError
from portrayer.tasks import TASKS
from portrayer.tasks.options import options, read

READABLE = ".jpg .jpeg .jpe .jfif .png .webp .bmp .dib .tif .tiff"
UNREADABLE = ".gif .heic .heif .avif .jxl .jp2"  # tried all the same, so that the reason is told
ENDINGS = frozenset(f"{READABLE} {UNREADABLE}".split())

Entry: TypeAlias = tuple[Path, Path]
"""A photo and the folder its place in the tree is counted from."""


@dataclass(frozen=True, slots=True)
class Request:
    """Photos and folders, a task with its options, and where the results go.

    ``options``: as :func:`essential` gives them. ``inputs``: None for stdin. ``output``: None for
    stdout, else a file or a folder.

    Raises:
        InputError: an input does not exist, or the output is not for these inputs.
    """

    task: str
    options: Mapping[str, Any]
    inputs: list[Path] | None
    output: Path | None
    watch: bool = False
    retry_failed: bool = False

    def __post_init__(self) -> None:
        for path in self.inputs or ():
            if not path.exists():
                raise InputError(f"{path} does not exist")
        if self.inputs is None and self.watch:
            raise InputError("- (stdin) cannot be watched")
        if self.output is None and not self._one:
            raise InputError("- (stdout) takes one photo: name a folder with -o")
        if not self.single and self.output and names_file(self.output) and not self.output.exists():
            raise InputError(f"{self.output} would be a file, many results need a folder")

    @property
    def single(self) -> bool:
        """One photo to one named file or to stdout, rather than into a folder."""
        if self.inputs is None or self.output is None:
            return True
        return self._one and names_file(self.output) and not self.output.is_dir()

    @property
    def _one(self) -> bool:
        return self.inputs is None or (
            len(self.inputs) == 1 and not self.watch and not self.inputs[0].is_dir()
        )


def names_file(path: Path) -> bool:
    """Whether a path that may not exist yet is meant to be a picture, going by its name."""
    return path.suffix.lower() in ENDINGS


def essential(task: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Options that differ from the defaults, checked and typed: one wish, however it was written.

    Raises :class:`InvalidOption`.
    """
    chosen = read(TASKS[task].options, values)
    given = ((o, getattr(chosen, o.field)) for o in options(TASKS[task].options))
    return {o.name: value for o, value in given if value != o.default}


def find(request: Request) -> Iterator[Entry]:
    """Photos among the inputs, absolute: files as named, folders searched through.

    Hidden names, the output, links to folders, and what is neither file nor link are left out.

    Raises:
        InputError: a folder cannot be read.
    """
    results = request.output and request.output.resolve()
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
                if not name.startswith(".") and names_file(here / name) and _is_file(here / name):
                    yield here / name, named


def signature(path: Path) -> str:
    """Tells one content of a file from another, without reading it; empty for one that is gone."""
    try:
        status = path.stat()
    except OSError:
        return ""
    return f"{status.st_size}-{status.st_mtime_ns}"


def _is_file(path: Path) -> bool:
    """Not a pipe or a device, which would be waited for; a dead link is told about when read."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True


def _unreadable(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # gone between listing and looking
        raise InputError(f"{error.filename} cannot be read: {error.strerror}") from error
