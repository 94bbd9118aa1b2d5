"""What moves an item from state to state: steps of one transaction, alone or with others'."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from portrayer.jobs import aftermath, schema
from portrayer.jobs.reading import Reading, Values
from portrayer.jobs.record import ATTEMPTS, JSON, STARTS, Failure, Item, Job


class Transaction(Reading):
    """The ledger as it is between the changes of one transaction; for one thread.

    Nothing is promised before the transaction has ended (:meth:`Store.together`).
    """

    def __init__(self, read: Callable[[str, Values], list[Any]], now: float) -> None:
        """``read``: all rows of a statement; ``now``: of every change, seconds since the epoch."""
        self._rows = read
        self._now = now

    def claim(self, *jobs: str) -> tuple[Job, Item] | None:
        """See :meth:`Store.claim`."""
        taken = self._read(schema.CLAIM, {"jobs": json.dumps(jobs), "now": self._now})
        if not taken:
            return None
        # Read here, since a trigger has numbered the change, and the job may soon be removed.
        item = self.item(taken[0][0])
        return self.job(item.job), item

    def complete(self, item: Item, result: Mapping[str, JSON]) -> bool:
        """See :meth:`Store.complete`."""
        return self._settle(
            "state = 'done', error = NULL, result = :result, finished = :now",
            item,
            result=json.dumps(dict(result), default=str),
        )

    def fail(self, item: Item, failure: Failure, *, again: bool = False) -> bool:
        """See :meth:`Store.fail`."""
        most = STARTS if item.interrupted else ATTEMPTS
        return self._settle(
            "state = :state, error = :error, finished = :now",
            item,
            state="queued" if again and item.attempt < most else "failed",
            error=schema.dump(failure),
        )

    def release(self, item: Item) -> bool:
        """See :meth:`Store.release`."""
        return self._settle("state = 'queued', attempt = attempt - 1", item)

    def cancel(self, job: str) -> int:
        """See :meth:`Store.cancel`."""
        return self._move(job, schema.CANCEL)

    def retry(self, job: str) -> int:
        """See :meth:`Store.retry`."""
        return self._move(job, schema.TOUCH, schema.RETRY)

    def recover(self, job: str | None = None) -> int:
        """See :meth:`Store.recover`."""
        items = [schema.item(row) for row in self._read(schema.LEFT, (job,))]
        for item in map(aftermath.settled, items):
            error = schema.dump(item.error) if item.error else None
            result = json.dumps(item.result) if item.result else None
            self._read(
                "UPDATE item SET state = ?, error = ?, result = ?, finished = ? WHERE id = ?",
                (item.state, error, result, item.finished, item.id),
            )
        return len(items)

    def _move(self, job: str, *statements: str) -> int:
        """How many rows the last of the statements has changed."""
        self.job(job)
        for statement in statements:
            self._read(statement, {"job": job, "now": self._now})
        return int(self._read("SELECT changes()")[0][0])

    def _settle(self, change: str, item: Item, **values: object) -> bool:
        claim = {"id": item.id, "attempt": item.attempt, "started": item.started, "now": self._now}
        return bool(self._read(f"UPDATE item SET {change} {schema.FENCE}", claim | values))

    def _read(self, query: str, values: Values = ()) -> list[Any]:
        return self._rows(query, values)
