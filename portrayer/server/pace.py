"""How fast photos and their stages have been lately, and which stage holds the others up."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Timings: TypeAlias = Mapping[str, float]
"""Seconds of one photo, by stage."""


class Window:
    """The last minute: how many photos, and how long each stage had with them.

    ``clock``: seconds that only grow. Adding is safe from any thread.
    """

    SECONDS = 60.0
    PHOTOS = 5000  # where there are more in a minute, the window is shorter

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        # When a photo was finished, its timings, what the devices had been busy for by then; the
        # first only marks where the rest begins.
        self._photos: deque[tuple[float, Timings, float]] = deque(maxlen=self.PHOTOS)
        self._photos.append((clock(), {}, 0.0))
        self._clock = clock

    def add(self, timings: Timings, busy: float) -> None:
        """A photo was finished. ``busy``: seconds that the devices have had work, all together."""
        self._photos.append((self._clock(), timings, busy))

    def pace(self, busy: float, devices: int, workers: int) -> dict[str, Any]:
        """``photos_per_second``; by stage, the mean ``seconds`` of a photo and the
        ``photos_per_second`` that it could do if there were nothing else; the slowest stage as
        ``bottleneck``, None where nothing was done.

        ``busy`` as for :meth:`add`. Of "infer" those seconds count, not the time in line for them,
        and so many ``devices`` share it; the other stages have so many ``workers``.
        """
        now, photos = self._clock(), list(self._photos)
        old = sum(photo[0] < now - self.SECONDS for photo in photos[1:])
        begun, _, before = photos[old]
        recent = photos[old + 1 :]
        spent: defaultdict[str, list[float]] = defaultdict(list)
        for _, timings, _ in recent:
            for stage, seconds in timings.items():
                spent[stage].append(seconds)
        if "infer" in spent:
            spent["infer"] = [(busy - before) / len(recent)]
        means = {stage: sum(seconds) / len(seconds) for stage, seconds in spent.items()}
        could = {
            stage: (devices if stage == "infer" else workers) / mean
            for stage, mean in means.items()
            if mean > 0
        }
        span = min(now - begun, self.SECONDS)
        return {
            "photos_per_second": len(recent) / span if span > 0 else 0.0,
            "stages": {
                stage: {"seconds": means[stage], "photos_per_second": could[stage]}
                for stage in could
            },
            "bottleneck": min(could, key=could.__getitem__, default=None),
        }
