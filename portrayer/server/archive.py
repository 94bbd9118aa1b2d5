"""Many results as one ZIP: names that are safe on any disk, bytes that never lie in memory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path, PurePosixPath

from zipstream import ZipStream  # type: ignore[import-untyped]

from portrayer.errors import NotReady
from portrayer.jobs.names import fold

LONGEST = 200  # bytes of a name in UTF-8; file systems take 255

# Separators, what Windows reserves, control characters, halves of a character, and what turns the
# direction of writing, so that a name shows another ending than it has.
UNSAFE = re.compile(r"""[<>:"/\\|?*\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]""")

# Whatever their ending, Windows takes these for devices.
DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\.|$)", re.IGNORECASE)


def names(labels: Sequence[tuple[str, str]]) -> list[str]:
    """A file name for each (label, suffix), in order, no two alike.

    The label's stem and the suffix: ``("me.jpg", ".png")`` is ``me.png``, and where that is given
    already ``me-2.png`` and on. Labels are what clients called their photos, anything at all;
    suffixes are the server's own. Names hold no folder and nothing that some system takes amiss,
    and are at most :data:`LONGEST` bytes. Those that differ only in letter case or in how accents
    are encoded count as one. A name that is fine and the first of its kind stays as it is.
    """
    parts = [(_stem(label), suffix) for label, suffix in labels]
    wanted = [_fitted(*part) for part in parts]
    taken = {fold(name) for name in wanted}
    numbers: dict[str, Iterator[int]] = {}
    for place, (stem, suffix) in enumerate(parts):
        key = fold(wanted[place])
        if key not in numbers:
            numbers[key] = count(2)
            continue
        tries = (_fitted(stem, f"-{number}{suffix}") for number in numbers[key])
        wanted[place] = next(name for name in tries if fold(name) not in taken)
        taken.add(fold(wanted[place]))
    return wanted


def _stem(label: str) -> str:
    base = re.split(r"[/\\]", label)[-1]
    return UNSAFE.sub("_", PurePosixPath(base).stem).strip(". ") or "photo"


def _fitted(stem: str, tail: str) -> str:
    room = LONGEST - len(tail.encode()) - 1  # one is for the underscore
    name = stem.encode()[:room].decode(errors="ignore").rstrip(". ") + tail
    return f"_{name}" if DEVICE.match(name) else name


def stream(
    entries: Iterable[tuple[str, Path]], notes: Mapping[str, str]
) -> tuple[int, Iterator[bytes]]:
    """A ZIP of the files, each under its name, and of the ``notes``, name to text: how many bytes
    it has, and those bytes.

    Stored, not deflated: pictures are compressed already. All names must differ (:func:`names`).
    A file that is gone or has another size by the time it is read ends the bytes with an error
    before the end of the archive is written, so that no part ever passes for the whole.

    Raises:
        NotReady: a file is not there now.
    """
    archive = ZipStream(sized=True)
    for name, path in entries:
        try:
            archive.add_path(path, name, recurse=False)
        except OSError as error:
            raise NotReady(f"the result {name} is not there any more") from error
    for name, text in notes.items():
        archive.add(text, name)
    return len(archive), iter(archive)
