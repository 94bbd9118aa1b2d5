"""Which photos go with which: typed in a row, or written down in a table."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from portrayer.errors import InputError
from portrayer.storage import Place, absolute, is_url, place

TOLD = 5  # bad rows told at once

Group: TypeAlias = tuple[Mapping[str, Place], list[Place] | None]
"""The photos beside, by the names of the task's inputs, and those they go with; None for stdin."""


def groups(inputs: Sequence[str], photos: Sequence[str], table: str = "") -> list[Group]:
    """The photos of a task of these ``inputs``, as they were typed: those that go with each first.

    ``table``: a file that :func:`read` knows, instead. Raises :class:`InputError`.
    """
    *names, last = inputs
    if table:
        if photos:
            raise InputError("--pairs names all photos: type none beside it")
        found = read(Path(table), inputs)
        return [(dict(zip(names, beside, strict=True)), each) for beside, each in found.items()]
    if len(photos) <= len(names):
        raise InputError(f"type {', '.join(names)} and at least one {last}, or say --pairs FILE")
    ahead, rest = photos[: len(names)], photos[len(names) :]
    if "-" in ahead or ("-" in rest and len(rest) > 1):
        only = f", as the only {last}" if names else ""
        raise InputError(f"- (stdin) stands alone{only}")
    beside = {name: absolute(place(path)) for name, path in zip(names, ahead, strict=True)}
    return [(beside, None if list(rest) == ["-"] else [place(path) for path in rest])]


def read(table: Path, columns: Sequence[str]) -> dict[tuple[Place, ...], list[Place]]:
    """The rows of a CSV file: the photos of all columns but the last, to those of the last.

    A first row of the columns' names is passed over, empty rows are too. Paths count from the
    file's folder. Raises :class:`InputError` that tells the lines that are wrong.
    """
    found: dict[tuple[Place, ...], list[Place]] = {}
    wrong: list[str] = []
    for number, (line, row) in enumerate(_rows(table)):
        heads = [] if number else [cell.lower() for cell in row]
        if heads == list(columns):
            continue
        cells = [cell if is_url(cell) else table.parent / cell for cell in row if cell]
        paths = [absolute(cell) for cell in cells]
        turned = sorted(heads) == sorted(columns)
        if turned or not len(paths) == len(row) == len(columns):
            wrong.append(f"line {line} is not {','.join(columns)}")
            continue
        missing = [path for path in paths if not (is_url(path) or os.path.exists(path))]
        wrong += [f"line {line}: {path} does not exist" for path in missing[:1]]
        found.setdefault(tuple(paths[:-1]), []).append(paths[-1])
    if wrong:
        more = f"; and {len(wrong) - TOLD} more" if len(wrong) > TOLD else ""
        raise InputError(f"{table}: {'; '.join(wrong[:TOLD])}{more}")
    if not found:
        raise InputError(f"{table} has no row of {','.join(columns)}")
    return found


def _rows(table: Path) -> Iterator[tuple[int, list[str]]]:
    """The number of its last line, and the cells, of every row that is not empty."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, skipinitialspace=True, strict=True)
            try:
                for row in reader:
                    cells = [cell.strip() for cell in row]
                    if any(cells):
                        yield reader.line_num, cells
            except csv.Error as error:
                raise InputError(f"{table}, line {reader.line_num}: {error}") from error
    except OSError as error:
        raise InputError(f"{table} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{table} is not text in UTF-8") from error
