"""Laws of the ledger where jobs are long: put page by page, changed together, never walked."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portrayer.errors import InputError, OutputError, UnknownJob
from portrayer.jobs import schema
from portrayer.jobs import store as module
from portrayer.jobs.store import Counts, Failure, Item, State, Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "jobs.db") as store:
        yield store


def entries(n: int) -> Iterator[tuple[str, str, str]]:
    return ((f"s3://in/{i}.jpg", f"s3://out/{i}.png", str(i)) for i in range(n))


def put(store: Store, listing: Iterator[tuple[str, str, str]], page: int) -> None:
    while rows := list(islice(listing, page)):
        store.put("matte", {"size": 1}, rows, id="j")


def take(store: Store) -> Item:
    claimed = store.claim("j")
    assert claimed is not None
    return claimed[1]


@given(put_before=st.integers(0, 12), page=st.integers(1, 14), more=st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_a_listing_cut_off_anywhere_goes_on(put_before: int, page: int, more: int) -> None:
    """What was put can be worked on; listed again, all is there and nothing is done twice."""
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "jobs.db") as store:
        put(store, entries(put_before), page)
        if put_before:
            assert store.complete(take(store), {})
        before = list(store.items("j"))
        put(store, entries(put_before + more), page)
        items = list(store.items("j"))
        assert items[:put_before] == before
        assert [(i.source, i.target, i.signature) for i in items] == list(
            entries(put_before + more)
        )


def test_pages_with_one_output_between_them_are_told(store: Store) -> None:
    """What was put before them stays."""
    with pytest.raises(InputError, match="one output"):
        put(store, iter([("a", "A.png", ""), ("b", "b.png", ""), ("c", "a.PNG", "")]), 2)
    assert store.targets("j") == {"a": "A.png", "b": "b.png"}


def test_changes_together_are_all_or_none(store: Store) -> None:
    """An error in between undoes what came before it; without one all is there, in order."""
    store.put("matte", {}, entries(3), id="j")
    first = take(store)

    def breaks() -> None:
        with store.together() as ledger:
            assert ledger.complete(first, {"faces": 1})
            assert ledger.claim("j") is not None
            ledger.cancel("nope")

    with pytest.raises(UnknownJob):
        breaks()
    assert [i.state for i in store.items("j")] == [State.RUNNING, State.QUEUED, State.QUEUED]
    with store.together() as ledger:
        assert ledger.complete(first, {"faces": 1})
        assert not ledger.complete(first, {}), "only once, here too"
        claimed = ledger.claim("j")
        assert claimed is not None
        assert ledger.counts("j") == Counts(total=3, queued=1, running=1, done=1)
    done, running, _ = store.items("j")
    assert done.result == {"faces": 1}
    assert claimed == (store.job("j"), running)


def test_a_long_ledger_is_not_read_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It opens at once, and damage is told where it is met, in one line that says what to do."""
    path = tmp_path / "jobs.db"
    with Store(path) as store:
        put(store, entries(500), 500)
    raw = bytearray(path.read_bytes())
    raw[8192:-4096] = b"\x5a" * (len(raw) - 12288)
    path.write_bytes(raw)
    monkeypatch.setattr(module, "CHECKED", 1)
    with Store(path) as store, pytest.raises(OutputError, match=r"^job ledger [^\n]*move it away"):
        store.put("matte", {"size": 1}, entries(600), id="j")


def test_a_tried_item_waits_even_for_one_that_is_tried_first(store: Store) -> None:
    """And the other way round: beside a second attempt no first one is begun."""
    put(store, entries(3), 3)
    first, second = take(store), take(store)
    assert store.fail(first, Failure("out-of-memory", "no"), again=True)
    third = take(store)
    assert [second.attempt, third.attempt] == [1, 1]
    assert store.claim("j") is None
    assert store.release(second)
    assert store.release(third)
    for _ in range(2):
        assert store.complete(take(store), {})
    assert take(store).attempt == 2
    put(store, iter([("s3://in/new.jpg", "s3://out/new.png", "")]), 1)
    assert store.claim("j") is None


EACH = {
    "claim": (schema.CLAIM, {"jobs": '["j"]', "now": 0}),
    "settle": (
        f"UPDATE item SET state = 'done' {schema.FENCE}",
        {"id": 1, "attempt": 1, "started": 0},
    ),
    "counts": (schema.COUNTS, ('["j"]',)),
    "missing": (schema.MISSING, ('["j"]',)),
    "put": (schema.PUT_ITEM, ("j", b"a", b"b", "", "", b"")),
    "recover": (schema.LEFT, (None,)),
    "recover one": (schema.LEFT, ("j",)),
}


@pytest.mark.parametrize("name", EACH)
def test_what_is_done_for_each_item_walks_over_none(store: Store, name: str) -> None:
    """Every question that comes with every item finds its rows by an index."""
    query, values = EACH[name]
    with store.together() as ledger:
        plan = [row[-1] for row in ledger._read(f"EXPLAIN QUERY PLAN {query}", values)]
    assert not [step for step in plan if step.startswith("SCAN") and "json_each" not in step]
