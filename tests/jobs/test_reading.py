"""Laws of what the ledger can be asked, for all texts and pages."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from portrayer.errors import UnknownJob
from portrayer.jobs.names import fold
from portrayer.jobs.record import Item, Job, Standing, State
from portrayer.jobs.store import Store

LETTERS = st.text("aAbBäÄ%_\\'\"\u0308ßsS\udce9", max_size=3)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "jobs.db") as store:
        yield store


def take(store: Store, *jobs: str) -> Item:
    """Claim an item that is known to be there."""
    claimed = store.claim(*jobs)
    assert claimed is not None
    return claimed[1]


@example([("", "Ärger", []), ("", "a", [])], "ä", 1)
@example([("A", "", []), ("", "", ["Anna.jpg", "x"]), ("", "b", [])], "a", 1)
@given(
    jobs=st.lists(st.tuples(LETTERS, LETTERS, st.lists(LETTERS, max_size=3)), max_size=6),
    text=st.text("aAäÄ%_\u0308ß\udce9", max_size=2),
    limit=st.integers(1, 3),
)
@settings(max_examples=60, deadline=None)
def test_a_search_finds_what_contains_the_text(
    jobs: list[tuple[str, str, list[str]]], text: str, limit: int
) -> None:
    """In name, id or a label, letter case aside and every sign as it is; newest first, in pages."""
    found: list[Job] = []
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "jobs.db") as store:
        wanted = []
        for number, (end, name, labels) in enumerate(jobs):
            id = f"{number}" + end.encode("utf-8", "replace").decode()
            rows = ((str(i), f"{i}.png", "", label) for i, label in enumerate(labels))
            job = store.put("matte", {}, rows, id=id, name=name)
            if any(fold(text) in fold(each) for each in (name, id, *labels)):
                wanted.insert(0, job)
        before = None
        while page := store.search(text, before, limit):
            assert len(page) <= limit
            found += page
            before = page[-1].id
    assert found == wanted


def test_a_page_after_a_job_that_is_gone_is_not_the_end(store: Store) -> None:
    """Who asks for it is told, and may begin anew."""
    with pytest.raises(UnknownJob):
        store.search(before="gone")


def test_of_a_new_ledger_there_is_nothing_to_say(store: Store) -> None:
    """Nothing waits, nothing ran, nothing is found."""
    assert store.standing() == Standing(queued={}, running=0, oldest=None)
    assert store.finished() == []
    assert store.search() == store.jobs() == []


def test_what_stands_and_what_is_finished(store: Store) -> None:
    """Queued items by task and priority; a job is finished with its last item, or without any."""
    rows = [("a", "a.png", ""), ("b", "b.png", "")]
    first = store.put("matte", {}, rows, id="first", priority=1)
    store.put("fuse", {}, rows, id="second")
    empty = store.put("fuse", {}, [], id="empty")
    assert store.standing() == Standing({("matte", 1): 2, ("fuse", 0): 2}, 0, first.touched)
    assert store.finished() == [(empty, empty.touched)]
    a, b = take(store), take(store)
    assert store.complete(b, {})
    assert store.standing() == Standing({("fuse", 0): 2}, 1, store.job("second").touched)
    assert store.complete(a, {})
    assert store.finished() == [(empty, empty.touched), (first, store.item(a.id).finished)]
    assert take(store).job == "second"
    assert store.cancel("second") == 2
    assert [job.id for job, _ in store.finished()] == ["empty", "first", "second"]
    assert store.standing() == Standing({}, 0, None)


def test_every_change_of_state_has_the_next_number(store: Store) -> None:
    """Over all jobs, whatever the change; what is no change of state has none."""
    numbers: list[int] = []

    def note(job: str) -> None:
        numbers.extend(item.changed for item in store.changes(job, max(numbers, default=0)))

    rows = [("a", "a.png", ""), ("b", "b.png", "")]
    for job in ("one", "two"):
        store.put("matte", {}, rows, id=job)
        note(job)
    store.put("matte", {}, rows, id="one")  # the same again
    a, b = take(store, "one"), take(store, "one")
    note("one")
    assert [a.changed, b.changed] == numbers[-2:]
    store.complete(b, {})
    store.release(a)
    note("one")
    store.cancel("two")
    note("two")
    assert numbers == list(range(1, 11))
    assert [item.id for item in store.changes("one")] == [b.id, a.id], "in the order of the changes"
    assert [item.state for item in store.changes("two")] == [State.CANCELED] * 2
    assert [len(store.changes("two", 0, limit)) for limit in (1, 2, 3)] == [1, 2, 2]


def test_only_what_is_asked_for_is_known_or_held(store: Store) -> None:
    """Sources of one job, targets of all, the case of a-z aside; however names are encoded."""
    odd = "/in/\udce9'.jpg"
    store.put("matte", {}, [(odd, "/out/\udce9.PNG", ""), ("b", "/out/b.png", "")], id="j")
    store.put("matte", {}, [("s3://in/c", "s3://out/c.png", "")], id="k")
    assert store.known("j", [odd, "s3://in/c", "none"]) == {odd: "/out/\udce9.PNG"}
    places = ["/out/\udce9.png", "s3://OUT/c.png", "none"]
    assert sorted(store.held(places)) == ["/out/\udce9.PNG", "s3://out/c.png"]
    assert store.known("none", ["b"]) == {}
    assert store.held([]) == []
