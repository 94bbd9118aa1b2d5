"""Laws of the server's folder: what stays, what goes, and that nothing comes back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portrayer.errors import OutputError
from portrayer.image import files
from portrayer.jobs.backend import LocalBackend, Watch, unwatched
from portrayer.jobs.record import JSON, Item, Job, State
from portrayer.server.backend import ShelfBackend
from portrayer.server.refusal import DiskFull
from portrayer.server.shelf import Shelf, expired

Row = tuple[Job, float, int]


def job(id: str = "j") -> Job:
    return Job(id, "matte", {}, 0, 0.0, 0.0)


def item(shelf: Shelf, id: str = "j") -> Item:
    source, target = str(shelf.photo(id, "000000")), str(shelf.result(id, "000000.png"))
    return Item(1, id, source, target, "", State.RUNNING, 1, None, None, 1.0, None)


def kept(shelf: Shelf, id: str = "j") -> None:
    """A job of one photo."""
    shelf.incoming(id).mkdir(parents=True)
    (shelf.incoming(id) / "000000").write_bytes(b"photo")
    shelf.keep(id)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "at", 0)


@given(
    st.lists(st.tuples(st.floats(0, 100), st.integers(0, 100)), max_size=12),
    st.floats(0, 100),
    st.integers(0, 300),
)
def test_what_is_too_old_or_too_much_goes_the_oldest_first(
    rows: list[tuple[float, int]], keep: float, most: int
) -> None:
    """All that is too old goes; of the rest the oldest, no more than it takes; the newest stays."""
    jobs = [(job(str(n)), end, size) for n, (end, size) in enumerate(sorted(rows))]
    gone = set(expired(jobs, 100.0, keep, most))
    young = [row for row in jobs if row[1] >= 100.0 - keep]
    assert {each.id for each, *_ in jobs} - {each.id for each, *_ in young} <= gone
    stay = [row for row in young if row[0].id not in gone]
    assert stay == young[len(young) - len(stay) :]
    assert stay or not young
    assert sum(size for *_, size in stay) <= most or len(stay) == 1
    if 0 < len(stay) < len(young):
        assert sum(size for *_, size in stay) + young[-len(stay) - 1][2] > most


def test_sizes_are_those_on_the_disk_whatever_changes(shelf: Shelf) -> None:
    """Counted once, and again when a file comes or goes; a job that is gone has none."""
    kept(shelf)
    changes: list[tuple[Callable[[], object], int]] = [
        (lambda: None, 5),
        (lambda: files.write(shelf.result("j", "000000.png"), b"result"), 11),
        (lambda: None, 11),
        (lambda: files.write(shelf.thumbnail("j", "1.webp"), b"small"), 16),
        (lambda: files.write(shelf.result("j", "000000.png"), b"other result"), 22),
        (lambda: shelf.drop("j"), 0),
    ]
    for change, size in changes:
        change()
        assert shelf.sizes(["j", "none"]) == {"j": size, "none": 0}


def test_a_relative_folder_stays_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger keeps paths: they must not depend on where the next server is started."""
    monkeypatch.chdir(tmp_path)
    assert Shelf(Path("at"), 0).photo("j", "x") == tmp_path / "at" / "jobs" / "j" / "in" / "x"


def test_a_sweep_leaves_what_is_known(shelf: Shelf) -> None:
    """Uploads under way, unknown jobs and half-written results go; photos and results stay."""
    kept(shelf)
    kept(shelf, "unknown")
    shelf.incoming("half").mkdir(parents=True)
    files.write(shelf.result("j", "000000.png"), b"result")
    shelf.sweep({"j"})
    found = {path.relative_to(shelf.root) for path in shelf.root.rglob("*") if path.is_file()}
    assert found == {Path("jobs/j/in/000000"), Path("jobs/j/out/000000.png")}
    assert not shelf.incoming("half").exists()
    assert not shelf.folder("unknown").exists()


def test_a_full_disk_is_told_before_it_is_full(tmp_path: Path) -> None:
    """With less free than is to stay free nothing is taken in; without a folder it says so, and
    not where it should be.
    """
    with pytest.raises(DiskFull):
        Shelf(tmp_path, 1 << 60).check()
    with pytest.raises(OutputError) as caught:
        Shelf(tmp_path / "none", 0).check()
    assert str(tmp_path) not in str(caught.value)


def test_held_is_held_until_the_last_lets_go(shelf: Shelf) -> None:
    """However many look at it, in whatever order they end."""
    first, second = shelf.hold("j"), shelf.hold("j")
    with first:
        second.__enter__()
    assert shelf.held("j")
    second.__exit__(None, None, None)
    assert not shelf.held("j")


class Late:
    """Work in whose last stage something happens; then the result is written."""

    workers = 1

    def __init__(self, happens: Callable[[], object]) -> None:
        self.happens = happens

    def process_file(
        self,
        task: str,
        options: Mapping[str, JSON],
        source: Path,
        target: Path,
        watch: Watch = unwatched,
    ) -> Mapping[str, JSON]:
        self.happens()
        files.write(target, b"result")
        return {}


def test_what_is_written_after_its_job_was_removed_goes_too(shelf: Shelf) -> None:
    """A photo in its last stage does not bring back the folder of a job that was purged."""
    kept(shelf)
    ShelfBackend(shelf, LocalBackend(Late(lambda: shelf.drop("j")))).run(
        job(), item(shelf), unwatched
    )
    assert not [path for path in shelf.root.rglob("*") if path.is_file() or path.name == "j"]


def test_what_is_written_while_its_job_is_removed_goes_too(shelf: Shelf) -> None:
    """At whatever moment of the removal that is."""
    with ThreadPoolExecutor(1) as pool:
        for _ in range(30):
            kept(shelf)
            for number in range(1, 300):  # that take their time to go
                shelf.photo("j", f"{number:06}").touch()
            both = Barrier(2)
            backend = ShelfBackend(shelf, LocalBackend(Late(both.wait)))
            written = pool.submit(backend.run, job(), item(shelf), unwatched)
            both.wait()
            shelf.drop("j")
            with suppress(OutputError):  # its folder went before it was there
                written.result()
            assert not shelf.folder("j").exists()


def test_what_is_written_to_a_job_that_is_there_stays(shelf: Shelf) -> None:
    """Also when another was removed."""
    kept(shelf)
    ShelfBackend(shelf, LocalBackend(Late(lambda: shelf.drop("other")))).run(
        job(), item(shelf), unwatched
    )
    assert shelf.result("j", "000000.png").read_bytes() == b"result"
    assert shelf.photo("j", "000000").read_bytes() == b"photo"


def test_no_photo_is_begun_on_a_full_disk(tmp_path: Path) -> None:
    """It fails with the reason, and alone: the rest of the disk is the ledger's."""
    full = Shelf(tmp_path, 1 << 60)
    with pytest.raises(OutputError, match="the disk is full"):
        ShelfBackend(full, LocalBackend(Late(lambda: None))).run(job(), item(full), unwatched)
    assert not full.folder("j").exists()
