"""The processors this process may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def cores() -> int:
    """How many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def counting(most: int) -> Iterator[None]:
    """Whoever counts this process's processors meanwhile finds no more than ``most``.

    Its threads may run on all of them before and after: which are free is for the system to say.
    """
    if not hasattr(os, "sched_setaffinity") or most >= cores():
        yield
        return
    whole = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(whole)[: max(1, most)])
    try:
        yield
    finally:
        for thread in os.listdir("/proc/self/task"):  # those begun meanwhile have inherited it
            with suppress(OSError):
                os.sched_setaffinity(int(thread), whole)
