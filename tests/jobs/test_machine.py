"""The ledger against a dictionary: whatever is called in whatever order, they agree."""

from __future__ import annotations

import math
import os
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from portrayer.errors import KeyReused, UnknownItem, UnknownJob
from portrayer.jobs import store as module
from portrayer.jobs.record import ALONE, Standing
from portrayer.jobs.store import ATTEMPTS, STARTS, Failure, Item, State, Store

JOBS = ["a", "b", "c"]
FAILURE = Failure("decode", "not a picture")
LOST = (State.FAILED, State.CANCELED)


@dataclass
class Row:
    """What the model knows of one item."""

    order: int
    signature: str
    recipe: str
    state: State = State.QUEUED
    attempt: int = 0
    error: str | None = None
    claim: Item | None = None
    written: bool = False

    def requeue(self, attempt: int, error: str | None) -> None:
        self.state, self.attempt, self.error, self.claim = State.QUEUED, attempt, error, None

    def settle(self, state: State, error: str | None) -> None:
        self.state, self.error, self.claim = state, error, None


@dataclass
class Wish:
    """What the model knows of one job."""

    priority: int
    touched: float
    key: str | None = None
    fingerprint: str = ""
    rows: dict[str, Row] = field(default_factory=dict)

    def count(self, *states: State) -> int:
        return sum(row.state in states for row in self.rows.values())


class Ledger(RuleBasedStateMachine):
    """Few jobs over a few sources; claims are kept for ever, so that stale ones are tried too."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name)
        self.now = 1e9
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(module, "time", lambda: self.now)
        self.store = Store(self.root / "ledger.db")
        self.jobs: dict[str, Wish] = {}
        self.puts = 0
        self.claims: list[Item] = []
        # What somebody knows who asks for changes now and then, and the last number seen, by job.
        self.known: dict[str, dict[int, State]] = {job: {} for job in JOBS}
        self.seen = dict.fromkeys(JOBS, 0)

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()
        self.patch.undo()

    def rows(self, job: str | None, *states: State) -> list[Row]:
        """Those of ``job``, or of all, that are in one of these states."""
        names = self.jobs if job is None else {job} & self.jobs.keys()
        every = (row for name in names for row in self.jobs[name].rows.values())
        return [row for row in every if row.state in states]

    def unknown(self, job: str) -> None:
        for ask in (self.store.job, self.store.counts, self.store.cancel, self.store.remove):
            with pytest.raises(UnknownJob):
                ask(job)

    @initialize()
    def two_empty_jobs(self) -> None:
        for job in JOBS[:2]:
            self.store.put("matte", {"size": 1}, [], id=job)
            self.jobs[job] = Wish(0, self.now)

    @rule(
        job=st.sampled_from(JOBS),
        files=st.dictionaries(st.sampled_from("wxyz"), st.sampled_from("12"), max_size=4),
        size=st.sampled_from([1, 1, 1, 2]),
        priority=st.integers(0, 1),
        key=st.sampled_from([None, None, "k", "l"]),
        fingerprint=st.sampled_from("123"),
    )
    def put(
        self,
        job: str,
        files: dict[str, str],
        size: int,
        priority: int,
        key: str | None,
        fingerprint: str,
    ) -> None:
        entries = ((s, str(self.root / f"{job}-{s}.png"), sign) for s, sign in files.items())

        def put() -> str:
            wish = {"id": job, "priority": priority, "key": key, "fingerprint": fingerprint}
            return self.store.put("matte", {"size": size}, entries, **wish).id

        for name, wish in self.jobs.items():
            if key is not None and wish.key == key:
                if wish.fingerprint == fingerprint:
                    assert put() == name
                else:
                    with pytest.raises(KeyReused):
                        put()
                return
        assert put() == job
        wish = self.jobs.setdefault(job, Wish(priority, self.now, key, fingerprint))
        wish.priority, wish.touched = priority, self.now
        for source, signature in files.items():
            self.puts += 1
            row = wish.rows.setdefault(source, Row(self.puts, signature, str(size)))
            if (row.signature, row.recipe) != (signature, str(size)):
                row.signature, row.recipe = signature, str(size)
                row.requeue(0, None)

    @rule(jobs=st.sets(st.sampled_from(JOBS)))
    def claim(self, jobs: set[str]) -> None:
        best: tuple[int, int, int, int, str, str] | None = None
        for name, wish in self.jobs.items():
            queued = [
                (row.attempt, row.order, name, source)
                for source, row in wish.rows.items()
                if row.state is State.QUEUED and name in (jobs or JOBS)
            ]
            busy = [row.attempt for row in self.rows(name, State.RUNNING)]
            if queued and not (busy and max([min(queued)[0] + 1, *busy]) >= ALONE):
                candidate = (-wish.priority, len(busy), *min(queued))
                best = candidate if best is None else min(best, candidate)
        claimed = self.store.claim(*jobs)
        assert (claimed is None) == (best is None)
        if claimed is not None and best is not None:
            item, row = claimed[1], self.jobs[best[4]].rows[best[5]]
            assert claimed[0] == self.store.job(item.job)
            assert (item.job, item.source) == best[4:]
            row.state, row.attempt, row.claim = State.RUNNING, row.attempt + 1, item
            row.written = False
            assert item.attempt == row.attempt
            self.claims.append(item)

    @precondition(lambda self: self.claims)
    @rule(pick=st.randoms(use_true_random=False), how=st.sampled_from("cfar"))
    def answer(self, pick: Random, how: str) -> None:
        item = pick.choice(self.claims[-6:])
        row = next((row for row in self.rows(None, *State) if row.claim is item), None)
        took = {
            "c": lambda: self.store.complete(item, {"faces": 1}),
            "f": lambda: self.store.fail(item, FAILURE),
            "a": lambda: self.store.fail(item, FAILURE, again=True),
            "r": lambda: self.store.release(item),
        }[how]()
        assert took == (row is not None), "only the current claim may answer"
        if row is None:
            return
        most = STARTS if row.error == "interrupted" else ATTEMPTS
        if how == "c":
            row.settle(State.DONE, None)
        elif how == "r":
            row.requeue(row.attempt - 1, row.error)
        elif how == "a" and row.attempt < most:
            row.requeue(row.attempt, FAILURE.code)
        else:
            row.settle(State.FAILED, FAILURE.code)

    @precondition(lambda self: self.rows(None, State.RUNNING))
    @rule(pick=st.randoms(use_true_random=False))
    def write_output(self, pick: Random) -> None:
        row = pick.choice(self.rows(None, State.RUNNING))
        assert row.claim is not None
        assert row.claim.started is not None
        target = Path(row.claim.target)
        target.write_bytes(b"whole")
        just_after = math.ceil(row.claim.started * 1e9) + 500  # less than any later claim
        os.utime(target, ns=(just_after, just_after))
        row.written = True

    @rule(job=st.sampled_from(JOBS))
    def cancel(self, job: str) -> None:
        if job not in self.jobs:
            return self.unknown(job)
        unwanted = self.rows(job, State.QUEUED, State.RUNNING)
        assert self.store.cancel(job) == len(unwanted)
        for row in unwanted:
            row.settle(State.CANCELED, row.error)

    @rule(job=st.sampled_from(JOBS))
    def retry(self, job: str) -> None:
        if job not in self.jobs:
            return self.unknown(job)
        again = self.rows(job, *LOST)
        assert self.store.retry(job) == len(again)
        self.jobs[job].touched = self.now
        for row in again:
            row.requeue(0, row.error)

    @rule(job=st.sampled_from(JOBS))
    def remove(self, job: str) -> None:
        if job not in self.jobs:
            return self.unknown(job)
        items = list(self.store.items(job))
        removed = self.store.remove(job)
        assert removed == (not self.rows(job, State.QUEUED, State.RUNNING))
        if removed:
            del self.jobs[job]
            for item in items:
                with pytest.raises(UnknownItem):
                    self.store.item(item.id)

    @rule(job=st.sampled_from([*JOBS, None]))
    def recover(self, job: str | None) -> None:
        running = self.rows(job, State.RUNNING)
        assert self.store.recover(job) == len(running)
        for row in running:
            if row.written:
                row.settle(State.DONE, None)
            elif row.attempt >= STARTS:
                row.settle(State.FAILED, "crashed")
            else:
                row.requeue(row.attempt, "interrupted")

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = Store(self.root / "ledger.db")

    @rule(job=st.sampled_from(JOBS), limit=st.integers(1, 4))
    def listen(self, job: str, limit: int) -> None:
        """Whoever asks from the last number seen comes to know how every item stands."""
        known = self.known[job]
        while changes := self.store.changes(job, self.seen[job], limit):
            assert len(changes) <= limit
            for item in changes:
                assert self.seen[job] < item.changed
                known[item.id], self.seen[job] = item.state, item.changed
        now = {item.id: item.state for item in self.store.items(job)}
        assert {id: state for id, state in known.items() if id in now} == now

    @invariant()
    def agree(self) -> None:
        assert [job.id for job in self.store.search()] == [j.id for j in self.store.jobs()][::-1]
        assert {job.id: job.touched for job in self.store.jobs()} == {
            name: wish.touched for name, wish in self.jobs.items()
        }
        numbers = []
        for job, wish in self.jobs.items():
            items = list(self.store.items(job))
            numbers += [item.changed for item in items]
            assert [i.source for i in items] == list(wish.rows)
            for item, row in zip(items, wish.rows.values(), strict=True):
                error = None if item.error is None else item.error.code
                assert (item.state, item.attempt, error) == (row.state, row.attempt, row.error)
                assert 0 <= item.attempt <= STARTS
                assert item == self.store.item(item.id)
                if row.state is State.RUNNING:
                    assert item == row.claim
            counts = self.store.counts(job)
            assert counts.total == len(items)
            for state in State:
                assert getattr(counts, state) == wish.count(state)
        assert len(set(numbers)) == len(numbers)
        self.now += 1  # each step has a moment of its own

    @invariant()
    def agree_on_the_whole(self) -> None:
        queued = Counter[tuple[str, int]]()
        for wish in self.jobs.values():
            queued["matte", wish.priority] += wish.count(State.QUEUED)
        waiting = [wish.touched for wish in self.jobs.values() if wish.count(State.QUEUED)]
        running = len(self.rows(None, State.RUNNING))
        assert self.store.standing() == Standing(+queued, running, min(waiting, default=None))
        finished = {job.id: ended for job, ended in self.store.finished()}
        assert list(finished.values()) == sorted(finished.values())
        assert set(finished) == {
            name for name, wish in self.jobs.items() if not wish.count(State.QUEUED, State.RUNNING)
        }
        for name, ended in finished.items():
            last = max(self.store.items(name), key=lambda item: item.changed, default=None)
            assert ended == (self.jobs[name].touched if last is None else last.finished)


TestLedger = Ledger.TestCase
TestLedger.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
