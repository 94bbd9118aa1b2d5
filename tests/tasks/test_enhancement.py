"""Laws of the restoring task, with the shipped networks on the CPU and portraits made bad."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from portrayer.engine.device import CpuDevice, cpu_precision
from portrayer.engine.engine import Engine
from portrayer.engine.memory import Budget
from portrayer.errors import InvalidOption
from portrayer.image import codec
from portrayer.image.geometry import resize
from portrayer.models.catalog import spec
from portrayer.pipeline import Pipeline, Result
from portrayer.tasks.enhancement import (
    MODES,
    RESTORERS,
    Enhancement,
    memory,
    pushed,
    restore,
)
from portrayer.tasks.faces import PORTION
from portrayer.tasks.options import read
from portrayer.types import Face, Image
from tests.portraits import admiral, astronaut
from tests.portraits import photo as whole

from . import stubs

GIB = 2**30
OFF = {"denoise": 0, "sharpen": 0}


@pytest.fixture(scope="module")
def pipeline() -> Iterator[Pipeline]:
    """One replica, and more photos in flight than a batch holds."""
    device = CpuDevice(cpu_precision())
    device.largest_batch = 8
    engine = Engine([device], lambda _: Budget(GIB, "cpu"), spec)
    pipeline = Pipeline(engine, Budget(GIB, "host memory"), workers=20, max_pixels=10**8)
    yield pipeline
    pipeline.close()


def worn(photo: Image, times: float = 2.0, quality: int = 40) -> Image:
    """A photo that was made smaller, compressed, and made larger again."""
    height, width = photo.shape[:2]
    small = resize(photo, round(height / times), round(width / times))
    sent = codec.decode(codec.encode(small, "jpeg", quality=quality)).image
    return resize(sent, height, width)


def restored(pipeline: Pipeline, photo: Image, **options: Any) -> Result:
    return pipeline.run("enhance", [photo], options)


def error(a: Image, b: Image) -> float:
    return float(np.mean((a.astype(np.float32) - b) ** 2))


def face_of(result: Result) -> tuple[slice, slice]:
    assert result.faces
    x, y, w, h = (round(side) for side in result.faces[0].box)
    return slice(y, y + h), slice(x, x + w)


def test_a_worn_face_comes_nearer_to_what_it_was(pipeline: Pipeline) -> None:
    """The restored face is closer to the original than the worn one, on two well-known faces."""
    large = resize(whole(), 500, 500)
    for photo, times in ((large, 2.5), (codec.decode(admiral()).image, 3.5)):
        bad = worn(photo, times)
        result = restored(pipeline, bad, **OFF)
        cut = face_of(result)
        assert error(result.image[cut], photo[cut]) < 0.95 * error(bad[cut], photo[cut])


def test_the_faces_that_were_found_are_told(pipeline: Pipeline) -> None:
    """One face in a portrait, its five points inside its box, eyes above nose above mouth."""
    result = restored(pipeline, astronaut())
    assert result.faces is not None
    [face] = result.faces
    x, y, w, h = face.box
    inside = (face.points > (x, y)) & (face.points < (x + w, y + h))
    assert inside.all()
    right, left, nose, right_mouth, left_mouth = face.points
    assert right[0] < nose[0] < left[0]
    assert max(right[1], left[1]) < nose[1] < min(right_mouth[1], left_mouth[1])
    assert face.mesh.shape == (468, 3)
    assert 0 < face.score <= 1


def test_nothing_asked_for_nothing_done(pipeline: Pipeline) -> None:
    """With every strength at zero the photo comes back bit for bit."""
    assert (restored(pipeline, astronaut(), strength=0, **OFF).image == astronaut()).all()


def test_a_photo_without_a_face_is_worked_on_as_a_whole(pipeline: Pipeline) -> None:
    """It says that there was none; its noise goes; without the whole-frame pass it stays as it
    is.
    """
    rng = np.random.default_rng(0)
    hill = np.repeat(np.linspace(60, 190, 160)[:, None, None], 200, 1) + np.zeros(3)
    bad = np.clip(hill + rng.normal(0, 12, hill.shape), 0, 255).astype(np.uint8)
    result = restored(pipeline, bad, denoise=60)
    assert result.faces == ()
    assert "portrait-restore" not in result.forwards
    assert error(result.image, hill) < 0.5 * error(bad, hill)
    assert (restored(pipeline, bad, **OFF).image == bad).all()


def test_strength_blends(pipeline: Pipeline) -> None:
    """Half the strength is half way, within rounding; more of it changes more."""
    bad = worn(astronaut())
    none, half, full = (
        restored(pipeline, bad, strength=s, **OFF).image.astype(int) for s in (0, 50, 100)
    )
    assert np.abs(2 * half - none - full).max() <= 3
    assert np.abs(full - none).mean() > 1.9 * np.abs(half - none).mean() > 0


def test_only_the_faces_asked_for_are_restored(pipeline: Pipeline) -> None:
    """Of two, ``largest`` is one and leaves the other alone, and so does a minimum size."""
    large, small = worn(astronaut()), worn(resize(astronaut(), 128, 128), 1.5)
    pair = np.full((256, 400, 3), 128, np.uint8)
    pair[:, :256], pair[64:192, 264:392] = large, small
    both = restored(pipeline, pair, **OFF)
    assert both.faces is not None
    assert len(both.faces) == 2
    assert both.faces[0].box[2] > both.faces[1].box[2]
    for options in ({"faces": "largest"}, {"faces": "1"}, {"min-face": 40}):
        one = restored(pipeline, pair, **OFF, **options)
        assert one.faces is not None
        assert len(one.faces) == 1
        assert (one.image[64:192, 264:392] == small).all()
        assert (one.image[:, :256] != large).any()
    for wrong in ("none", "-1", "0", "1.5", ""):
        with pytest.raises(InvalidOption, match="all, largest, or a number"):
            read(Enhancement, {"faces": wrong})


def test_photos_share_forwards_and_do_not_notice(pipeline: Pipeline) -> None:
    """Forty single-face photos share forwards of the restorer, two and more to each even on a busy
    machine (eight where it is not), and eight at most; each comes out as it does alone, within
    1/255.
    """
    photos = [worn(np.roll(astronaut(), shift, 1), 1.5, 60) for shift in range(-20, 20)]
    with ThreadPoolExecutor(len(photos)) as callers:
        results = list(callers.map(lambda photo: restored(pipeline, photo, **OFF), photos))
    assert all(len(r.faces or ()) == 1 for r in results)
    assert max(r.batch for r in results) <= 8
    assert len({n for r in results for n in r.forwards["portrait-restore"]}) <= 20
    for photo, result in list(zip(photos, results, strict=True))[::5]:
        alone = restored(pipeline, photo, **OFF)
        assert len(alone.forwards["portrait-restore"]) == 1
        assert np.abs(alone.image.astype(int) - result.image).max() <= 1


def test_before_and_after_side_by_side(pipeline: Pipeline) -> None:
    """``compare`` shows the photo as it was on the left, the result on the right."""
    bad = worn(astronaut())
    plain, both = restored(pipeline, bad).image, restored(pipeline, bad, compare=True).image
    assert (both[:, :256] == bad).all()
    assert (both[:, -256:] == plain).all()


def test_a_limit_on_the_size_comes_first(pipeline: Pipeline) -> None:
    """``max-side`` shrinks the photo before anything is done to it; faces are in its pixels."""
    result = restored(pipeline, codec.decode(admiral()).image, max_side=256)
    assert max(result.image.shape) == 256
    assert result.faces is not None
    assert max(result.faces[0].box) < 256


def test_every_mode_and_restorer_is_a_row() -> None:
    """What can be chosen is what there is; a restorer gives a picture, or what is added to one."""
    fields = {o: Enhancement.__dataclass_fields__[o].metadata["choices"] for o in ("mode", "model")}
    assert fields == {"mode": tuple(MODES), "model": tuple(RESTORERS)}
    for row in RESTORERS.values():
        assert spec(row.model).output == ("change" if row.adds else "picture")


@pytest.mark.parametrize("name", ["gfpgan-1.4", "codeformer"])
def test_a_published_graph_restores(name: str, tmp_path: Path) -> None:
    """With a graph of chance in its place: both faces in one forward, each changed within its crop,
    and nothing beside them.
    """
    stubs.install(tmp_path, name)
    pair = np.full((256, 400, 3), 128, np.uint8)
    pair[:, :256], pair[64:192, 264:392] = astronaut(), resize(astronaut(), 128, 128)
    pipeline = stubs.pipeline(tmp_path)
    try:
        result = restored(pipeline, pair, model=name, **OFF)
    finally:
        pipeline.close()
    assert result.faces is not None
    assert len(result.faces) == 2
    assert len(result.forwards[name]) == 1
    for face in result.faces:
        x, y, w, h = (round(side) for side in face.box)
        cut = np.s_[max(y, 0) : y + h, max(x, 0) : x + w]
        assert error(result.image[cut], pair[cut]) > 1
    assert (result.image[:, 393:] == pair[:, 393:]).all()


def test_a_good_face_stays_as_it_is(pipeline: Pipeline) -> None:
    """What a camera gave and an upload hardly touched comes back bit for bit."""
    good = codec.decode(codec.encode(resize(whole(), 500, 500), "jpeg", quality=95)).image
    result = restored(pipeline, good, faces="largest")
    assert result.faces
    assert (result.image == good).all()


def test_pushing_is_a_line_from_before_to_after() -> None:
    """0 is the face as it was, 1 the face with the change, 2 twice that, and all stays in range."""
    rng = np.random.default_rng(0)
    face = rng.integers(0, 256, (8, 8, 3), np.uint8)
    change = rng.integers(-90, 90, (8, 8, 3)).astype(np.float32)
    for push in (0, 1, 2):
        assert (pushed(face, change, push) == np.clip(face + push * change, 0, 255)).all()


@pytest.mark.parametrize("options", [{}, {"compare": True}, {"sharpen": 50, "skin-protect": 50}])
def test_memory_is_no_more_than_was_said(pipeline: Pipeline, options: dict[str, Any]) -> None:
    """The peak of a large photo stays within what the task said beforehand."""
    photo = resize(worn(astronaut()), 1600, 1600)
    chosen = read(Enhancement, options)
    tracemalloc.start()
    try:
        restored(pipeline, photo, **options)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak + photo.nbytes <= memory(chosen, 1600 * 1600)


def test_a_crowd_takes_no_more_memory_than_was_said() -> None:
    """Forty faces, side by side or one over the other, are restored in portions."""
    photo = resize(whole(), 600, 800)
    five = np.array([[-37, -25], [37, -25], [0, 18], [-33, 52], [33, 52]], np.float32)
    crowd = [
        Face((0, 0, 150, 200), 1.0, np.add(five, (20 * k, 300 + k)), np.zeros((468, 3), np.float32))
        for k in range(40)
    ]
    answers = []

    def infer(model: str, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        answers.append(np.full(crops.shape, 0.2, np.float32))
        return answers[-1]

    chosen = Enhancement()
    tracemalloc.start()
    try:
        result = restore(photo, photo, crowd, chosen, infer)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (result != photo).any()
    assert sum(map(len, answers)) == len(crowd)
    assert max(answer.nbytes for answer in answers) <= PORTION
    # What this test keeps of the answers is freed between portions.
    assert peak - answers[0].nbytes <= memory(chosen, photo.size // 3)
