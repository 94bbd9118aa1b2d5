"""What becomes of an item that was running when the program died."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from time import time

from portrayer.jobs.record import CRASHED, INTERRUPTED, STARTS, Failure, Item, State
from portrayer.storage import is_url

DIED = Failure(INTERRUPTED, "was running when the program died")
LAST = Failure(CRASHED, f"the program died each time, and it was started {STARTS} times")


def settled(item: Item) -> Item:
    """The running ``item`` as it is to go on: done, queued or failed.

    Done if its output was written since it was started: outputs appear whole or not at all. Else
    queued as interrupted, and that is held against no item, since a kill from outside looks
    like one that the item has caused. What was started ``STARTS`` times is failed as crashed all
    the same.
    """
    written = _written(item)
    if written is not None:
        done = {"adopted": True}
        return replace(item, state=State.DONE, error=None, result=done, finished=written)
    if item.attempt >= STARTS:
        return replace(item, state=State.FAILED, error=LAST, finished=time())
    return replace(item, state=State.QUEUED, error=DIED)


def _written(item: Item) -> float | None:
    """When the item's output was written, if that was since it was started.

    An empty file does not count: it is what a power cut leaves of a file that was moved into place.
    Nor does an object: its time is told by another machine's clock.
    """
    if is_url(item.target):
        return None
    try:
        status = Path(item.target).stat()
    except (OSError, ValueError):
        return None
    whole = status.st_size > 0 and status.st_mtime >= (item.started or 0)
    return status.st_mtime if whole else None
