"""Laws of a flow in several processes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from portrayer.bench import beside
from portrayer.bench.rig import Work
from portrayer.errors import DecodeError

from .conftest import SETUP


def test_all_photos_are_done_between_them(work: Work, tmp_path: Path) -> None:
    """Each by one of the processes, in each turn; the figures are of all of them."""
    turns = beside.run(SETUP, work, tmp_path, 5, 2, turns=2)
    made = [len(list((tmp_path / f"part-{number}").glob("*.png"))) for number in range(2)]
    assert made == [3, 2]
    for flow in turns:
        assert flow.images == len(flow.latencies) == 5
        assert flow.rate == pytest.approx(5 / flow.seconds)
        assert 0 < flow.busy <= flow.seconds
        shares = flow.stages.shares()
        assert all(shares[name] > 0 for name in ("decode", "task", "encode", "forward"))


def test_what_ails_them_is_told(work: Work, tmp_path: Path) -> None:
    """As it was raised."""
    text = tmp_path / "text.jpg"
    text.write_text("a text that calls itself a photo")
    with pytest.raises(DecodeError):
        beside.run(SETUP, replace(work, photos=(text,)), tmp_path, 2, 2)
