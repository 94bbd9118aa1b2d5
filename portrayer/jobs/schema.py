"""The ledger's tables and statements, and its rows as records."""

from __future__ import annotations

import json
from typing import Any

from portrayer.jobs.record import ALONE, Failure, Item, Job, State

VERSION = 1

# A paragraph is a statement.
SCHEMA = """
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

-- How many items are in each state, kept by the triggers: a progress bar asks after every item.
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
"""

# The columns of an Item, in its order.
ITEM = "id, job, source, target, signature, state, attempt, error, result, started, finished"

SELECT = f"SELECT {ITEM} FROM item WHERE"

PUT_JOB = """
INSERT INTO job VALUES (:id, :task, :options, :priority, :now) ON CONFLICT (id) DO UPDATE
SET task = excluded.task, options = excluded.options, priority = excluded.priority
RETURNING created
"""

# A file name need not be valid UTF-8; bytes cast to text keep what a bound string would refuse.
PUT_ITEM = """
INSERT INTO item (job, source, target, signature, recipe)
VALUES (?, CAST(? AS TEXT), CAST(? AS TEXT), ?, ?) ON CONFLICT (job, source) DO UPDATE
SET target = excluded.target, signature = excluded.signature, recipe = excluded.recipe,
    state = 'queued', attempt = 0, error = NULL, result = NULL, finished = NULL
WHERE (target, signature, recipe) <> (excluded.target, excluded.signature, excluded.recipe)
"""

# Tried items wait behind untried ones, and are tried again with nothing of their job beside them:
# with all the memory there is, and if a process dies then, it is no neighbour's fault.
# `started` must grow even if the clock does not, since it tells one claim from the next.
CLAIM = f"""
UPDATE item SET state = 'running', attempt = attempt + 1, finished = NULL,
    started = max(:now, coalesce(started, 0) + 1e-6)
WHERE id = (
    SELECT next.id FROM job JOIN item AS next ON next.id = (
        SELECT id FROM item WHERE job = job.id AND state = 'queued' ORDER BY attempt, id LIMIT 1)
    WHERE job.id = coalesce(:job, job.id) AND NOT EXISTS (
        SELECT 1 FROM item AS busy WHERE busy.job = job.id AND busy.state = 'running'
        AND max(busy.attempt, next.attempt + 1) >= {ALONE})
    ORDER BY job.priority DESC, next.attempt, next.id LIMIT 1)
RETURNING {ITEM}
"""

# Only the claim that is still running may settle its item; a late answer changes nothing.
FENCE = "WHERE id = :id AND state = 'running' AND attempt = :attempt AND started = :started"


def encode(text: str) -> bytes:
    """A path's text to bytes, even where a file name is not valid UTF-8."""
    return text.encode("utf-8", "surrogatepass")


def decode(raw: bytes) -> str:
    """The inverse of :func:`encode`."""
    return raw.decode("utf-8", "surrogatepass")


def dump(failure: Failure) -> str:
    """A failure to JSON text: ``[code, reason]``."""
    return json.dumps([failure.code, failure.reason])


def job(row: tuple[Any, ...]) -> Job:
    """A row of table ``job`` to a :class:`Job`."""
    id, task, options, priority, created = row
    return Job(id, task, json.loads(options), priority, created)


def item(row: tuple[Any, ...]) -> Item:
    """A row of the columns :data:`ITEM` to an :class:`Item`."""
    id, job, source, target, signature, state, attempt, error, result, started, finished = row
    failure = Failure(*json.loads(error)) if error else None
    outcome = json.loads(result) if result else None
    place = (id, job, source, target, signature)
    return Item(*place, State(state), attempt, failure, outcome, started, finished)
