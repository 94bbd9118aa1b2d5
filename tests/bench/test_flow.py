"""Laws of runs from files to files, and of forwards alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from portrayer.bench import flow
from portrayer.bench.encoders import WRITERS
from portrayer.bench.rig import Rig, Work
from portrayer.errors import InputError
from portrayer.image import codec


def test_every_stage_takes_time_and_their_sum_is_the_whole(
    rig: Rig, work: Work, tmp_path: Path
) -> None:
    """No stage is lost or counted twice: together they are at most all that the cores can give."""
    found = flow.run(rig, work, tmp_path, 6)
    assert len(list(tmp_path.glob("*.png"))) == found.images == len(found.latencies) == 6
    shares = found.stages.shares()
    assert all(shares[name] > 0 for name in ("decode", "task", "encode", "forward"))
    assert sum(shares.values()) == pytest.approx(found.stages.total)
    assert shares["other"] < found.stages.total / 2
    assert found.rate == pytest.approx(6 / found.seconds)
    assert 0 < found.busy <= found.seconds
    assert max(found.latencies) <= found.seconds


def test_one_at_a_time_the_photos_follow_one_another(rig: Rig, work: Work, tmp_path: Path) -> None:
    """Their latencies add up to no more than the run."""
    found = flow.run(rig, work, tmp_path, 3, workers=1)
    assert 0 < sum(found.latencies) <= found.seconds


@pytest.mark.parametrize("writer", WRITERS)
def test_every_writer_writes_the_same_picture(
    writer: str, rig: Rig, work: Work, tmp_path: Path
) -> None:
    """As long as a PNG's compression alone differs, so does speed alone."""
    flow.run(rig, work, tmp_path / "own", 1)
    flow.run(rig, work, tmp_path / "other", 1, writer=writer)
    own, other = ((tmp_path / name / "00000.png").read_bytes() for name in ("own", "other"))
    one, two = codec.decode(own), codec.decode(other)
    assert (one.image == two.image).all()


def test_a_load_is_what_the_photo_asks(rig: Rig, work: Work) -> None:
    """One sample of the matting network, at the size that it takes."""
    [(model, (samples, vectors))] = rig.load(work)
    assert samples is not None
    assert (model, samples.shape, vectors) == ("portrait-matting", (1, 352, 352, 3), None)
    assert rig.costs()[model].of(1) > 0


def test_a_task_that_finds_no_face_is_not_measured(rig: Rig, tmp_path: Path) -> None:
    """It would be measured without its work; one line says what to give."""
    blank = tmp_path / "blank.png"
    blank.write_bytes(codec.encode(np.full((64, 64, 3), 128, np.uint8)))
    with pytest.raises(InputError, match=r"no face is found: give --photos"):
        rig.load(Work("enhance", (blank,)))


def test_forwards_alone_run_at_the_batch_asked_for(rig: Rig, work: Work) -> None:
    """Never above it, and the rate is positive."""
    load = rig.load(work)
    for batch in (1, 2):
        rate, ran = flow.rate(rig, load, batch, seconds=0.05)
        assert rate > 0
        assert 1 <= ran <= max(device.largest_batch for device in rig.devices)
