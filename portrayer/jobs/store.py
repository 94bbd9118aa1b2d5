"""The ledger of jobs and items: one SQLite file, the truth about what is done.

Every change is one transaction that is on the disk when the call returns. Connections are borrowed
from a pool, one per call, so SQLite's own locks order threads and processes alike.
"""

from __future__ import annotations

import json
import sqlite3
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from hashlib import sha256
from pathlib import Path
from time import monotonic, sleep, time
from typing import Any, Self
from uuid import uuid4

from portrayer.errors import InputError, KeyReused, OutputError, UnknownJob
from portrayer.jobs import owner, schema
from portrayer.jobs.reading import Reading, Values
from portrayer.jobs.record import ATTEMPTS, JSON, STARTS, Counts, Entry, Failure, Item, Job, State
from portrayer.jobs.transaction import Transaction

__all__ = ["ATTEMPTS", "JSON", "STARTS", "Counts", "Failure", "Item", "Job", "State", "Store"]

PATIENCE = 30.0  # seconds to wait for another process's transaction
CHECKED = 16_384  # pages, 64 MiB: a longer ledger is not read through before the work goes on

ADVICE = {
    sqlite3.SQLITE_FULL: "free some space and run again",
    sqlite3.SQLITE_BUSY: "close the program that keeps it and run again",
    sqlite3.SQLITE_READONLY: "make it writable or choose another folder",
    sqlite3.SQLITE_CANTOPEN: "check the folder's permissions or choose another",
    sqlite3.SQLITE_CORRUPT: "move it away and run again; the pictures will be made anew",
    sqlite3.SQLITE_NOTADB: "move it away and run again; the pictures will be made anew",
}


class Store(Reading):
    """Jobs and items in one SQLite file, safe for threads and processes; a context manager.

    Every method raises ``OutputError`` when the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        """Open the ledger at ``path``; it and its folder are made if missing.

        Raises:
            OutputError: the file is damaged, is not a ledger, was written by a newer Portrayer,
                or cannot be written.
        """
        self.path = path
        self._idle: deque[sqlite3.Connection] = deque()
        self._closed = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make {path.parent} ({error.strerror})") from error
        try:
            self._prepare_in_turn()
        except BaseException:
            self.close()
            raise

    def put(
        self,
        task: str,
        options: Mapping[str, JSON],
        entries: Iterable[Entry],
        *,
        id: str | None = None,
        priority: int = 0,
        name: str = "",
        key: str | None = None,
        fingerprint: str = "",
    ) -> Job:
        """Add a job, or merge into the one named ``id``; all of it or, on any error, nothing.

        ``entries`` are read one by one. A known source keeps its state if its target and signature
        and the job's task and options are what they were; else it is queued anew. Sources that are
        not in ``entries`` stay as they are, so a long listing is put page by page, and from its
        beginning if it broke off: what is known costs a look. ``key`` stands for one wish, however
        often it is put: if it made a job before, that job is returned as it is. ``fingerprint``
        tells that wish from another.

        Raises:
            InputError: two sources have one target (letter case aside).
            KeyReused: the job that ``key`` made has another fingerprint.
        """
        id = uuid4().hex if id is None else id
        text = json.dumps(dict(options), sort_keys=True)
        recipe = sha256(f"{task}\n{text}".encode()).hexdigest()[:16]
        wish = {"id": id, "task": task, "options": text, "priority": priority, "now": time()}
        wish |= {"name": schema.encode(name), "key": key, "fingerprint": fingerprint}
        encode = schema.encode
        rows = (
            (id, encode(source), encode(target), signature, recipe, encode("".join(label)))
            for source, target, signature, *label in entries
        )
        try:
            with self._write() as ledger:
                known = ledger.execute(schema.KNOWN, (key,)).fetchone()
                if known is None:
                    ledger.execute(schema.PUT_JOB, wish)
                    ledger.executemany(schema.PUT_ITEM, rows)
                    return schema.job(_row(ledger, schema.JOBS, id))
                earlier, asked = known
                if asked != fingerprint:
                    raise KeyReused(f"the key {key} came before with another request")
                return schema.job(_row(ledger, schema.JOBS, earlier))
        except sqlite3.IntegrityError as error:
            raise InputError(
                f"two pictures of job {id} have one output: give each its own"
            ) from error

    @contextmanager
    def together(self) -> Iterator[Transaction]:
        """Changes that are one transaction: on the disk once it is left, none if by an error."""
        with self._write() as ledger:
            yield Transaction(lambda *asked: ledger.execute(*asked).fetchall(), time())

    def claim(self, *jobs: str) -> tuple[Job, Item] | None:
        """Take the next queued item, of ``jobs`` or of any; None if there is none to take now.

        The job of highest priority first, of such the one with the fewest items running; in it the
        item with the fewest attempts, then the oldest. An item's further attempts are given out
        only while nothing else of its job runs.
        """
        with self.together() as ledger:
            return ledger.claim(*jobs)

    def complete(self, item: Item, result: Mapping[str, JSON]) -> bool:
        """Running to done. False, and no change, if this claim is not the item's current one.

        What in ``result`` is not JSON is kept as its ``str``: the picture is done all the same.
        """
        with self.together() as ledger:
            return ledger.complete(item, result)

    def fail(self, item: Item, failure: Failure, *, again: bool = False) -> bool:
        """Running to failed, or with ``again`` back to queued while attempts remain.

        After an attempt that was interrupted there is always one more: an item is given up when
        it was seen to fail twice running. False, and no change, if this claim is not the item's
        current one.
        """
        with self.together() as ledger:
            return ledger.fail(item, failure, again=again)

    def release(self, item: Item) -> bool:
        """Running back to queued as if it had not been claimed: the attempt is given back.

        False, and no change, if this claim is not the item's current one.
        """
        with self.together() as ledger:
            return ledger.release(item)

    def cancel(self, job: str) -> int:
        """Queued and running to canceled; what a running one still answers changes nothing.

        Returns how many. Raises UnknownJob.
        """
        with self.together() as ledger:
            return ledger.cancel(job)

    def retry(self, job: str) -> int:
        """Failed and canceled to queued, attempts at 0. Returns how many. Raises UnknownJob.

        The error stays until there is another answer: what crashed is still suspect.
        """
        with self.together() as ledger:
            return ledger.retry(job)

    def remove(self, job: str) -> bool:
        """Forget the job and its items. Raises UnknownJob.

        False, and no change, while there is something of it to do.
        """
        with self._write() as ledger:
            if ledger.execute(schema.OPEN, (job,)).fetchone():
                return False
            ledger.execute("DELETE FROM item WHERE job = ?", (job,))
            ledger.execute("DELETE FROM tally WHERE job = ?", (job,))
            if not ledger.execute("DELETE FROM job WHERE id = ?", (job,)).rowcount:
                raise UnknownJob(f"there is no job {job}")
        return True

    def recover(self, job: str | None = None) -> int:
        """Settle what a dead process left running, in ``job`` or all. Returns how many items.

        Call it first thing while holding :meth:`own`. See :func:`aftermath.settled`.
        """
        with self.together() as ledger:
            return ledger.recover(job)

    def own(self) -> AbstractContextManager[None]:
        """Be the one process that works on this ledger; the lock is ``path`` + ".lock".

        Raises:
            OutputError: another process has it.
        """
        return owner.own(self.path.with_name(self.path.name + ".lock"))

    def check(self) -> None:
        """Write what changes nothing: if that does not raise, the ledger can be written."""
        with self._write() as ledger:  # an UPDATE to the same value would not reach the disk
            ledger.execute(f"PRAGMA user_version = {schema.VERSION}")

    def close(self) -> None:
        """Close the file, once what is under way has ended. Twice is harmless."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, query: str, values: Values = ()) -> list[Any]:
        with self._connection() as connection:
            return connection.execute(query, values).fetchall()

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        if self._closed:
            raise ValueError("the store is closed")
        connection = None
        try:
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._connect()
            yield connection
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError):
            raise  # a broken rule or a bug, not the file's fault
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # less the extended part
            advice = ADVICE.get(code, "check the disk and run again")
            raise OutputError(f"job ledger {self.path}: {error}: {advice}") from error
        finally:
            if connection is not None:
                self._lay_down(connection)

    def _lay_down(self, connection: sqlite3.Connection) -> None:
        """For the next who needs one; closed instead if the store was closed meanwhile."""
        self._idle.append(connection)
        if self._closed:
            self.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=PATIENCE, isolation_level=None, check_same_thread=False
        )
        try:
            connection.text_factory = schema.decode
            connection.create_function("fold", 1, schema.folded, deterministic=True)
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare_in_turn(self) -> None:
        """While a file changes to WAL, SQLite turns others away at once, whatever their timeout."""
        deadline = monotonic() + PATIENCE
        while True:
            try:
                return self._prepare()
            except OutputError as error:
                code = getattr(error.__cause__, "sqlite_errorcode", 0) & 0xFF
                if code != sqlite3.SQLITE_BUSY or monotonic() > deadline:
                    raise
            sleep(0.02)

    def _prepare(self) -> None:
        """Check an old file and bring it over, lay out a new one."""
        with self._connection() as connection:
            [(pages,)] = connection.execute("PRAGMA page_count").fetchall()
            short = pages <= CHECKED  # in others damage is told when it is met
            if short and connection.execute("PRAGMA quick_check(1)").fetchall() != [("ok",)]:
                raise OutputError(
                    f"job ledger {self.path} is damaged: {ADVICE[sqlite3.SQLITE_CORRUPT]}"
                )
        with self._write() as ledger:
            [(version,)] = ledger.execute("PRAGMA user_version").fetchall()
            [(tables,)] = ledger.execute("SELECT count(*) FROM sqlite_schema").fetchall()
            if version > schema.VERSION:
                raise OutputError(
                    f"job ledger {self.path} was written by a newer Portrayer: "
                    "upgrade this one or choose another folder"
                )
            if version == 0 and tables:
                raise OutputError(
                    f"{self.path} is not a job ledger: move it away or choose another folder"
                )
            for number, step in enumerate(schema.STEPS[version:], version + 1):
                for statement in step.split("\n\n"):
                    ledger.execute(statement)
                ledger.execute(f"PRAGMA user_version = {number}")
        with self._connection() as connection:
            connection.execute("PRAGMA journal_mode = WAL")


def _row(ledger: sqlite3.Connection, query: str, id: object) -> Any:
    """The row of that id, which is known to be there, within a transaction."""
    return ledger.execute(f"{query} WHERE id = ?", (id,)).fetchone()
