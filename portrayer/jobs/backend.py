"""Where an item's work is done: the seam at which one machine becomes many."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

from portrayer.errors import Canceled, CapacityError, PortrayerError
from portrayer.jobs.record import CRASHED, JSON, Item, Job
from portrayer.storage import Place, place

Watch: TypeAlias = Callable[[str], None]
"""Called with a stage's name as it begins; what it raises ends the work."""


def unwatched(stage: str) -> None:
    """Nobody asks how far the work is."""


class Crashed(PortrayerError):
    """The process that had this item to itself died of it."""

    code = CRASHED


class Backend(Protocol):
    """Something that can turn an item's source into its target."""

    @property
    def width(self) -> int:
        """How many items it wants in flight, 1 or more."""

    def run(self, job: Job, item: Item, watch: Watch) -> Mapping[str, JSON]:
        """Read the source, do the job's task, write the target; return what is worth keeping.

        Called from ``width`` threads at once. The target appears whole or not at all
        (:func:`storage.write`): the ledger takes a new target for a finished item. ``watch`` hears
        of each stage, as far as the backend can tell; once it has raised, nothing is written.
        Raises PortrayerError for what is expected to go wrong, :class:`Crashed` where it can be
        seen that the item kills; anything else is taken for a bug.
        """

    def close(self) -> None:
        """Let go of what the backend itself has opened."""


class Files(Protocol):
    """What :class:`LocalBackend` needs of a pipeline."""

    @property
    def workers(self) -> int:
        """How many files it works on at once, 1 or more."""

    def process_file(
        self,
        task: str,
        options: Mapping[str, JSON],
        source: Place,
        target: Place,
        watch: Watch = unwatched,
    ) -> Mapping[str, JSON]:
        """Do ``task`` to the picture at ``source`` and write it to ``target``, as a whole.

        Both are a path or a URL.
        """


class LocalBackend:
    """This machine's own: a pipeline, or processes, shared by the runner's threads."""

    def __init__(self, files: Files, apart: Files | None = None) -> None:
        """``apart``: where suspects are worked on, so that a death of theirs is seen and survived;
        and what a process died of that had others beside it.

        Without it, or where it has no room, they are worked on like any other item.
        """
        self._files = files
        self._apart = apart

    @property
    def width(self) -> int:
        """As many items as the pipeline has workers."""
        return self._files.workers

    def run(self, job: Job, item: Item, watch: Watch) -> Mapping[str, JSON]:
        """See :meth:`Backend.run`."""
        work = (job.task, job.options, place(item.source), place(item.target), watch)
        if not item.suspect or self._apart is None:
            try:
                return self._files.process_file(*work)
            except Crashed:  # others were at work beside it
                if self._apart is None:
                    raise
        try:
            return self._apart.process_file(*work)
        except Canceled:
            raise
        except CapacityError:  # there may be no room for one process more
            return self._files.process_file(*work)

    def close(self) -> None:
        """Nothing to do: what it works with belongs to whoever made it."""
