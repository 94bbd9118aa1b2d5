"""Laws of the ledger that a dictionary cannot show: files, processes, names, errors."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from portrayer.errors import InputError, KeyReused, OutputError, UnknownItem, UnknownJob
from portrayer.jobs import reading
from portrayer.jobs import store as module
from portrayer.jobs.store import ATTEMPTS, STARTS, Counts, Failure, Item, State, Store

ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / ".portrayer" / "jobs.db") as store:
        yield store


def entries(n: int, signature: str = "1") -> Iterator[tuple[str, str, str]]:
    return ((f"in/{i}.jpg", f"out/{i}.png", signature) for i in range(n))


def take(store: Store) -> Item:
    """Claim an item of job "j" that is known to be there."""
    claimed = store.claim("j")
    assert claimed is not None
    return claimed[1]


def when(moment: float | None) -> float:
    """A moment that is known to have come."""
    assert moment is not None
    return moment


def start(program: str, store: Store) -> subprocess.Popen[str]:
    """Run ``program`` in a process of its own, with the ledger's path as argument."""
    command = [sys.executable, "-c", program, str(store.path)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT)


def say(program: subprocess.Popen[str]) -> str:
    """The next line of a program."""
    assert program.stdout is not None
    return program.stdout.readline().strip()


def test_what_is_put_is_read_back(store: Store) -> None:
    """A job and its items come back as they were given, in that order."""
    job = store.put("matte", {"format": "png", "size": 3}, entries(3), priority=2)
    assert store.job(job.id) == job
    assert store.jobs() == [job]
    assert [(i.source, i.target, i.signature) for i in store.items(job.id)] == list(entries(3))
    assert store.targets(job.id) == {source: target for source, target, _ in entries(3)}
    assert store.counts(job.id) == Counts(total=3, queued=3)


def test_jobs_have_names_and_pictures_have_labels(store: Store) -> None:
    """What the user calls them comes back, valid UTF-8 or not; a job's last name counts."""
    rows = [("0", "0.png", "", "Anna.jpg"), ("1", "1.png", "", "caf\udce9.jpg"), ("2", "2.png", "")]
    job = store.put("matte", {}, rows, name="wedding\udce9")
    assert store.job(job.id).name == "wedding\udce9"
    assert [item.label for item in store.items(job.id)] == ["Anna.jpg", "caf\udce9.jpg", ""]
    assert store.put("matte", {}, [], id=job.id, name="birthday").name == "birthday"


def test_a_job_knows_when_it_was_last_asked_for(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Put and retry touch it; nothing else does, and it was created once."""
    now = 1e9
    monkeypatch.setattr(module, "time", lambda: now)
    store.put("matte", {}, entries(2), id="j")
    now += 1
    store.fail(take(store), Failure("decode", "no"))
    store.cancel("j")
    assert (store.job("j").created, store.job("j").touched) == (1e9, 1e9)
    store.retry("j")
    assert store.job("j").touched == now
    now += 1
    assert (store.put("matte", {}, [], id="j").touched, store.job("j").created) == (now, 1e9)


def test_a_key_makes_one_job(store: Store) -> None:
    """The second time nothing is written, nor are its pictures asked for; another wish is told."""

    def unasked() -> Iterator[tuple[str, str, str]]:
        pytest.fail("read although nothing is written")
        yield "", "", ""

    job = store.put("matte", {}, entries(2), key="k", fingerprint="f")
    other = store.put("enhance", {}, unasked(), id="other", name="x", key="k", fingerprint="f")
    assert other == job == store.job(job.id)
    with pytest.raises(KeyReused, match="the key k came before"):
        store.put("matte", {}, unasked(), key="k", fingerprint="g")
    assert store.jobs() == [job]
    assert store.put("matte", {}, [], id="other", key="l") != job
    assert store.cancel(job.id) == 2
    assert store.remove(job.id)
    assert store.put("matte", {}, [], key="k", fingerprint="g").id != job.id, "free again"


def test_many_with_one_key_make_one_job(tmp_path: Path) -> None:
    """However many ask at once, each with a ledger of its own: all are given the same job."""
    start = threading.Barrier(6)
    Store(tmp_path / "jobs.db").close()

    def ask(n: int) -> str:
        with Store(tmp_path / "jobs.db") as store:
            start.wait(timeout=20)
            return store.put("matte", {}, entries(50), id=str(n), key="k").id

    with ThreadPoolExecutor(6) as pool:
        [id] = set(pool.map(ask, range(6)))
    with Store(tmp_path / "jobs.db") as store:
        assert [job.id for job in store.jobs()] == [id]
        assert store.counts(id).total == 50


def test_results_and_failures_are_kept(store: Store) -> None:
    """What an item answered is in its row, across a restart."""
    store.put("matte", {}, entries(2), id="j")
    odd: Any = Path("x")  # a backend's slip, not worth losing a picture over
    assert store.complete(take(store), {"faces": [1, 2], "where": odd})
    assert store.fail(take(store), Failure("decode", "in/1.jpg: not a picture"))
    store.close()
    with Store(store.path) as again:
        done, failed = again.items("j")
    assert (done.state, done.result, done.error) == (
        State.DONE,
        {"faces": [1, 2], "where": "x"},
        None,
    )
    assert (failed.state, failed.error) == (
        State.FAILED,
        Failure("decode", "in/1.jpg: not a picture"),
    )
    assert when(done.started) <= when(done.finished)


def test_closed_while_it_is_used(store: Store) -> None:
    """What is under way is done, and then the file is closed for good."""

    def rows() -> Iterator[tuple[str, str, str]]:
        yield "a.jpg", "a.png", ""
        store.close()

    store.put("matte", {}, rows(), id="j")
    assert not any(file.path.startswith(str(store.path)) for file in psutil.Process().open_files())
    with pytest.raises(ValueError, match="closed"):
        store.jobs()
    with Store(store.path) as again:
        assert again.counts("j").queued == 1


def test_a_failed_put_leaves_nothing(store: Store) -> None:
    """A put is one transaction: if its entries break off, or two share a target, nothing stays."""

    def breaks_off() -> Iterator[tuple[str, str, str]]:
        yield from entries(5)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.put("matte", {}, breaks_off(), id="j")
    with pytest.raises(InputError, match="one output"):
        store.put("matte", {}, [("a", "out/A.png", ""), ("b", "out/a.PNG", "")], id="j")
    assert store.jobs() == []
    store.put("matte", {}, entries(5), id="j")
    assert store.counts("j").total == 5


def test_put_reads_its_entries_one_by_one(store: Store) -> None:
    """Entries are streamed: the store may be asked while they are made, as names are."""

    def asks() -> Iterator[tuple[str, str, str]]:
        for entry in entries(3):
            assert store.targets("j") == {}, "not there before it is whole"
            yield entry

    store.put("matte", {}, asks(), id="j")
    assert len(store.targets("j")) == 3


def test_stale_options_are_noticed_late(store: Store) -> None:
    """A picture done with old options is queued again when it is put, however late that is."""
    store.put("matte", {"size": 1}, entries(2), id="j")
    while claimed := store.claim("j"):
        store.complete(claimed[1], {})
    store.put("matte", {"size": 2}, list(entries(2))[:1], id="j")
    assert [i.state for i in store.items("j")] == [State.QUEUED, State.DONE]
    store.put("matte", {"size": 2}, entries(2), id="j")
    assert [i.state for i in store.items("j")] == [State.QUEUED, State.QUEUED]


def test_pages_join_without_gap_or_overlap(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Items read in pages of any size are the items, in order; so are those of one state."""
    monkeypatch.setattr(reading, "PAGE", 3)
    store.put("other", {}, entries(4), id="other")
    store.put("matte", {}, entries(10), id="j")
    for _ in range(4):
        store.complete(take(store), {})
    everything = list(store.items("j"))
    assert [i.source for i in everything] == [f"in/{i}.jpg" for i in range(10)]
    assert list(store.items("j", State.DONE)) == everything[:4]
    for limit in (1, 3, 4, 10, 11):
        read, after = [], 0
        while page := list(store.items("j", after=after, limit=limit)):
            assert len(page) <= limit
            read += page
            after = page[-1].id
        assert read == everything


def test_names_need_not_be_text(store: Store) -> None:
    """Any file name the system knows is kept exactly, valid UTF-8 or not."""
    names = ["caf\udce9.jpg", "ünï.jpg", "\U0001f600.jpg", "a'b\"c;--.jpg", "new\nline.jpg"]
    store.put(
        "matte", {}, [(n, n + ".png", n.encode("utf-8", "replace").hex()) for n in names], id="j"
    )
    assert store.targets("j") == {n: n + ".png" for n in names}
    item = take(store)
    assert item.source == names[0]
    assert store.fail(item, Failure("decode", f"{item.source}: no"))
    assert next(store.items("j")).error == Failure("decode", f"{names[0]}: no")


def test_an_unknown_job_is_said_to_be_unknown(store: Store) -> None:
    """Asking about a job that is not there is UnknownJob; for claim and targets it is nothing."""
    for ask in (store.job, store.counts, store.cancel, store.retry, store.remove):
        with pytest.raises(UnknownJob):
            ask("nope")
    with pytest.raises(UnknownItem):
        store.item(1)
    assert store.changes("nope") == []
    assert store.claim("nope") is None
    assert store.targets("nope") == {}


def test_recover_takes_an_output_only_if_it_is_newer_and_not_empty(
    store: Store, tmp_path: Path
) -> None:
    """A crash after the output was moved into place costs no work; an older or empty one does."""
    old, empty, whole, none = (tmp_path / name for name in ("old", "empty", "whole", "none"))
    old.write_bytes(b"of an earlier run")
    targets = [old, empty, whole, none]
    store.put("matte", {}, [(t.name, str(t), "") for t in targets], id="j")
    last = max(when(take(store).started) for _ in targets)
    empty.touch()
    whole.write_bytes(b"whole")
    for path in (empty, whole):
        os.utime(path, (last + 1, last + 1))
    assert store.recover("j") == 4
    states = {i.source: i.state for i in store.items("j")}
    assert states.pop("whole") is State.DONE
    assert set(states.values()) == {State.QUEUED}


def test_a_program_that_always_dies_comes_to_an_end(store: Store) -> None:
    """Twenty deaths of the program condemn no item; one that goes on killing it is given up."""
    store.put("matte", {}, entries(1), id="j")
    for death in range(1, STARTS):
        assert take(store).attempt == death
        store.recover("j")
        [item] = store.items("j")
        assert (item.state, item.interrupted, item.suspect) == (State.QUEUED, True, True)
    assert death > 20
    take(store)
    store.recover("j")
    [item] = store.items("j")
    assert (item.state, item.error and item.error.code) == (State.FAILED, "crashed")


@pytest.mark.parametrize("deaths", [0, 1, 2, 3, 9])
def test_only_what_was_seen_to_fail_twice_running_is_given_up(store: Store, deaths: int) -> None:
    """Three attempts, and more where the program died in some: a death of it is never the last."""
    short = Failure("out-of-memory", "too large")
    store.put("matte", {}, entries(1), id="j")
    for _ in range(deaths):
        take(store)
        store.recover("j")
    tries = 0
    while claimed := store.claim("j"):
        assert store.fail(claimed[1], short, again=True)
        tries += 1
    assert tries == max(ATTEMPTS - deaths, 2 if deaths else 0)
    [item] = store.items("j")
    assert (item.state, item.error) == (State.FAILED, short)


def test_suspicion_outlasts_a_retry_but_not_an_answer_or_another_picture(store: Store) -> None:
    """What crashed is still suspect when asked for again, until it is done or its file changed."""

    def suspects() -> list[bool]:
        return [item.suspect for item in store.items("j")]

    store.put("matte", {}, entries(2), id="j")
    for item in (take(store), take(store)):
        store.fail(item, Failure("crashed", "died"))
    assert store.retry("j") == 2
    assert suspects() == [True, True]
    store.complete(take(store), {})
    store.put("matte", {}, [("in/1.jpg", "out/1.png", "changed")], id="j")
    assert suspects() == [False, False]


def test_a_forged_claim_changes_nothing(store: Store) -> None:
    """Attempt and start must both be those of the running claim."""
    store.put("matte", {}, entries(1), id="j")
    item = take(store)
    for forged in (
        replace(item, attempt=2),
        replace(item, started=when(item.started) - 1),
        replace(item, id=item.id + 1),
    ):
        assert not store.complete(forged, {})
        assert not store.fail(forged, Failure("x", "x"))
        assert not store.release(forged)
    assert store.complete(item, {})
    assert not store.complete(item, {}), "nor the true one a second time"


def test_the_fence_holds_when_the_clock_stands_still(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim given back and taken again is another claim, whatever the clock says."""
    monkeypatch.setattr(module, "time", lambda: 1e9)
    store.put("matte", {}, entries(1), id="j")
    first = take(store)
    assert store.release(first)
    second = take(store)
    assert first.attempt == second.attempt == 1
    assert not store.complete(first, {})
    assert store.complete(second, {})


def test_jobs_of_one_priority_share_the_workers(store: Store) -> None:
    """Who has the fewest pictures at work is next, whoever came first; a higher one before all."""
    for job, n, priority in (("long", 20, 0), ("short", 2, 0), ("urgent", 2, 1)):
        rows = ((f"{i}", f"{i}.png", "") for i in range(n))
        store.put("matte", {}, rows, id=job, priority=priority)
    taken = [claimed[0].id for _ in range(8) if (claimed := store.claim())]
    assert taken == ["urgent"] * 2 + ["long", "short"] * 2 + ["long"] * 2


CLAIMER = """
import sys
from pathlib import Path
from portrayer.jobs.store import Store
with Store(Path(sys.argv[1])) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    while claimed := store.claim("j"):
        print(claimed[1].id, store.complete(claimed[1], {}))
"""


def test_two_processes_never_claim_one_item(store: Store) -> None:
    """Claims are atomic between processes: together they get every item, none of them twice."""
    store.put("matte", {}, entries(80), id="j")
    with start(CLAIMER, store) as one, start(CLAIMER, store) as other:
        assert [say(one), say(other)] == ["ready", "ready"]
        for claimer in (one, other):
            assert claimer.stdin is not None
            claimer.stdin.write("go\n")
            claimer.stdin.flush()
        got = [claimer.communicate(timeout=60)[0].splitlines() for claimer in (one, other)]
    lines = got[0] + got[1]
    assert len(lines) == 80
    assert {line.split()[1] for line in lines} == {"True"}
    assert len({line.split()[0] for line in lines}) == 80
    assert store.counts("j") == Counts(total=80, done=80)


def test_threads_share_a_store(store: Store) -> None:
    """One store serves many threads; no call sees another's half-done work."""
    store.put("matte", {}, entries(60), id="j")

    def work(_: int) -> list[int]:
        mine = []
        while claimed := store.claim("j"):
            counts = store.counts("j")
            assert counts.queued + counts.running + counts.done == 60
            assert store.complete(claimed[1], {})
            mine.append(claimed[1].id)
        return mine

    with ThreadPoolExecutor(4) as pool:
        ids = [id for mine in pool.map(work, range(4)) for id in mine]
    assert len(ids) == len(set(ids)) == 60


def test_many_may_make_the_ledger_at_once(tmp_path: Path) -> None:
    """Whoever comes first lays out the file; the others find it ready."""

    start = threading.Barrier(6)

    def open_and_put(n: int) -> None:
        start.wait(timeout=20)
        with Store(tmp_path / "jobs.db") as store:
            store.put("matte", {}, entries(2), id=str(n))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(open_and_put, range(6)))
    with Store(tmp_path / "jobs.db") as store:
        assert len(store.jobs()) == 6


def test_own_is_for_one(store: Store) -> None:
    """The ledger has one owner at a time, and is free again when the owner lets go."""
    with Store(store.path) as other:
        with (
            store.own(),
            pytest.raises(OutputError, match="another portrayer is working in this folder"),
            other.own(),
        ):
            pytest.fail("two owners")
        with other.own():
            pass


OWNER = """
import sys
from pathlib import Path
from portrayer.jobs.store import Store
with Store(Path(sys.argv[1])) as store, store.own():
    print("mine", flush=True)
    sys.stdin.read()
"""


def test_a_killed_owner_owns_nothing(store: Store) -> None:
    """The lock dies with its process, even on kill -9: nobody has to delete a file."""
    with start(OWNER, store) as owner:
        assert say(owner) == "mine"
        with pytest.raises(OutputError), store.own():
            pytest.fail("two owners")
        owner.kill()
    with store.own():
        pass


# What version 1 of the ledger was made with, and one job of it.
OLD = """
CREATE TABLE job (
    id TEXT PRIMARY KEY, task TEXT NOT NULL, options TEXT NOT NULL,
    priority INTEGER NOT NULL, created REAL NOT NULL
);
CREATE TABLE item (
    id INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT NOT NULL REFERENCES job (id),
    source TEXT NOT NULL, target TEXT NOT NULL, signature TEXT NOT NULL, recipe TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'queued'
        CHECK (state IN ('queued', 'running', 'done', 'failed', 'canceled')),
    attempt INTEGER NOT NULL DEFAULT 0, error TEXT, result TEXT, started REAL, finished REAL,
    UNIQUE (job, source), UNIQUE (job, target COLLATE NOCASE)
);
CREATE INDEX item_state ON item (job, state, attempt, id);
CREATE INDEX item_order ON item (job, id);
CREATE TABLE tally (
    job TEXT NOT NULL, state TEXT NOT NULL, items INTEGER NOT NULL, PRIMARY KEY (job, state)
) WITHOUT ROWID;
CREATE TRIGGER item_added AFTER INSERT ON item BEGIN
    INSERT INTO tally VALUES (new.job, new.state, 1)
    ON CONFLICT (job, state) DO UPDATE SET items = items + 1;
END;
CREATE TRIGGER item_moved AFTER UPDATE OF state ON item WHEN old.state <> new.state BEGIN
    UPDATE tally SET items = items - 1 WHERE job = old.job AND state = old.state;
    INSERT INTO tally VALUES (new.job, new.state, 1)
    ON CONFLICT (job, state) DO UPDATE SET items = items + 1;
END;
PRAGMA user_version = 1;
PRAGMA journal_mode = WAL;
INSERT INTO job VALUES ('j', 'matte', '{"size": 1}', 2, 1e9);
INSERT INTO item (job, source, target, signature, recipe) VALUES
    ('j', 'in/0.jpg', 'out/0.png', '1', ''), ('j', 'in/1.jpg', 'out/1.png', '1', ''),
    ('j', 'in/2.jpg', 'out/2.png', '1', '');
UPDATE item SET state = 'running', attempt = 1, started = 1e9 + 1 WHERE id = 2;
UPDATE item SET state = 'done', result = '{"faces": 1}', finished = 1e9 + 2 WHERE id = 2;
"""


def old(path: Path, more: str = "") -> None:
    connection = sqlite3.connect(path)
    connection.executescript(OLD + more)
    connection.close()


def test_an_old_ledger_is_brought_over(tmp_path: Path) -> None:
    """By the first of many who open it; nothing is lost, and it can do all that a new one can."""
    path, start = tmp_path / "jobs.db", threading.Barrier(4)
    old(path)

    def open_it(_: int) -> list[Item]:
        start.wait(timeout=20)
        with Store(path) as store:
            return list(store.items("j"))

    with ThreadPoolExecutor(4) as pool:
        items, *others = pool.map(open_it, range(4))
    assert others == [items] * 3
    assert [(i.source, i.target, i.signature) for i in items] == list(entries(3))
    assert [item.state for item in items] == [State.QUEUED, State.DONE, State.QUEUED]
    assert (items[1].result, items[1].finished, items[1].label) == ({"faces": 1}, 1e9 + 2, "")
    with Store(path) as store:
        job = store.job("j")
        assert (job.options, job.priority, job.created) == ({"size": 1}, 2, 1e9)
        assert (job.touched, job.name) == (1e9, "")
        assert store.counts("j") == Counts(total=3, queued=2, done=1)
        seen = [item.changed for item in store.changes("j")]
        assert seen == sorted(set(seen))
        assert len(seen) == 3
        first = take(store)
        assert store.changes("j", after=seen[-1]) == [first]
        assert store.cancel("j") == 2
        assert store.put("matte", {}, entries(1), key="k") == store.put("x", {}, [], key="k")
        assert store.remove("j")


def test_an_old_ledger_is_brought_over_whole_or_not_at_all(tmp_path: Path) -> None:
    """Where the last step cannot be done, none of them was."""
    path = tmp_path / "jobs.db"
    old(path, "CREATE INDEX tally_state ON tally (state);")
    with pytest.raises(OutputError):
        Store(path)
    connection = sqlite3.connect(path)
    [(version,)] = connection.execute("PRAGMA user_version")
    columns = [name for _, name, *_ in connection.execute("PRAGMA table_info (job)")]
    connection.close()
    assert (version, columns) == (1, ["id", "task", "options", "priority", "created"])


def damage_nothing_to_read(path: Path) -> None:
    path.write_bytes(b"this is no database at all, but it is long enough to look at" * 100)


def damage_pages(path: Path) -> None:
    with Store(path) as store:
        store.put("matte", {}, entries(500), id="j")
    raw = bytearray(path.read_bytes())
    raw[8192:-4096] = b"\x5a" * (len(raw) - 12288)
    path.write_bytes(raw)


def damage_newer(path: Path) -> None:
    Store(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()


def damage_foreign(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE item (somebody_elses TEXT)")
    connection.close()


def damage_folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (damage_nothing_to_read, "move it away"),
        (damage_pages, "move it away"),
        (damage_newer, "newer Portrayer: upgrade"),
        (damage_foreign, "not a job ledger"),
        (damage_folder, "check the folder"),
    ],
)
def test_a_file_that_is_no_ledger_is_refused_and_left_alone(
    damage: Callable[[Path], None], says: str, tmp_path: Path
) -> None:
    """One line that says what to do, and not a byte of the file is changed."""
    path = tmp_path / "jobs.db"
    damage(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(OutputError, match=says) as caught:
        Store(path)
    assert "\n" not in str(caught.value)
    assert before == (path.read_bytes() if path.is_file() else None)


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    """A file where the ledger's folder should be is the caller's to fix."""
    (tmp_path / "out").write_bytes(b"a file")
    with pytest.raises(OutputError, match="cannot make"):
        Store(tmp_path / "out" / ".portrayer" / "jobs.db")


def test_a_full_disk_is_an_output_error_and_loses_nothing(store: Store) -> None:
    """If the file cannot grow, the call says so in one line, and the ledger is as it was before."""
    resource = pytest.importorskip("resource")
    store.put("matte", {}, entries(5), id="j")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(OutputError, match=r"^job ledger [^\n]*run again$"):
            store.put("matte", {}, entries(20_000), id="j")
        assert store.counts("j").total == 5
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    store.put("matte", {}, entries(6), id="j")
    assert store.counts("j").total == 6


def test_a_check_says_whether_the_ledger_can_be_written(store: Store) -> None:
    """It changes nothing, and raises where the next change would."""
    resource = pytest.importorskip("resource")
    store.put("matte", {}, entries(5), id="j")
    before = list(store.items("j"))
    store.check()
    log = store.path.with_name(f"{store.path.name}-wal")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size, hard))
    try:
        with pytest.raises(OutputError):
            store.check()
        with pytest.raises(OutputError):
            store.cancel("j")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    store.check()
    assert list(store.items("j")) == before


def test_a_closed_store_is_closed(store: Store) -> None:
    """Use after close is a mistake of the program and is not passed over."""
    store.close()
    store.close()
    with pytest.raises(ValueError, match="closed"):
        store.jobs()
