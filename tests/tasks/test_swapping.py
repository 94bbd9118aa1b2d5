"""Laws of the networks that draw faces anew: with small graphs of chance in their place, so that
what they are told and what becomes of their answer is seen, and not whether it is beautiful.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from portrayer.errors import InvalidOption, ModelError, NoFaceFound
from portrayer.image import codec
from portrayer.image.faces import TEMPLATES, align
from portrayer.image.geometry import resize
from portrayer.models.catalog import spec
from portrayer.pipeline import Pipeline, Result
from portrayer.tasks.faces import PORTION
from portrayer.tasks.fusion import Fusion, memory, most_like
from portrayer.tasks.options import read
from portrayer.tasks.swapping import SWAPPERS, identities, likeness, swapped
from portrayer.types import Face, Image
from tests.portraits import admiral
from tests.portraits import photo as astronaut_photo

from . import stubs
from .sitters import KNOWN, Seer, Sitter, chart

MADE = ("arcface", "crossface-ghost", "crossface-simswap")
FIVE = np.array([[-37, -25], [37, -25], [0, 18], [-33, 52], [33, 52]], np.float32)


def astronaut() -> Image:
    return np.asarray(astronaut_photo(), np.uint8)  # type: ignore[no-untyped-call]


def hopper() -> Image:
    return resize(codec.decode(admiral()).image, 300, 256)


def pair() -> Image:
    """The admiral, and beside him the astronaut, smaller."""
    both = np.full((300, 450, 3), 90, np.uint8)
    both[:, :256] = hopper()
    both[50:240, 260:] = resize(astronaut()[:380], 190, 256)[:, :190]
    return both


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    folder = tmp_path_factory.mktemp("models")
    stubs.install(folder, *SWAPPERS, *MADE)
    pipeline = stubs.pipeline(folder)
    yield pipeline
    pipeline.close()


def fused(pipeline: Pipeline, source: Image, target: Image, **options: Any) -> Result:
    return pipeline.run("fuse", [source, target], {"consent": True, **options})


def face(x: float, y: float) -> Face:
    """One that is 150 pixels wide, around (x, y)."""
    points = FIVE + np.float32((x, y))
    return Face((x - 75, y - 100, 150, 200), 1.0, points, np.zeros((468, 3), np.float32))


@pytest.mark.parametrize("name", SWAPPERS)
def test_a_network_draws_the_face(pipeline: Pipeline, name: str) -> None:
    """The face has changed and nothing beside it; the file says by what it was made; what made it
    ran once for each photo.
    """
    result = fused(pipeline, astronaut(), hopper(), model=name, blend=1)
    assert result.image.shape == hopper().shape
    assert set(result.forwards) >= set(SWAPPERS[name].models)
    assert all(len(result.forwards[model]) == 1 for model in SWAPPERS[name].models)
    assert result.faces is not None
    [found] = result.faces
    x, y, w, h = found.box
    inside = np.zeros(hopper().shape[:2], bool)
    inside[int(np.ceil(y)) : int(y + h), int(np.ceil(x)) : int(x + w)] = True
    changed = (result.image != hopper()).any(2)
    assert not changed[~inside].any()
    assert changed[inside].mean() > 0.3
    mark = codec.decode(result.encode("png")).credits.mark
    assert mark is not None
    assert mark.parameters["model"] == name
    other = fused(pipeline, hopper(), hopper(), model=name, blend=1)
    assert (other.image != result.image).any()  # who the source is, counts


def test_blend_is_between_ones_own_face_and_the_drawn_one(pipeline: Pipeline) -> None:
    """At 0 the target's own, and further from it by every step."""
    steps = [
        fused(pipeline, astronaut(), hopper(), model="simswap", blend=b).image
        for b in (0, 0.3, 0.6, 1)
    ]
    away = [np.abs(step.astype(int) - hopper()).mean() for step in steps]
    assert away[0] < 0.05
    assert (np.diff(away) > 0.1).all()


def test_nothing_is_drawn_without_consent(pipeline: Pipeline) -> None:
    """The same word as for every fusing, and the same errors."""
    with pytest.raises(InvalidOption, match="consent"):
        pipeline.run("fuse", [astronaut(), hopper()], {"model": "ghost"})
    with pytest.raises(NoFaceFound, match="source"):
        fused(pipeline, np.full((200, 200, 3), 127, np.uint8), hopper(), model="ghost")


def test_what_is_not_installed_says_how(tmp_path: Path) -> None:
    """In one line, with the command that brings it."""
    pipeline = stubs.pipeline(tmp_path)
    try:
        with pytest.raises(ModelError, match=r"`portrayer models pull \S+` brings it"):
            fused(pipeline, astronaut(), hopper(), model="inswapper-128")
    finally:
        pipeline.close()


def test_all_faces_are_one_forward(pipeline: Pipeline) -> None:
    """However many are replaced; each of them is, and comes out as it does alone."""
    options = {"model": "inswapper-128", "blend": 1}
    both = fused(pipeline, hopper(), pair(), target_face="all", **options)
    assert both.faces is not None
    assert len(both.faces) == 2
    assert len(both.forwards["inswapper-128"]) == len(both.forwards["arcface"]) == 1
    for rank in ("1", "2"):
        alone = fused(pipeline, hopper(), pair(), target_face=rank, **options)
        changed = (alone.image != pair()).any(2)
        assert changed.any()
        away = np.abs(alone.image[changed].astype(int) - both.image[changed])
        assert np.percentile(away, 99) <= 1


def test_a_face_like_another_is_chosen_by_who_it_is(pipeline: Pipeline, tmp_path: Path) -> None:
    """With a network that knows who somebody is, the same person is found among others."""
    for image, left in ((hopper(), True), (resize(astronaut()[:380], 190, 256)[:, :190], False)):
        like = tmp_path / "like.png"
        like.write_bytes(codec.encode(image))
        result = fused(pipeline, hopper(), pair(), model="ghost", target_face=f"like:{like}")
        assert result.faces is not None
        [found] = result.faces
        assert (found.box[0] + found.box[2] / 2 < 256) is left


def test_who_counts_more_than_shape() -> None:
    """The recogniser's word decides, in one request for all faces; without one, the shape does."""
    sitters = [Sitter(90, 100, 60, 80), Sitter(300, 100, 48, 90)]
    asked: list[tuple[int, ...]] = []

    class Knowing(Seer):
        def __call__(self, model: str, samples: Any, vectors: Any = None) -> NDArray[np.float32]:
            if model != "arcface":
                return super().__call__(model, samples)
            asked.append(samples.shape)
            return np.float32([[3, 4], [-4, 3], [1, 1]])

    photo = chart(200, 400)
    infer = Knowing(photo, [Sitter(200, 100, 60, 80)])
    depths = [KNOWN[:, 2] * sitter.width for sitter in sitters]
    found = [
        Face(
            (s.x, s.y, s.width, s.height),
            s.score,
            np.float32(s.points),
            np.float32(np.column_stack([s.mesh, depth])),
        )
        for s, depth in zip(sitters, depths, strict=True)
    ]
    shape, who = Fusion(), Fusion(model="simswap")
    assert most_like(photo, photo, found, shape, infer) is found[0]
    assert asked == []
    assert most_like(photo, photo, found, who, infer) is found[1]
    assert asked == [(3, 112, 112, 3)]


def test_likeness_is_the_angle() -> None:
    """1 in the same direction, whatever the length, 0 across, -1 against; nothing is like none."""
    others = np.float32([[6, 8], [-4, 3], [-3, -4], [0, 0]])
    np.testing.assert_allclose(likeness(np.float32([3, 4]), others), [1, 0, -1, 0], atol=1e-6)


@pytest.mark.parametrize("name", SWAPPERS)
def test_what_a_network_is_told(name: str) -> None:
    """The recogniser sees the source on its template; its vector goes through each converter in
    turn; the network sees the targets on its own template, each with that vector, and what it draws
    comes back with the way to it.
    """
    swapper, side = SWAPPERS[name], spec(SWAPPERS[name].model).side
    photo, other = resize(astronaut(), 600, 800), resize(hopper(), 600, 500)
    takers = [face(150, 200), face(420, 300)]
    asked: list[str] = []

    def infer(model: str, samples: Any, vectors: Any = None) -> NDArray[np.float32]:
        asked.append(model)
        if model == "arcface":
            assert (samples[0] == align(other, face(200, 250).points, "arcface", 112)[0]).all()
            assert vectors is None
            return np.full((1, 512), 1, np.float32)
        if model in MADE:
            assert samples is None
            return np.asarray(2 * vectors, np.float32)
        assert (vectors == 2 ** (len(asked) - 2)).all()
        assert vectors.shape == (2, 512)
        for sample, taker in zip(samples, takers, strict=True):
            assert (sample == align(photo, taker.points, swapper.template, side)[0]).all()
        return np.float32(1 - samples / 255.0)

    made = swapped(other, face(200, 250), photo, takers, swapper, infer)
    assert asked == [*swapper.needs, name]
    for (crop, matrix), taker in zip(made, takers, strict=True):
        before, goes = align(photo, taker.points, swapper.template, side)
        assert (crop == 255 - before).all()
        np.testing.assert_array_equal(matrix, goes)
        there = np.column_stack([taker.points, np.ones(5)]) @ matrix.T
        assert np.abs(there - TEMPLATES[swapper.template] * side).max() < 0.06 * side


def test_a_crowd_is_drawn_in_portions() -> None:
    """Many faces are several requests, none of which answers more than was reckoned with."""
    photo, crowd = resize(astronaut(), 600, 800), [face(20 * k, 300 + k) for k in range(40)]
    sizes: list[int] = []

    def infer(model: str, samples: Any, vectors: Any = None) -> NDArray[np.float32]:
        if samples is None or model == "arcface":
            return np.ones((1, 512), np.float32)
        answer = np.full(samples.shape, 0.5, np.float32)
        sizes.append(answer.nbytes)
        return answer

    made = swapped(photo, crowd[0], photo, crowd, SWAPPERS["ghost"], infer)
    assert len(made) == 40
    assert max(sizes) <= PORTION
    assert len(sizes) == 2
    assert identities([(photo, one) for one in crowd[:1]], SWAPPERS["ghost"], infer).shape == (
        1,
        512,
    )


@pytest.mark.parametrize("name", SWAPPERS)
def test_memory_is_no_more_than_was_said(pipeline: Pipeline, name: str) -> None:
    """A large face in a large photo stays within what the task said beforehand."""
    large = resize(hopper(), 1500, 1280)
    options = read(Fusion, {"consent": True, "model": name})
    assert memory(options, 10**6) > memory(Fusion(), 10**6)
    fused(pipeline, astronaut(), hopper(), model=name)  # what is made once has been
    tracemalloc.start()
    try:
        fused(pipeline, astronaut(), large, model=name)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    said = memory(options, 1500 * 1280) + memory(options, 512 * 512)
    assert peak + large.nbytes + astronaut().nbytes <= said
