"""A process a core: files beside one another, none of which waits for another's interpreter."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from queue import LifoQueue
from threading import Lock
from typing import Self

from portrayer.engine.answer import Stats, together
from portrayer.engine.memory import Budget
from portrayer.errors import CapacityError, PortrayerError
from portrayer.jobs.backend import Watch, unwatched
from portrayer.jobs.child import Child, Opened
from portrayer.jobs.record import JSON
from portrayer.storage import Place


class Children:
    """Files worked on in ``workers`` processes, one at a time in each; a context manager.

    Photos of all of them are reserved of one ledger. Safe to call from many threads.
    """

    def __init__(self, opened: Opened, host: Budget, workers: int) -> None:
        """Returns when one is ready.

        Raises what ails it, and :class:`CapacityError` where there can be no process.
        """
        self.workers = workers
        self._all = [Child(opened, host, workers) for _ in range(workers)]
        self._idle: LifoQueue[Child] = LifoQueue()
        self._change = Lock()
        for child in self._all:
            self._idle.put(child)
        try:
            for child in self._all:
                with suppress(CapacityError):  # it is tried once more when it is needed
                    child.begin()
            self._idle.put(self._taken())  # and it will be the first to be asked
        except CapacityError as error:
            self.close()
            cause = error.__cause__
            raise cause if isinstance(cause, PortrayerError) else error from None
        except BaseException:
            self.close()
            raise

    def process_file(
        self,
        task: str,
        options: Mapping[str, JSON],
        source: Place,
        target: Place,
        watch: Watch = unwatched,
    ) -> Mapping[str, JSON]:
        """See :meth:`Child.process_file`."""
        child = self._taken()
        try:
            return child.process_file(task, options, source, target, watch)
        finally:
            self._idle.put(child)

    def stats(self) -> Stats:
        """What all their engines have done and hold, as they last said."""
        told = [child.told for child in self._all if child.told is not None]
        stats = together([one.stats for one in told if one.stats is not None])
        return replace(stats, resident=sum(one.peak for one in told))

    def close(self) -> None:
        """End the processes. Twice is harmless."""
        for child in self._all:
            child.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _taken(self) -> Child:
        """One that is idle and ready. Those that cannot be are done without, but for the last."""
        while True:
            child = self._idle.get()
            try:
                child.ready()
            except CapacityError:
                with self._change:
                    if len(self._all) == 1:
                        self._idle.put(child)
                        raise
                    self._all.remove(child)
            else:
                return child
