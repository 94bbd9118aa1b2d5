"""Who goes first on the host's cores: photos of a higher priority, from one stage to the next."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TypeAlias

from portrayer.errors import DeadlineExceeded

Watch: TypeAlias = Callable[[str], None]
"""Called with a stage's name as the stage begins; what it raises ends the photo there."""

PATIENCE = 2.0  # seconds that a photo pauses at one border at most: nobody waits for ever


class Precedence:
    """Photos under way, by priority. The lower ones pause for the higher ones at stage borders.

    Only what holds its memory makes others pause, and nobody pauses while one that goes first
    waits for memory: it may be the paused ones that hold it.
    """

    def __init__(self) -> None:
        self._waiting: list[int] = []
        self._working: list[int] = []
        self._changed = threading.Condition()

    @contextmanager
    def working(self, priority: int, memory: AbstractContextManager[None]) -> Iterator[None]:
        """A photo is worked on in here. ``memory`` reserves what it needs, and may have to wait."""
        with ExitStack() as held:
            with self._listed(self._waiting, priority):
                held.enter_context(memory)
            with self._listed(self._working, priority):
                yield

    def pause(self, priority: int, seconds: float = PATIENCE) -> None:
        """Give way to what goes first, for ``seconds`` and :data:`PATIENCE` at most."""
        with self._changed:
            self._changed.wait_for(lambda: self._free(priority), min(seconds, PATIENCE))

    def _free(self, priority: int) -> bool:
        first = max(self._working, default=priority) <= priority
        return first or max(self._waiting, default=priority) > priority

    @contextmanager
    def _listed(self, photos: list[int], priority: int) -> Iterator[None]:
        with self._changed:
            photos.append(priority)
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                photos.remove(priority)
                self._changed.notify_all()


class Course:
    """A photo's way through its stages. At each border it is settled whether it goes on.

    ``seconds``: by stage, pauses left out.
    """

    def __init__(
        self,
        precedence: Precedence,
        watch: Watch | None = None,
        priority: int = 0,
        seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.seconds: dict[str, float] = {}
        self.priority, self.deadline = priority, None if seconds is None else clock() + seconds
        self._precedence, self._watch, self._clock = precedence, watch, clock
        self._stage, self._since = "", 0.0

    @property
    def left(self) -> float | None:
        """Seconds until the deadline, below 0 when it has passed; None where there is none."""
        return None if self.deadline is None else self.deadline - self._clock()

    def enter(self, stage: str) -> None:
        """The next stage begins: after a pause for what goes first, and if it still may.

        Raises :class:`DeadlineExceeded`, and whatever the one who watches raises.
        """
        self.leave()
        left = math.inf if self.left is None else self.left
        self._precedence.pause(self.priority, left)
        if self.left is not None and self.left <= 0:
            raise DeadlineExceeded("the time allowed is over")
        if self._watch is not None:
            self._watch(stage)
        self._stage, self._since = stage, self._clock()

    def leave(self) -> None:
        """The stage is over."""
        if self._stage:
            spent = self._clock() - self._since
            self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + spent
            self._stage = ""
