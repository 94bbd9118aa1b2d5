"""What the ledger can be asked; nothing here changes it."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from portrayer.errors import UnknownItem, UnknownJob
from portrayer.jobs import schema
from portrayer.jobs.record import Counts, Item, Job, Standing, State

PAGE = 500  # rows read at a time, so that no walk over a long job keeps a snapshot open

Values: TypeAlias = Sequence[object] | Mapping[str, object]
"""What a query's ``?`` or ``:name`` stand for."""

KNOWN = """
SELECT source, target FROM item WHERE job = ? AND source IN (SELECT value FROM json_each(?))
"""

# By way of the jobs, so that the index of each job's targets is used.
HELD = """
SELECT target FROM item WHERE job IN (SELECT id FROM job)
AND target COLLATE NOCASE IN (SELECT value FROM json_each(?))
"""


class Reading(ABC):
    """The questions; :class:`~portrayer.jobs.store.Store` has the file that answers them."""

    @abstractmethod
    def _read(self, query: str, values: Values = ()) -> list[Any]:
        """All rows of the query, as they stand at one moment."""

    def job(self, id: str) -> Job:
        """The job of that name. Raises UnknownJob."""
        rows = self._read(f"{schema.JOBS} WHERE id = ?", (id,))
        if not rows:
            raise UnknownJob(f"there is no job {id}")
        return schema.job(rows[0])

    def jobs(self) -> list[Job]:
        """All jobs, oldest first."""
        return [schema.job(row) for row in self._read(f"{schema.JOBS} ORDER BY created, id")]

    def search(self, text: str = "", before: str | None = None, limit: int = 100) -> list[Job]:
        """Jobs whose name or id, or a label of whose items, contains ``text``; newest first.

        Letter case and the form of accents do not count. ``before``: the last job of the page
        before this one. Raises UnknownJob if that is no job any more.
        """
        created = None if before is None else self.job(before).created
        needle = schema.folded(schema.encode(text))
        wish = {"text": needle, "created": created, "before": before, "limit": limit}
        return [schema.job(row) for row in self._read(schema.SEARCH, wish)]

    def counts(self, *jobs: str) -> Counts:
        """How many items of these jobs are in each state. Raises UnknownJob."""
        names = json.dumps(jobs)
        for missing in self._read(schema.MISSING, (names,)):
            raise UnknownJob(f"there is no job {missing[0]}")
        rows = self._read(schema.COUNTS, (names,))
        return Counts(total=sum(count for _, count in rows), **dict(rows))

    def standing(self) -> Standing:
        """What there is to do in the whole ledger."""
        rows = self._read(schema.STANDING)
        queued = [row for row in rows if row[0] == State.QUEUED]
        return Standing(
            queued={(task, priority): items for _, task, priority, items, _ in queued},
            running=sum(row[3] for row in rows) - sum(row[3] for row in queued),
            oldest=min((row[4] for row in queued), default=None),
        )

    def finished(self) -> list[tuple[Job, float]]:
        """The jobs that nothing more will happen to, and when their last item finished.

        The oldest first, in seconds since the epoch; of a job without items, when it was put.
        """
        return [(schema.job(row), ended) for ended, *row in self._read(schema.FINISHED)]

    def item(self, id: int) -> Item:
        """The item of that number. Raises UnknownItem."""
        rows = self._read(f"{schema.ITEMS} WHERE id = ?", (id,))
        if not rows:
            raise UnknownItem(f"there is no item {id}")
        return schema.item(rows[0])

    def items(
        self, job: str, state: State | None = None, after: int = 0, limit: int | None = None
    ) -> Iterator[Item]:
        """The job's items by ascending id, from the first id above ``after``, at most ``limit``.

        Read a page at a time: items that change meanwhile appear as they are when reached.
        """
        left = PAGE if limit is None else limit
        while left > 0:
            rows = self._read(
                f"{schema.ITEMS} WHERE job = ? AND state = coalesce(?, state) AND id > ?"
                " ORDER BY id LIMIT ?",
                (job, state, after, min(left, PAGE)),
            )
            yield from map(schema.item, rows)
            if len(rows) < min(left, PAGE):
                return
            after = rows[-1][0]
            left = PAGE if limit is None else left - len(rows)

    def changes(self, job: str, after: int = 0, limit: int = 500) -> list[Item]:
        """The job's items whose last change of state has a number above ``after``, in that order.

        Whoever asks again from the last number seen misses nothing that is still so.
        """
        query = f"{schema.ITEMS} WHERE job = ? AND changed > ? ORDER BY changed LIMIT ?"
        return [schema.item(row) for row in self._read(query, (job, after, limit))]

    def targets(self, job: str) -> dict[str, str]:
        """Source to target of every item the job has; empty if there is no such job yet."""
        return dict(self._read("SELECT source, target FROM item WHERE job = ?", (job,)))

    def known(self, job: str, sources: Sequence[str]) -> dict[str, str]:
        """Source to target of those of them that the job has."""
        return dict(self._read(KNOWN, (job, json.dumps(sources))))

    def held(self, places: Sequence[str]) -> list[str]:
        """Targets of any job that are one of these places, the case of a-z aside."""
        return [target for (target,) in self._read(HELD, (json.dumps(places),))]
