"""Laws of naming outputs: no two to one, never over an input, and the same names every time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portrayer.jobs.names import assign, fold, plan, spot
from portrayer.storage import join

ROOTS = [Path("/photos"), Path("/photos/trip"), Path("/out")]
OUTS = [Path("/out"), Path("/photos"), Path("/photos/trip")]
SUFFIXES = [".png", ".jpg", "-matte.png"]

stems = st.sampled_from(["a", "A", "b", "a.jpg", "a.png", "a-matte", "é", "e\u0301", "ß", "SS"])
files = st.builds(
    "{}{}".format, stems, st.sampled_from(["", ".jpg", ".JPG", ".png", "-2.png", "-matte.png"])
)
paths = st.lists(st.one_of(stems, files), max_size=2).flatmap(
    lambda folders: files.map(lambda name: Path(*folders, name))
)
found = st.sampled_from(ROOTS).flatmap(lambda root: paths.map(lambda path: (root / path, root)))
scans = st.lists(found, max_size=12)
outs = st.sampled_from(OUTS)
suffixes = st.sampled_from(SUFFIXES)


@given(scans, outs, suffixes)
def test_no_two_to_one_and_none_over_an_input(
    scan: list[tuple[Path, Path]], out: Path, suffix: str
) -> None:
    """Every picture gets one file of its own below ``out``, even on a disk that folds case."""
    planned = list(plan(scan, out, suffix, {}))
    assert [source for source, _ in planned] == list(dict.fromkeys(path for path, _ in scan))
    targets = [fold(str(target)) for _, target in planned]
    assert len(set(targets)) == len(targets)
    assert not set(targets) & {fold(str(path)) for path, _ in scan}
    roots: dict[Path, Path] = {}
    for path, root in scan:
        roots.setdefault(path, root)
    for source, target in planned:
        assert target.parent == (out / source.relative_to(roots[source])).parent
        assert target.name.startswith(source.stem)
        assert target.name.endswith(suffix)


@given(scans, outs, suffixes)
def test_no_target_is_a_folder_of_another(
    scan: list[tuple[Path, Path]], out: Path, suffix: str
) -> None:
    """A file is never put where the tree of the others needs a folder."""
    targets = [target for _, target in plan(scan, out, suffix, {})]
    folders = {fold(str(folder)) for target in targets for folder in target.parents}
    assert not folders & {fold(str(target)) for target in targets}


@given(scans, scans, outs, suffixes)
def test_a_known_source_keeps_its_name(
    scan: list[tuple[Path, Path]], more: list[tuple[Path, Path]], out: Path, suffix: str
) -> None:
    """A second run over the same and other pictures, results among them, keeps what it can."""
    first = dict(plan(scan, out, suffix, {}))
    taken = {str(source): str(target) for source, target in first.items()}
    results = [(target, out) for target in first.values()]
    second = list(plan([*more, *results, *scan], out, suffix, taken))
    inputs = {path for path, _ in [*more, *scan]} - set(first.values())
    assert {source for source, _ in second} == inputs, "results are not pictures to work on"
    targets = [fold(str(target)) for _, target in second]
    assert len(set(targets)) == len(targets)
    assert not set(targets) & {fold(str(path)) for path in inputs}
    barred = {fold(str(path)) for path in inputs}
    given_away = {fold(str(target)) for target in first.values()}
    barred |= {fold(str(folder)) for _, target in second for folder in target.parents}
    for source, target in second:
        if source in first and fold(str(first[source])) not in barred:
            assert target == first[source]
        if source not in first:
            assert fold(str(target)) not in given_away


@given(scans, outs)
def test_planning_again_changes_nothing(scan: list[tuple[Path, Path]], out: Path) -> None:
    """A plan over its own result is itself."""
    first = list(plan(scan, out, ".png", {}))
    assert list(plan(scan, out, ".png", {str(s): str(t) for s, t in first})) == first


def paged(
    sources: list[tuple[str, str]], out: str | Path, page: int, ledger: dict[str, str], suffix: str
) -> list[tuple[str, str]]:
    """Each page named, and put into the ``ledger`` before the next; what was named, in order."""

    def held(places: Sequence[str]) -> list[str]:
        asked = {place.casefold() for place in places}
        return [target for target in ledger.values() if target.casefold() in asked]

    named: list[tuple[str, str]] = []
    for start in range(0, len(sources), page):
        known = dict(ledger)
        given = assign(sources[start : start + page], out, suffix, known=known, held=held)
        named += [*given]
        ledger |= dict(named)
    return named


trees = st.lists(files, min_size=1, max_size=3).map("/".join)
far = st.lists(st.tuples(st.sampled_from(["s3://a", "s3://b", "/c"]), trees), max_size=12)


@given(far, st.sampled_from(["s3://out", Path("/out")]), suffixes, st.integers(1, 5))
def test_page_by_page_no_two_to_one(
    found: list[tuple[str, str]], out: str | Path, suffix: str, page: int
) -> None:
    """However many are named at once, in any order: a name of its own for each, its tree kept.

    Named again, also in another order and by other pages, each keeps it.
    """
    sources = [(f"{root}/{relative}", relative) for root, relative in found]
    ledger: dict[str, str] = {}
    named = dict(paged(sources, out, page, ledger, suffix))
    assert named.keys() == dict(sources).keys()
    assert len({target.casefold() for target in named.values()}) == len(named)
    for source, relative in sources:
        folder, _, name = named[source].rpartition("/")
        assert Path(folder) == Path(str(join(out, relative))).parent
        assert name.startswith(Path(relative).stem)
        assert name.endswith(suffix)
    assert dict(paged(sources[::-1], out, 6 - page, dict(ledger), suffix)) == named


def test_a_page_leaves_photos_where_they_are(tmp_path: Path) -> None:
    """A name that is barred is given to nobody, not even to who had it; then come the numbers."""
    barred = {spot(str(tmp_path / name)) for name in ("a.png", "a.jpg.png", "a.jpg-2.png")}
    [(_, target)] = assign(
        [("s3://in/a.jpg", "a.jpg")],
        tmp_path,
        ".png",
        known={"s3://in/a.jpg": str(tmp_path / "a.png")},
        held=lambda places: [place for place in places if place.endswith("-3.png")],
        barred=barred,
    )
    assert target == str(tmp_path / "a.jpg-4.png")


def test_names_in_the_order_of_preference(tmp_path: Path) -> None:
    """Stem, then full name, then a number."""
    root, out = tmp_path / "in", tmp_path / "out"
    names = ["a.jpg", "a.webp", "A.JPG", "a.JPG", "sub/a.jpg"]
    planned = plan([(root / name, root) for name in names], out, ".png", {})
    assert [str(target.relative_to(out)) for _, target in planned] == [
        "a.png",
        "a.webp.png",
        "A.JPG.png",
        "a.JPG-2.png",
        "sub/a.png",
    ]


def test_results_in_the_folder_of_the_pictures(tmp_path: Path) -> None:
    """Written beside what was read, results never replace it, nor are they read next time."""
    shots = [(tmp_path / name, tmp_path) for name in ("a.png", "b.jpg")]
    first = list(plan(shots, tmp_path, ".png", {}))
    assert [target.name for _, target in first] == ["a.png.png", "b.png"]
    taken = {str(source): str(target) for source, target in first}
    again = shots + [(target, tmp_path) for _, target in first]
    assert list(plan(again, tmp_path, ".png", taken)) == first


def test_another_format_gets_another_name(tmp_path: Path) -> None:
    """A known target that does not end as asked would be a file whose name lies about it."""
    taken = {str(tmp_path / "a.jpg"): str(tmp_path / "out" / "a.png")}
    [(_, target)] = plan([(tmp_path / "a.jpg", tmp_path)], tmp_path / "out", ".webp", taken)
    assert target == tmp_path / "out" / "a.webp"


def test_a_new_input_over_a_known_target_goes_first(tmp_path: Path) -> None:
    """A picture that a known target would replace on some disk is safe: the target gives way."""
    shot, other = tmp_path / "in" / "a.jpg", tmp_path / "out" / "A.png"
    taken = {str(shot): str(tmp_path / "out" / "a.png")}
    sources = [(shot, shot.parent), (other, other.parent)]
    targets = [target.name for _, target in plan(sources, tmp_path / "out", ".png", taken)]
    assert targets == ["a.jpg.png", "A.png.png"]


def test_a_link_is_no_way_around(tmp_path: Path) -> None:
    """An input is safe under all its names: through a linked folder, and where a link leads."""
    photos, album = tmp_path / "photos", tmp_path / "album"
    photos.mkdir()
    album.mkdir()
    (photos / "a.png").write_bytes(b"a")
    (tmp_path / "out").symlink_to(photos)
    (album / "b.jpg").symlink_to(photos / "b.png")
    sources = [(photos / "a.png", photos), (album / "b.jpg", album)]
    targets = [target.name for _, target in plan(sources, tmp_path / "out", ".png", {})]
    assert targets == ["a.png.png", "b.jpg.png"]


def test_a_thousand_of_one_name_are_planned_in_one_go(tmp_path: Path) -> None:
    """Cameras all say IMG_1.jpg: a thousand folders given at once still get a thousand names."""
    sources = [(tmp_path / str(i) / "IMG_1.jpg", tmp_path / str(i)) for i in range(1000)]
    targets = {target for _, target in plan(sources, tmp_path / "out", ".png", {})}
    assert len(targets) == 1000
    assert tmp_path / "out" / "IMG_1.jpg-999.png" in targets


def test_a_source_must_lie_below_its_root(tmp_path: Path) -> None:
    """No ``..`` leads an output out of its folder."""
    with pytest.raises(ValueError, match="subpath"):
        list(plan([(tmp_path / "in" / ".." / "a.jpg", tmp_path / "in")], tmp_path, ".png", {}))
