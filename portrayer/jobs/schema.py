"""The ledger's tables and statements, and its rows as records."""

from __future__ import annotations

import json
from typing import Any

from portrayer.jobs.names import fold
from portrayer.jobs.record import ALONE, Failure, Item, Job, State

# What made the first ledgers. A paragraph is a statement.
FIRST = """
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

# For a server: jobs have names and keys, items have labels, changes of state have numbers.
SECOND = """
ALTER TABLE job ADD COLUMN name TEXT NOT NULL DEFAULT '';

ALTER TABLE job ADD COLUMN key TEXT;

ALTER TABLE job ADD COLUMN fingerprint TEXT NOT NULL DEFAULT '';

ALTER TABLE job ADD COLUMN touched REAL NOT NULL DEFAULT 0;

UPDATE job SET touched = created;

CREATE UNIQUE INDEX job_key ON job (key);

CREATE INDEX job_order ON job (created, id);

ALTER TABLE item ADD COLUMN label TEXT NOT NULL DEFAULT '';

ALTER TABLE item ADD COLUMN changed INTEGER NOT NULL DEFAULT 0;

UPDATE item SET changed = id;

CREATE INDEX item_changed ON item (job, changed);

-- One row: how many changes of state there have been. It only grows, whatever is removed.
CREATE TABLE counter (changes INTEGER NOT NULL);

INSERT INTO counter SELECT coalesce(max(id), 0) FROM item;

CREATE TRIGGER item_came AFTER INSERT ON item BEGIN
    UPDATE counter SET changes = changes + 1;
    UPDATE item SET changed = (SELECT changes FROM counter) WHERE id = new.id;
END;

CREATE TRIGGER item_went AFTER UPDATE OF state ON item WHEN old.state <> new.state BEGIN
    UPDATE counter SET changes = changes + 1;
    UPDATE item SET changed = (SELECT changes FROM counter) WHERE id = new.id;
END;

-- To find the few jobs that have something to do among the many that have not.
CREATE INDEX tally_state ON tally (state, job) WHERE items > 0;
"""

STEPS = (FIRST, SECOND)
"""From each version of the ledger to the next; a new file takes them all."""

VERSION = len(STEPS)

# The columns of a Job and of an Item, in their order.
JOB = "id, task, options, priority, created, touched, name"
ITEM = (
    "id, job, source, target, signature, state, attempt, error, result, started, finished,"
    " label, changed"
)

JOBS = f"SELECT {JOB} FROM job"
ITEMS = f"SELECT {ITEM} FROM item"

# A name need not be valid UTF-8; bytes cast to text keep what a bound string would refuse.
PUT_JOB = """
INSERT INTO job (id, task, options, priority, created, touched, name, key, fingerprint)
VALUES (:id, :task, :options, :priority, :now, :now, CAST(:name AS TEXT), :key, :fingerprint)
ON CONFLICT (id) DO UPDATE SET task = excluded.task, options = excluded.options,
    priority = excluded.priority, touched = excluded.touched, name = excluded.name
"""

MISSING = "SELECT value FROM json_each(?) WHERE value NOT IN (SELECT id FROM job)"

COUNTS = """
SELECT state, sum(items) FROM tally
WHERE job IN (SELECT value FROM json_each(?)) GROUP BY state
"""

KNOWN = "SELECT id, fingerprint FROM job WHERE key = ?"

PUT_ITEM = """
INSERT INTO item (job, source, target, signature, recipe, label)
VALUES (?, CAST(? AS TEXT), CAST(? AS TEXT), ?, ?, CAST(? AS TEXT))
ON CONFLICT (job, source) DO UPDATE
SET target = excluded.target, signature = excluded.signature, recipe = excluded.recipe,
    label = excluded.label,
    state = 'queued', attempt = 0, error = NULL, result = NULL, finished = NULL
WHERE (target, signature, recipe) <> (excluded.target, excluded.signature, excluded.recipe)
"""

# Jobs of one priority share the workers: who has the fewest of them is next.
# Tried items wait behind untried ones, and are tried again with nothing of their job beside them:
# with all the memory there is, and if a process dies then, it is no neighbour's fault.
# The most tried of those that run is one step in the index, however many run; NULL if none does.
# `started` must grow even if the clock does not, since it tells one claim from the next.
CLAIM = f"""
UPDATE item SET state = 'running', attempt = attempt + 1, finished = NULL,
    started = max(:now, coalesce(started, 0) + 1e-6)
WHERE id = (
    SELECT next.id FROM tally AS open JOIN job ON job.id = open.job
    JOIN item AS next ON next.id = (
        SELECT id FROM item WHERE job = job.id AND state = 'queued' ORDER BY attempt, id LIMIT 1)
    LEFT JOIN tally AS busy ON busy.job = job.id AND busy.state = 'running'
    WHERE open.state = 'queued' AND open.items > 0
    AND (:jobs = '[]' OR open.job IN (SELECT value FROM json_each(:jobs)))
    AND coalesce(max(next.attempt + 1,
        (SELECT max(attempt) FROM item WHERE job = job.id AND state = 'running')), 0) < {ALONE}
    ORDER BY job.priority DESC, coalesce(busy.items, 0), next.attempt, next.id LIMIT 1)
RETURNING id, job
"""

# Only the claim that is still running may settle its item; a late answer changes nothing.
FENCE = """
WHERE id = :id AND state = 'running' AND attempt = :attempt AND started = :started RETURNING id
"""

# By way of the tally, since a job may have millions of items and none that runs.
LEFT = f"""
{ITEMS} WHERE state = 'running' AND job IN (
    SELECT job FROM tally WHERE state = 'running' AND items > 0 AND job = coalesce(?, job))
"""

CANCEL = """
UPDATE item SET state = 'canceled', finished = :now
WHERE job = :job AND state IN ('queued', 'running')
"""

RETRY = """
UPDATE item SET state = 'queued', attempt = 0, finished = NULL
WHERE job = :job AND state IN ('failed', 'canceled')
"""

TOUCH = "UPDATE job SET touched = :now WHERE id = :job"

OPEN = """
SELECT 1 FROM tally WHERE job = ? AND state IN ('queued', 'running') AND items > 0
"""

SEARCH = f"""
{JOBS} WHERE (:created IS NULL OR (created, id) < (:created, :before)) AND (
    instr(fold(CAST(name AS BLOB)), :text) OR instr(fold(CAST(id AS BLOB)), :text)
    OR EXISTS (SELECT 1 FROM item
        WHERE item.job = job.id AND instr(fold(CAST(label AS BLOB)), :text)))
ORDER BY created DESC, id DESC LIMIT :limit
"""

STANDING = """
SELECT state, task, priority, sum(items), min(touched) FROM tally JOIN job ON job.id = tally.job
WHERE state IN ('queued', 'running') AND items > 0 GROUP BY state, task, priority
"""

# In a settled job, what changed last was the last to finish.
FINISHED = f"""
SELECT coalesce((SELECT finished FROM item WHERE job = job.id ORDER BY changed DESC LIMIT 1),
    touched) AS ended, {JOB} FROM job
WHERE NOT EXISTS (SELECT 1 FROM tally
    WHERE job = job.id AND state IN ('queued', 'running') AND items > 0)
ORDER BY ended, created, id
"""


def encode(text: str) -> bytes:
    """Text to bytes, even where a file name is not valid UTF-8."""
    return text.encode("utf-8", "surrogatepass")


def decode(raw: bytes) -> str:
    """The inverse of :func:`encode`."""
    return raw.decode("utf-8", "surrogatepass")


def folded(raw: bytes) -> bytes:
    """What encoded texts are compared by where letter case and the form of accents do not count."""
    return encode(fold(decode(raw)))


def dump(failure: Failure) -> str:
    """A failure to JSON text: ``[code, reason]``."""
    return json.dumps([failure.code, failure.reason])


def job(row: tuple[Any, ...]) -> Job:
    """A row of the columns :data:`JOB` to a :class:`Job`."""
    id, task, options, *rest = row
    return Job(id, task, json.loads(options), *rest)


def item(row: tuple[Any, ...]) -> Item:
    """A row of the columns :data:`ITEM` to an :class:`Item`."""
    id, job, source, target, signature, state, attempt, error, result, *rest = row
    failure = Failure(*json.loads(error)) if error else None
    outcome = json.loads(result) if result else None
    place = (id, job, source, target, signature)
    return Item(*place, State(state), attempt, failure, outcome, *rest)
