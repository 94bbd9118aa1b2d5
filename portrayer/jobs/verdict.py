"""What an error of one item says of the others: the table that decides how a runner goes on."""

from __future__ import annotations

import errno
from enum import Enum, auto
from typing import TypeAlias

from portrayer.errors import CapacityError, EngineClosed, ModelError, OutputError, PortrayerError
from portrayer.jobs.backend import Crashed


class Verdict(Enum):
    """What an error says about the item and the run."""

    FAIL = auto()  # this item alone
    AGAIN = auto()  # this moment
    STOP = auto()  # every item would fail alike


Table: TypeAlias = tuple[tuple[type[PortrayerError], Verdict], ...]

# The first family that fits decides. A service outlives what meets the items of one job: on another
# job's disk, or with another job's model, all may be well.
SERVICE: Table = (
    (EngineClosed, Verdict.STOP),
    (CapacityError, Verdict.AGAIN),
    (Crashed, Verdict.AGAIN),
    (PortrayerError, Verdict.FAIL),
)
RUN: Table = ((OutputError, Verdict.STOP), (ModelError, Verdict.STOP), *SERVICE)

# An output that cannot be written because of its own name says nothing about the others.
OWN_FAULT = {errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP}


def verdict(error: PortrayerError, table: Table) -> Verdict:
    """What is to be done about an item's error."""
    if isinstance(error.__cause__, OSError) and error.__cause__.errno in OWN_FAULT:
        return Verdict.FAIL
    return next(said for family, said in table if isinstance(error, family))
