"""Which file each picture is written to: no two to one, and never over a picture that is read.

:func:`plan` knows all the pictures. :func:`assign` knows a page of them, and asks the ledger.
"""

from __future__ import annotations

import os.path
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import chain, count, islice
from pathlib import Path
from unicodedata import normalize

from portrayer.storage import Place, is_url, join

TRIED = 100  # names of one picture that the ledger is asked for at once


def plan(
    sources: Iterable[tuple[Path, Path]], out: Path, suffix: str, taken: Mapping[str, str]
) -> Iterator[tuple[Path, Path]]:
    """Give each picture a file below ``out``; yields (source, target), absolute, in order.

    ``sources``: pairs of a picture and the root folder it was found in; the tree below the root is
    kept. ``suffix``: the end of every target's name (".png", "-matte.png"). ``taken``: source to
    target of earlier runs, as ``str`` of what this function yielded (:meth:`Store.targets`).

    A source from an earlier run keeps its target as long as that ends with ``suffix``. Else it gets
    stem + suffix; where that is given away already or is one of the pictures, full name + suffix
    (a.jpg.png), then a.jpg-2.png, a.jpg-3.png and on. Names that differ only in letter case or in
    how accents are encoded count as one, since on many disks they are.

    Left out: a source that comes twice, and one that is a target of an earlier run (a folder that
    is read again after results were written into it).

    Raises:
        ValueError: a source is not below its root.
    """
    real = cache(os.path.realpath)

    def place(path: str | Path) -> str:
        """Where a file of this name lies; if it is itself a link, where the link lies."""
        folder, name = os.path.split(os.path.abspath(path))
        return os.path.join(real(folder), name)

    earlier = {os.path.abspath(source): target for source, target in taken.items()}
    results = {place(target) for target in taken.values()}
    roots: dict[Path, Path] = {}
    for path, root in sources:
        if place(path) not in results:
            roots.setdefault(Path(os.path.abspath(path)), Path(os.path.abspath(root)))

    base = Path(os.path.abspath(out))
    homes = {path: base / path.relative_to(root).parent for path, root in roots.items()}
    folders = set(chain.from_iterable((home, *home.parents) for home in set(homes.values())))
    barred = {fold(place(path)) for path in chain(homes, folders)}
    barred |= {fold(os.path.realpath(path)) for path in homes}
    given = {fold(path) for path in results}
    numbers: dict[str, Iterator[int]] = {}

    def names(source: Path, home: Path) -> Iterator[str]:
        yield source.stem + suffix
        yield source.name + suffix
        # Shared by all that want this name, or a thousand IMG_1.jpg would each count from 2.
        for number in numbers.setdefault(fold(str(home / source.name)), count(2)):
            yield f"{source.name}-{number}{suffix}"

    for source, home in homes.items():
        old = earlier.get(str(source))
        if old is not None and old.endswith(suffix) and fold(place(old)) not in barred:
            yield source, Path(os.path.abspath(old))
            continue
        for name in names(source, home):
            spot = fold(place(home / name))
            if spot not in barred and spot not in given:
                given.add(spot)
                yield source, home / name
                break


def assign(
    sources: Iterable[tuple[str, str]],
    out: Place,
    suffix: str,
    *,
    known: Mapping[str, str],
    held: Callable[[Sequence[str]], Iterable[str]],
    barred: Container[str] = frozenset(),
) -> Iterator[tuple[str, str]]:
    """As :func:`plan`, for a page of pictures at paths or URLs; yields (source, target), in order.

    ``sources``: pairs of a picture and its path below the root it was found in, with ``/``.
    ``known``: the targets in the ledger of those that it has. ``held``: which of these places are
    targets of any picture there, letter case aside. ``barred``: :func:`spot` of pictures that are
    read, as far as a result may meet them.

    No name is given twice if each page is in the ledger before the next one is named, in whatever
    order the pictures come.
    """
    page = dict(sources)
    kept = {
        source: old
        for source in page
        if (old := known.get(source)) is not None and old.endswith(suffix)
        if spot(old) not in barred
    }

    def names(relative: str) -> Iterator[str]:
        folder, slash, name = relative.rpartition("/")
        numbered = (f"{name}-{number}" for number in count(2))
        for stem in chain((Path(name).stem, name), numbered):
            yield str(join(out, f"{folder}{slash}{stem}{suffix}"))

    fresh = {source: names(relative) for source, relative in page.items() if source not in kept}
    tried = {source: list(islice(each, 2)) for source, each in fresh.items()}
    given = set(map(fold, held([*chain.from_iterable(tried.values())])))

    for source in page:
        target = kept.get(source)
        while target is None:
            free = (name for name in tried[source] if fold(name) not in given)
            target = next((name for name in free if spot(name) not in barred), None)
            if target is None:
                tried[source] = list(islice(fresh[source], TRIED))
                given.update(map(fold, held(tried[source])))
        given.add(fold(target))
        yield source, target


def spot(place: str) -> str:
    """Where a file of this name lies, folded; if it is itself a link, where the link lies."""
    if is_url(place):
        return fold(place)
    folder, name = os.path.split(os.path.abspath(place))
    return fold(os.path.join(os.path.realpath(folder), name))


def fold(path: str) -> str:
    """What two paths share exactly if some file system could take them for one."""
    return normalize("NFD", normalize("NFD", path).casefold())
