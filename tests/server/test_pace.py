"""Laws of the pace: it is that of the last minute, and its slowest stage is named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portrayer.server.pace import Window


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@given(
    st.lists(st.tuples(st.floats(0.01, 9), st.floats(0.01, 9)), min_size=1, max_size=80),
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(1, 9),
)
def test_the_pace_is_that_of_the_last_minute(
    photos: list[tuple[float, float]], gap: int, devices: int, workers: int
) -> None:
    """One photo every ``gap`` seconds, with the devices busy for half of them: what is older than a
    minute does not count, and the time in line for the devices is not theirs."""
    clock = Clock()
    window = Window(clock)
    for number, (decode, waited) in enumerate(photos, 1):
        clock.now += gap
        window.add({"decode": decode, "infer": waited}, number * gap / 2)
    pace = window.pace(len(photos) * gap / 2, devices, workers)
    recent = [decode for age, (decode, _) in enumerate(reversed(photos)) if age * gap <= 60]
    span = min(60, len(photos) * gap)
    assert pace["photos_per_second"] == pytest.approx(len(recent) / span)
    for stage, mean, lanes in (
        ("decode", sum(recent) / len(recent), workers),
        ("infer", gap / 2, devices),
    ):
        assert pace["stages"][stage]["seconds"] == pytest.approx(mean)
        assert pace["stages"][stage]["photos_per_second"] == pytest.approx(lanes / mean)
    slowest = min(stage["photos_per_second"] for stage in pace["stages"].values())
    assert pace["stages"][pace["bottleneck"]]["photos_per_second"] == slowest


def test_where_nothing_was_done_there_is_no_pace() -> None:
    """At the very start, and again after a minute of rest."""
    nothing = {"photos_per_second": 0.0, "stages": {}, "bottleneck": None}
    clock = Clock()
    window = Window(clock)
    assert window.pace(0.0, 1, 1) == nothing
    clock.now += 10
    window.add({"decode": 1.0}, 0.0)
    assert window.pace(0.0, 1, 1)["photos_per_second"] == 0.1
    clock.now += 61
    assert window.pace(0.0, 1, 1) == nothing


def test_the_window_is_bounded() -> None:
    """More photos than it holds make it shorter, not wrong."""
    clock = Clock()
    window = Window(clock)
    for number in range(2 * Window.PHOTOS):
        clock.now += 0.002
        window.add({"infer": 1.0}, number / 1000)
    pace = window.pace((2 * Window.PHOTOS - 1) / 1000, 2, 9)
    assert pace["photos_per_second"] == pytest.approx(500)
    assert pace["stages"]["infer"]["seconds"] == pytest.approx(0.001)
