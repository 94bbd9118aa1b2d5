"""Laws of the networks that cut out, with made-up ones: what they answer is known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from portrayer.image.geometry import resize, unfit
from portrayer.models.catalog import spec
from portrayer.pipeline import Pipeline
from portrayer.tasks.cutting import CUTTERS, FITS, Cutter, drawn, estimate
from portrayer.tasks.matting import Matting, memory
from portrayer.tasks.options import read
from portrayer.types import Image, Matte

from . import stubs

PUBLISHED = [name for name in CUTTERS if name != "lite"]
SMALL = ("u2netp", "modnet")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    folder = tmp_path_factory.mktemp("models")
    stubs.install(folder, *SMALL)
    pipeline = stubs.pipeline(folder)
    yield pipeline
    pipeline.close()


def slope(height: int, width: int) -> Image:
    """Red goes up to the right, green downwards."""
    y, x = np.mgrid[:height, :width]
    planes = [255 * x / max(1, width - 1), 255 * y / max(1, height - 1), np.full(x.shape, 90)]
    return np.stack(planes, 2).astype(np.uint8)


def hair(height: int, width: int) -> Matte:
    """A disc whose edge is soft over a few pixels in one half, and a wide haze in the other."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    away = np.hypot(y - height / 2, x - width / 2) / min(height, width)
    wide = np.where(x < width / 2, 0.01, 0.15)
    return np.clip(0.5 + (0.3 - away) / wide, 0, 1).astype(np.float32)


@pytest.mark.parametrize("name", FITS)
@given(height=st.integers(1, 300), width=st.integers(1, 300), side=st.integers(16, 96))
@settings(max_examples=60, deadline=None)
def test_what_is_fitted_comes_back(name: str, height: int, width: int, side: int) -> None:
    """A map over the square lies over the photo again: a smooth photo comes back as it was, as
    finely as the square has shown it.
    """
    photo = slope(height, width)
    square, where = FITS[name](photo, side)
    assert square.shape == (side, side, 3)
    assert square.dtype == np.uint8
    back = unfit(square, where)
    assert back.shape == photo.shape
    shown = (where.box[2] - where.box[0], where.box[3] - where.box[1])
    finest = min(*shown, height, width)
    assert np.abs(back.astype(int) - photo).max() <= 255 / finest + 4


def test_a_squashed_photo_fills_the_square() -> None:
    """All of it is shown and nothing else; what shrinks is averaged, also where the other side
    grows.
    """
    photo = np.zeros((20, 640, 3), np.uint8)
    photo[:, ::2] = 200
    square, where = FITS["squash"](photo, 64)
    assert where.box == (0, 0, 64, 64)
    assert (square == 100).all()


@pytest.mark.parametrize("name", CUTTERS)
def test_each_is_asked_by_its_name_and_at_its_side(name: str) -> None:
    """One forward of one sample as the catalogue says; a matte of the photo's size."""
    cutter, photo = CUTTERS[name], slope(90, 60)
    side = spec(cutter.model).side
    assert spec(cutter.model).task == "matte"

    def infer(model: str, samples: Any, vectors: Any = None) -> NDArray[np.float32]:
        assert model == cutter.model
        assert samples.shape == (1, side, side, 3)
        assert (samples[0, 0, 0] == (124 if cutter.fitted == "letterbox" else photo[0, 0])).all()
        return np.ones(samples.shape[:3], np.float32)

    matte, small = estimate(photo, cutter, infer)
    assert matte.shape == (90, 60)
    np.testing.assert_allclose(matte, 1, atol=1e-6)
    assert max(small.shape) == side


def test_a_matte_that_is_right_stays_right() -> None:
    """What a network decides itself is not decided again: soft hair and wide haze come back as it
    gave them, within what a square of its size can show, where a modest network's haze would be
    decided; and no array of the network's is written to.
    """
    photo, truth = resize(slope(64, 64), 512, 400), hair(512, 400)
    square = resize(truth, 320, 320)
    kept = square.copy()
    small = resize(photo, 320, 320)
    for size in ((512, 400), (320, 320), (100, 120)):
        goal = resize(truth, *size)
        sure, modest = (
            drawn(resize(photo, *size), small, square, Cutter("any", modest=m), edges=True)
            for m in (False, True)
        )
        assert np.abs(sure - goal).mean() < 0.003
        assert np.abs(modest - goal).mean() > 0.015
        sure[:] = 0.5
    assert (square == kept).all()


def test_two_looks_do_not_write_into_the_answer() -> None:
    """Where photo and square are of one size, the second look is drawn into an array of ours."""
    answers: list[NDArray[np.float32]] = []

    def infer(model: str, samples: Any, vectors: Any = None) -> NDArray[np.float32]:
        answers.append(resize(hair(80, 80), *samples.shape[1:3])[None].copy())
        answers[-1].flags.writeable = False
        return answers[-1]

    side = spec("u2netp").side
    matte, _ = estimate(slope(side, side), CUTTERS["u2netp"], infer, looks=2, edges=False)
    assert len(answers) == 2
    assert matte.flags.writeable


def test_memory_follows_the_side_of_the_model() -> None:
    """The larger its square, the more the same photo needs."""
    needs = {name: memory(read(Matting, {"model": name}), 10**6) for name in CUTTERS}
    sides = {name: spec(CUTTERS[name].model).side for name in CUTTERS}
    for one in CUTTERS:
        for other in CUTTERS:
            assert (needs[one] < needs[other]) is (sides[one] < sides[other])
    assert needs["birefnet-general"] - needs["u2net"] > 80 * (1024**2 - 320**2)


@pytest.mark.parametrize("name", SMALL)
def test_a_published_graph_cuts_out(pipeline: Pipeline, name: str) -> None:
    """Through decoding, engine and all: RGBA of the photo's size, and the matte of that network."""
    photo = slope(200, 150)
    made = pipeline.run("matte", [photo], {"model": name})
    assert made.image.shape == (200, 150, 4)
    assert set(made.forwards) == {name}
    assert made.matte is not None
    assert made.matte.max() > 0.5
    assert (pipeline.run("matte", [photo]).image != made.image).any()
