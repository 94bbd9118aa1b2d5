"""The ledger against a dictionary: whatever is called in whatever order, they agree."""

from __future__ import annotations

import math
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from portrayer.jobs.record import ALONE
from portrayer.jobs.store import ATTEMPTS, STARTS, Failure, Item, State, Store

JOBS = ["a", "b"]
FAILURE = Failure("decode", "not a picture")


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


class Ledger(RuleBasedStateMachine):
    """Two jobs over a few sources; claims are kept for ever, so that stale ones are tried too."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name)
        self.store = Store(self.root / "ledger.db")
        self.rows: dict[tuple[str, str], Row] = {}
        self.priority: dict[str, int] = {}
        self.claims: list[Item] = []

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    def of(self, job: str | None) -> dict[tuple[str, str], Row]:
        return {key: row for key, row in self.rows.items() if job in (None, key[0])}

    def running(self, job: str | None) -> list[Row]:
        return [row for row in self.of(job).values() if row.state is State.RUNNING]

    @initialize()
    def two_empty_jobs(self) -> None:
        for job in JOBS:
            self.store.put("matte", {"size": 1}, [], id=job)
            self.priority[job] = 0

    @rule(
        job=st.sampled_from(JOBS),
        files=st.dictionaries(st.sampled_from("wxyz"), st.sampled_from("12"), max_size=4),
        size=st.sampled_from([1, 1, 1, 2]),
        priority=st.integers(0, 1),
    )
    def put(self, job: str, files: dict[str, str], size: int, priority: int) -> None:
        entries = ((s, str(self.root / f"{job}-{s}.png"), sign) for s, sign in files.items())
        self.store.put("matte", {"size": size}, entries, id=job, priority=priority)
        self.priority[job] = priority
        for source, signature in files.items():
            row = self.rows.setdefault((job, source), Row(len(self.rows), signature, str(size)))
            if (row.signature, row.recipe) != (signature, str(size)):
                row.signature, row.recipe = signature, str(size)
                row.requeue(0, None)

    @rule(job=st.sampled_from([*JOBS, None, None]))
    def claim(self, job: str | None) -> None:
        best: tuple[int, int, int, tuple[str, str]] | None = None
        for name in JOBS if job is None else [job]:
            queued = [
                (row.attempt, row.order, key)
                for key, row in self.of(name).items()
                if row.state is State.QUEUED
            ]
            if not queued:
                continue
            attempt, order, key = min(queued)
            busy = [row.attempt for row in self.running(name)]
            alone = max([attempt + 1, *busy]) >= ALONE
            if not (busy and alone):
                candidate = (-self.priority[name], attempt, order, key)
                best = candidate if best is None else min(best, candidate)
        claimed = self.store.claim(job)
        assert (claimed is None) == (best is None)
        if claimed is not None and best is not None:
            item, row = claimed[1], self.rows[best[3]]
            assert claimed[0].id == item.job
            assert (item.job, item.source) == best[3]
            row.state, row.attempt, row.claim = State.RUNNING, row.attempt + 1, item
            row.written = False
            assert item.attempt == row.attempt
            self.claims.append(item)

    def current(self, item: Item) -> Row | None:
        row = self.rows[item.job, item.source]
        return row if row.claim is item else None

    @precondition(lambda self: self.claims)
    @rule(pick=st.randoms(use_true_random=False), how=st.sampled_from("cfar"))
    def answer(self, pick: Random, how: str) -> None:
        item = pick.choice(self.claims[-6:])
        row = self.current(item)
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

    @precondition(lambda self: self.running(None))
    @rule(pick=st.randoms(use_true_random=False))
    def write_output(self, pick: Random) -> None:
        row = pick.choice(self.running(None))
        assert row.claim is not None
        assert row.claim.started is not None
        target = Path(row.claim.target)
        target.write_bytes(b"whole")
        just_after = math.ceil(row.claim.started * 1e9) + 500  # less than any later claim
        os.utime(target, ns=(just_after, just_after))
        row.written = True

    @rule(job=st.sampled_from(JOBS))
    def cancel(self, job: str) -> None:
        queued = [row for row in self.of(job).values() if row.state is State.QUEUED]
        assert self.store.cancel(job) == len(queued)
        for row in queued:
            row.settle(State.CANCELED, row.error)

    @rule(job=st.sampled_from(JOBS))
    def retry(self, job: str) -> None:
        lost = (State.FAILED, State.CANCELED)
        again = [row for row in self.of(job).values() if row.state in lost]
        assert self.store.retry(job) == len(again)
        for row in again:
            row.requeue(0, row.error)

    @rule(job=st.sampled_from([*JOBS, None]))
    def recover(self, job: str | None) -> None:
        running = self.running(job)
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

    @invariant()
    def agree(self) -> None:
        for job in self.priority:
            items = list(self.store.items(job))
            model = self.of(job)
            assert [(i.job, i.source) for i in items] == list(model)
            for item, row in zip(items, model.values(), strict=True):
                error = None if item.error is None else item.error.code
                assert (item.state, item.attempt, error) == (row.state, row.attempt, row.error)
                assert 0 <= item.attempt <= STARTS
                if row.state is State.RUNNING:
                    assert item == row.claim
            counts = self.store.counts(job)
            assert counts.total == len(items)
            for state in State:
                assert getattr(counts, state) == sum(i.state is state for i in items)


TestLedger = Ledger.TestCase
TestLedger.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
