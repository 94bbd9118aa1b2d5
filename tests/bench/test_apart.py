"""Laws of a call in a process of its own."""

from __future__ import annotations

import os
import signal

import pytest

from portrayer.bench.apart import apart
from portrayer.errors import CapacityError, OutOfMemory


def doubled(number: int) -> tuple[int, int]:
    """Twice a number, and where that was found."""
    return 2 * number, os.getpid()


def refused() -> None:
    raise OutOfMemory("none left")


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_it_is_answered_from_another_process() -> None:
    """Each call has its own."""
    (one, first), (two, second) = apart(doubled, 1), apart(doubled, 2)
    assert (one, two) == (2, 4)
    assert len({os.getpid(), first, second}) == 3


def test_its_errors_come_back() -> None:
    """One of the program's as it is; a death as one line."""
    with pytest.raises(OutOfMemory, match="none left"):
        apart(refused)
    with pytest.raises(CapacityError, match="exit code -9") as caught:
        apart(killed)
    assert "\n" not in str(caught.value)
