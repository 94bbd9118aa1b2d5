"""Items on a Ray cluster: the ledger stays with this process, the driver, and nodes do the work.

A place that is a URL is read and written by the node itself; what lies on the driver's disk is read
and written here, and its bytes travel.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Self

from portrayer import storage
from portrayer.engine.answer import Stats
from portrayer.errors import CapacityError
from portrayer.jobs.backend import Crashed, Files, Watch
from portrayer.jobs.child import outcome
from portrayer.jobs.crew import Crew
from portrayer.jobs.grid import Fallen, Grid, Lost, pieces
from portrayer.jobs.record import ATTEMPTS, JSON, Item, Job
from portrayer.jobs.seats import Seat
from portrayer.jobs.worker import Answer, Errand
from portrayer.settings import Settings
from portrayer.tasks import task as find_task
from portrayer.tasks.options import pictures

KEPT = 32  # files that many photos want, held in the cluster's memory


def studio_files(settings: Settings) -> Files:
    """A node's own pipeline."""
    from portrayer.studio import Studio

    return Studio(settings).pipeline


class RayBackend:
    """Workers on a Ray cluster; a context manager.

    A worker dies with all the items in it, and of most of them that says nothing. So each is done
    again within the same attempt, with a worker to itself: if that one dies too and its node lives,
    the item did it. The loss of a node is held against no item.
    """

    def __init__(
        self, where: str, settings: Settings, opened: Callable[[Settings], Files] = studio_files
    ) -> None:
        """``where``: see :class:`Grid`. ``opened`` makes a worker's pipeline, on its node: a
        module's function.

        Raises:
            InvalidOption: ``where`` is no cluster, or Ray is not installed.
            CapacityError: the cluster does not answer, or has nothing of what is asked for.
            ModelError: its nodes cannot do the work.
        """
        self._kept: OrderedDict[tuple[str, str], Any] = OrderedDict()
        self._grid = Grid(where)
        try:
            self._crew = Crew(self._grid, settings, opened)
        except BaseException:
            self._grid.close()
            raise
        self._width = self._crew.room * (2 if self._grid.grows else 1)

    @property
    def width(self) -> int:
        """As many items as its workers take; where nodes may join, as many again, that wait."""
        return self._width

    def run(self, job: Job, item: Item, watch: Watch) -> Mapping[str, JSON]:
        """See :meth:`Backend.run`; the result also says on which ``node``."""
        errand = _errand(job, item)
        node, answer = self._carried(errand, watch, item.suspect)
        result = outcome(answer.result, answer.error, answer.number)
        if answer.files:
            watch("encode")  # nothing is written that nobody wants any more
        target = Path(errand.target)
        for tail, blob in answer.files:
            storage.write(target.with_name(f"{target.stem}{tail}"), blob)
        return {**result, "node": node}

    def stats(self, *, now: bool = False) -> Stats:
        """What all the workers' engines have done and hold, as they last said or say ``now``."""
        if now:
            self._crew.look()
        return self._crew.stats()

    def close(self) -> None:
        """End the workers and leave the cluster. Twice is harmless."""
        self._crew.close()
        self._grid.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _carried(self, errand: Errand, watch: Watch, suspect: bool) -> tuple[str, Answer]:
        """What came of it, and on which node; the worker is free again before that is written."""
        for _ in range(0 if suspect else ATTEMPTS):
            with self._crew.taken(partial(watch, "claimed")) as seat:
                try:
                    return seat.node, self._asked(seat, errand, watch)
                except Lost:
                    self._crew.lost(seat)
                except Fallen:
                    self._crew.fallen(seat)
                    break
        for _ in range(ATTEMPTS):
            with self._crew.taken(partial(watch, "claimed"), alone=True) as seat:
                before = self._crew.token(seat)
                try:
                    return seat.node, self._asked(seat, errand, watch)
                except (Lost, Fallen) as error:
                    after = self._crew.token(seat)
                    if before and after and before != after:
                        line = (
                            f"the process at work on it, and on nothing else, died on {seat.node}"
                        )
                        raise Crashed(line) from error
        raise CapacityError("each node at work on it was lost")

    def _asked(self, seat: Seat, errand: Errand, watch: Watch) -> Answer:
        """The errand by the worker of that seat. Raises :class:`Lost`, :class:`Fallen`."""
        watch("task")
        answer: Answer = self._grid.call(seat.worker, "work", errand, *self._blobs(errand))
        return answer

    def _blobs(self, errand: Errand) -> Iterator[Any]:
        """What travels with it, in its order."""
        for path in (*errand.pictures, *errand.beside):
            key = path, storage.signature(Path(path))
            kept = self._kept.get(key)
            if kept is None:
                kept = self._kept[key] = self._grid.keep(storage.read(Path(path)))
            yield kept
            with suppress(KeyError):  # another thread was faster
                self._kept.move_to_end(key)
        while len(self._kept) > KEPT:
            with suppress(KeyError):
                self._kept.popitem(last=False)
        if not storage.is_url(errand.source):
            yield from pieces(storage.read(Path(errand.source)))


def _errand(job: Job, item: Item) -> Errand:
    """What a node has to be told; a file that is not there is left for its task to miss."""
    row = find_task(job.task)
    beside = {name: str(job.options[name]) for name in row.inputs[:-1] if name in job.options}
    own = {name: value for name, value in job.options.items() if name not in beside}
    named = pictures(row.options, own).values()
    return Errand(
        job.task,
        dict(job.options),
        item.source,
        item.target,
        tuple(path for path in dict.fromkeys(named) if _travels(path)),
        tuple(path for path in dict.fromkeys(beside.values()) if _travels(path)),
    )


def _travels(path: str) -> bool:
    return not storage.is_url(path) and os.path.isfile(path)
