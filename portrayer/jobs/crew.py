"""The workers on a cluster's nodes: hired as nodes come, awaited after a death, dismissed."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from threading import Event, Thread
from time import monotonic

import portrayer
from portrayer.engine.answer import Stats, together
from portrayer.errors import CapacityError, EngineClosed, ModelError, PortrayerError
from portrayer.jobs.backend import Files
from portrayer.jobs.grid import PARTING, Fallen, Grid, Lost, Share, last, more
from portrayer.jobs.seats import Seat, Seats
from portrayer.jobs.worker import Birth, Worker
from portrayer.settings import Server, Settings

log = logging.getLogger(__name__)

LOOK = 2.0  # seconds between two looks at the cluster
OPENING = 120.0  # seconds for the first worker to be there
BARREN = 60.0  # seconds without any worker after which nobody waits for one any more
RETURN = 180.0  # seconds for one that died to be there again
ASKED = 1.0  # seconds for an answer beside the work


class Crew:
    """The workers of all shares, see :meth:`Grid.shares`. Safe to call from many threads."""

    def __init__(self, grid: Grid, settings: Settings, opened: Callable[[Settings], Files]) -> None:
        """Returns when the first worker is there.

        Raises what ails the workers, and :class:`CapacityError` where the cluster has nothing of
        what is asked for, or nothing free.
        """
        self._grid, self._settings, self._opened = grid, settings, opened
        self._seats = Seats()
        self._shares: dict[Seat, Share] = {}
        self._figures: dict[Seat, Stats] = {}
        self._hired: Counter[str] = Counter()  # workers that each node has had
        self._refusal: PortrayerError | None = None
        self._over, self._wished = Event(), False
        self._hire()
        if not self._hired:
            cpu = _kind(settings) in ("auto", "cpu") and not settings.require_gpu
            what = "core" if cpu else "GPU"
            raise CapacityError(f"the cluster has no node with a {what} to give")
        self._keeper = Thread(target=self._tend, name="portrayer-crew", daemon=True)
        self._keeper.start()
        try:
            self._meet(monotonic() + OPENING)
        except BaseException:
            self.close()
            raise

    @property
    def room(self) -> int:
        """How many items the workers take at once."""
        return self._seats.room

    def taken(
        self, wanted: Callable[[], None], *, alone: bool = False
    ) -> AbstractContextManager[Seat]:
        """See :meth:`Seats.taken`; :class:`EngineClosed`, or what ails the workers, for none."""
        return self._seats.taken(wanted, alone=alone)

    def token(self, seat: Seat) -> str:
        """Which process the worker is, once it is there; "" where it is not in time: it is lost.

        Unlike :meth:`fallen` this waits.
        """
        try:
            birth: Birth = self._grid.ask(seat.worker, "birth", RETURN)
        except (Fallen, Lost, PortrayerError):
            self.lost(seat)
            return ""
        return birth.token

    def fallen(self, seat: Seat) -> None:
        """Its process died: it takes no items until there is another."""
        if self._seats.set_down(seat):
            self._await(seat)

    def lost(self, seat: Seat) -> None:
        """Its node is gone."""
        self._seats.remove(seat)
        self._figures.pop(seat, None)
        if self._shares.pop(seat, None) is not None:
            self._grid.dismiss(seat.worker)
            log.warning("the worker on %s is lost", seat.node)

    def stats(self) -> Stats:
        """What the workers' engines have done and hold, as they last said; all their devices."""
        return together([_on(seat.node, row) for seat, row in list(self._figures.items())])

    def look(self) -> None:
        """Ask the workers for their figures; those that do not answer at once keep the last."""
        for seat in self._seats.all:
            if seat.up:
                try:
                    found = self._grid.ask(seat.worker, "figures", ASKED)
                except (Fallen, Lost, PortrayerError, RuntimeError):
                    continue
                if found is not None and seat in self._shares:
                    self._figures[seat] = found

    def close(self) -> None:
        """End the workers. Twice is harmless."""
        self._over.set()
        self._keeper.join(PARTING)  # or it might hire meanwhile
        self._seats.end(EngineClosed("the cluster was left"))
        if self._wished:
            self._grid.wish(())
        for seat in self._seats.all:
            self._grid.leave(seat.worker)

    def _meet(self, deadline: float) -> None:
        def late() -> None:
            if monotonic() > deadline:
                line = f"no worker was there in {OPENING:.0f} s: are all the cluster's cores taken?"
                raise CapacityError(line)

        with self._seats.taken(late):
            self.look()

    def _hire(self) -> None:
        """A worker for each share that has had none; one that was lost gets no other."""
        there: Counter[str] = Counter()
        for share in self._grid.shares(self._settings):
            there[share.node] += 1
            if there[share.node] <= self._hired[share.node]:
                continue
            # One more than the pipeline works on, so that the bytes of the next are there.
            room = 1 + (self._settings.workers or share.cores + (2 if share.gpus else 1))
            worker = self._grid.hire(
                share,
                Worker,
                room,
                self._opened,
                _sent(self._settings, share),
                share.cores,
                share.sharers,
            )
            seat = Seat(share.name, room, worker)
            self._hired[share.node] += 1
            self._shares[seat] = share
            self._seats.add(seat)
            self._await(seat)

    def _await(self, seat: Seat) -> None:
        """Have it take items as soon as it is there."""
        Thread(target=self._welcome, args=(seat,), name="portrayer-welcome", daemon=True).start()

    def _welcome(self, seat: Seat) -> None:
        try:
            birth: Birth = self._grid.ask(seat.worker, "birth")
        except (Fallen, Lost):
            return self.lost(seat)
        except (PortrayerError, RuntimeError) as error:
            refusal = error if isinstance(error, PortrayerError) else ModelError(last(error))
        else:
            if birth.refusal is None and birth.version == portrayer.__version__:
                return self._seats.set_up(seat)
            versions = f"Portrayer {birth.version}, and this is {portrayer.__version__}"
            refusal = birth.refusal or ModelError(f"{seat.node} has {versions}: install the same")
        if self._over.is_set():
            return
        log.warning("%s takes no part: %s", seat.node, refusal)
        self._refusal = refusal
        self.lost(seat)

    def _tend(self) -> None:
        """Until the end: hire on new nodes, ask for more where items wait, gather the figures."""
        manned, waited = monotonic(), False
        while not self._over.wait(LOOK):
            try:
                self._hire()
            except Exception as error:  # whatever it is, those who wait need this thread
                log.warning("the cluster cannot be looked at: %s", last(error))
            there = bool(self._shares)
            if any(seat.up for seat in self._seats.all):
                manned = monotonic()
                self.look()
            elif self._refusal is not None and not there:
                self._seats.end(self._refusal)
            elif monotonic() - manned > (RETURN if there else BARREN):
                line = "the cluster has no worker any more: run again to go on when it has another"
                self._seats.end(EngineClosed(line))
            waiting = self._seats.waiting
            if waiting and waited and not self._wished and self._grid.grows:
                self._wished = True
                self._grid.wish(more(list(self._shares.values()), waiting, self.room))
            waited = bool(waiting)


def _on(node: str, stats: Stats) -> Stats:
    """With the node before the names of its devices."""
    devices = tuple(replace(each, name=f"{node} {each.name}") for each in stats.devices)
    return replace(stats, devices=devices)


def _kind(settings: Settings) -> str:
    return settings.device.partition(":")[0]


def _sent(settings: Settings, share: Share) -> Settings:
    """The settings as a node is to have them: no secrets; which GPU it is, Ray says."""
    device = _kind(settings) if share.gpus else "cpu"
    return settings.model_copy(update={"server": Server(), "device": device, "presets": {}})
