"""Laws of the fusing task, with the shipped networks on the CPU and two well-known portraits."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portrayer.engine.device import CpuDevice, cpu_precision
from portrayer.engine.engine import Engine
from portrayer.engine.memory import Budget
from portrayer.errors import InvalidOption, NoFaceFound
from portrayer.image import codec
from portrayer.image.geometry import limit, resize
from portrayer.image.matte import erode, feather
from portrayer.models.catalog import spec
from portrayer.pipeline import Pipeline, Result
from portrayer.tasks.fusion import (
    EDGE,
    SIDES,
    SOFT,
    Fusion,
    around,
    bordered,
    memory,
    rank,
    side_for,
)
from portrayer.tasks.options import read
from portrayer.types import Face, Image
from tests.portraits import admiral
from tests.portraits import photo as astronaut_photo

GIB = 2**30


def astronaut() -> Image:
    """A face of some size: about 90 pixels wide."""
    return np.asarray(astronaut_photo(), np.uint8)  # type: ignore[no-untyped-call]


def hopper() -> Image:
    """A face of about 110 pixels in a photo of 256 x 300."""
    return limit(codec.decode(admiral()).image, 300)


@pytest.fixture(scope="module")
def pipeline() -> Iterator[Pipeline]:
    engine = Engine([CpuDevice(cpu_precision())], lambda _: Budget(GIB, "cpu"), spec)
    pipeline = Pipeline(engine, Budget(2 * GIB, "host memory"), workers=2, max_pixels=10**8)
    yield pipeline
    pipeline.close()


@pytest.fixture(scope="module")
def plain(pipeline: Pipeline) -> Result:
    """With nothing asked for, to compare with."""
    return fused(pipeline, astronaut(), hopper())


def fused(pipeline: Pipeline, source: Image, target: Image, **options: Any) -> Result:
    return pipeline.run("fuse", [source, target], {"consent": True, **options})


def apart(a: Image, b: Image, face: Face) -> float:
    """How different two pictures are within a face."""
    x, y, w, h = (round(side) for side in face.box)
    cut = np.s_[max(y, 0) : y + h, max(x, 0) : x + w]
    return float(np.abs(a[cut].astype(int) - b[cut]).mean())


def test_nothing_is_fused_without_consent(pipeline: Pipeline) -> None:
    """It is asked for in one line, and nothing has been looked at."""
    with pytest.raises(InvalidOption, match="consent"):
        pipeline.run("fuse", [astronaut(), hopper()])
    with pytest.raises(InvalidOption, match="consent"):
        pipeline.run("fuse", [astronaut(), hopper()], {"consent": False, "blend": 0})


def test_outside_the_face_nothing_changes(pipeline: Pipeline) -> None:
    """Beyond the box that is told, every pixel is the target's; inside, the face has changed."""
    result = fused(pipeline, astronaut(), hopper(), blend=1)
    assert result.faces is not None
    [face] = result.faces
    x, y, w, h = face.box
    outside = np.ones(hopper().shape[:2], bool)
    outside[int(y) : int(np.ceil(y + h)), int(x) : int(np.ceil(x + w))] = False
    assert (result.image[outside] == hopper()[outside]).all()
    assert apart(result.image, hopper(), face) > 4


def test_more_blend_changes_more(pipeline: Pipeline) -> None:
    """From the target's own face at 0, further away from it by every step."""
    steps = [fused(pipeline, astronaut(), hopper(), blend=b) for b in (0, 0.3, 0.6, 1)]
    assert steps[0].faces is not None
    [face] = steps[0].faces
    away = [apart(step.image, hopper(), face) for step in steps]
    assert away[0] < 0.6
    assert (np.diff(away) > 0.3).all()


def test_a_photo_without_a_face_is_named(pipeline: Pipeline) -> None:
    """Never the target returned as it came."""
    wall = np.full((200, 200, 3), 127, np.uint8)
    with pytest.raises(NoFaceFound, match="source"):
        fused(pipeline, wall, hopper())
    with pytest.raises(NoFaceFound, match="target"):
        fused(pipeline, astronaut(), wall)


def test_the_faces_that_are_meant(pipeline: Pipeline, tmp_path: Path) -> None:
    """The largest, one by its rank, all, or the one most like another photo's."""
    pair = np.full((300, 450, 3), 90, np.uint8)
    pair[:, :256] = hopper()
    pair[50:240, 260:] = resize(astronaut()[:380], 190, 256)[:, :190]
    like = tmp_path / "like.png"
    like.write_bytes(codec.encode(astronaut()))
    whole = fused(pipeline, hopper(), pair, target_face="all")
    assert whole.faces is not None
    large, small = whole.faces
    assert large.box[0] < 256 < small.box[0]
    meant = {"largest": [large], "1": [large], "2": [small], f"like:{like}": [small]}
    for word, faces in meant.items():
        result = fused(pipeline, hopper(), pair, target_face=word)
        assert result.faces is not None
        assert [f.box for f in result.faces] == [f.box for f in faces]
        other = small if faces == [large] else large
        assert apart(result.image, pair, other) == 0
    with pytest.raises(InvalidOption, match="2 faces"):
        fused(pipeline, hopper(), pair, target_face="3")
    for wrong in ("no.jpg", "no\0.jpg"):
        with pytest.raises(InvalidOption, match="cannot be read"):
            fused(pipeline, hopper(), pair, target_face=f"like:{wrong}")


def test_a_rank_is_a_word_or_a_number() -> None:
    """Anything else is told before a photo is opened."""
    assert rank("largest", "x", ("largest",)) == 0
    assert rank("3", "x", ("largest",)) == 2
    assert rank("all", "x", ("largest", "all")) is None
    for options in ({"source-face": "all"}, {"target-face": "0"}, {"target-face": "mine"}):
        with pytest.raises(InvalidOption, match="say largest"):
            read(Fusion, options)


def test_the_result_is_marked(pipeline: Pipeline, tmp_path: Path) -> None:
    """The file says that it is synthetic, with what parameters; and still does after another
    task.
    """
    result = fused(pipeline, astronaut(), hopper(), blend=0.5)
    for format in ("png", "jpeg", "webp"):
        blob = result.encode(format)
        mark = codec.decode(blob).credits.mark
        assert mark is not None
        assert mark.parameters["blend"] == "0.5"
        again = pipeline.run("enhance", [blob]).encode("png")
        assert codec.decode(again).credits.mark == mark


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "blend"},
        {"mode": "overlay"},
        {"skin-smooth": 1},
        {"brightness": 0.3},
        {"contrast": 0.3},
        {"saturation": -0.5},
        {"label": True},
    ],
)
def test_every_option_does_something(
    pipeline: Pipeline, plain: Result, options: dict[str, Any]
) -> None:
    """And the size of the target stays."""
    result = fused(pipeline, astronaut(), hopper(), **options).image
    assert result.shape == plain.image.shape
    assert (result != plain.image).any()


def test_a_worn_face_is_restored(pipeline: Pipeline, plain: Result) -> None:
    """Where the target is out of focus, so is the fused face, and ``restore`` changes it; a good
    one is left alone.
    """
    worn = resize(limit(hopper(), 100), 300, 256)
    without, restored = (fused(pipeline, astronaut(), worn, restore=r) for r in (False, True))
    assert restored.faces is not None
    assert apart(restored.image, without.image, restored.faces[0]) > 0.5
    good = fused(pipeline, astronaut(), hopper(), restore=True)
    assert apart(good.image, plain.image, restored.faces[0]) < 0.5


@pytest.mark.parametrize(
    ("options", "side"),
    [
        ({"output": "512"}, 512),
        ({"output": "2048"}, 600),
        ({"max_side": 256}, 256),
        ({"max_side": 256, "output": "512"}, 256),
    ],
)
def test_the_size_of_the_result(pipeline: Pipeline, options: dict[str, Any], side: int) -> None:
    """``output`` and ``max-side`` are its long side at most, never more than the target has."""
    target = codec.decode(admiral()).image
    assert max(fused(pipeline, astronaut(), target, **options).image.shape) == side


def test_a_crop_loses_nothing_within_bounds() -> None:
    """The square is as fine as the face, up to the largest."""
    mesh = np.zeros((468, 3), np.float32)

    def face(eyes: float) -> Face:
        points = np.array([[0, 0], [eyes, 0], [0, 0], [0, 0], [0, 0]], np.float32)
        return Face((10, 20, 100, 50), 1.0, points, mesh)

    assert [side_for(face(eyes)) for eyes in (5, 60, 70, 125, 200, 900)] == [
        *(256, 256, 320, 512, 896, 1024)
    ]
    for side, larger in pairwise(SIDES):
        assert side < larger <= 1.25 * side
        assert side % 64 == 0  # the small pictures of it are of whole pixels
    x, y, w, h = around(face(60)).box
    assert x < 10 < x + w > 110
    assert y < 20 < y + h > 70


@pytest.mark.parametrize("at", [(60, 40), (0, 0), (250, 120)])
def test_a_mask_is_bordered_wherever_it_is(at: tuple[int, int]) -> None:
    """As the whole of it would be, to a level, also at the crop's edge; nothing of nothing."""
    x, y = np.meshgrid(np.arange(320), np.arange(320))
    mask = np.clip(90 - np.hypot(x - at[0] - 40, y - at[1] - 60), 0, 1).astype(np.float32)
    whole = feather(erode(mask, EDGE * 320), SOFT * 320)
    assert np.abs(bordered(mask) - whole).max() <= 1 / 255
    assert not bordered(np.zeros_like(mask)).any()


def test_memory_is_no_more_than_was_said(pipeline: Pipeline, plain: Result) -> None:
    """A large face in a large photo stays within what the task said beforehand."""
    large = resize(hopper(), 1500, 1280)
    options = read(Fusion, {"consent": True})
    assert plain.faces  # what is made once has been
    tracemalloc.start()
    try:
        fused(pipeline, astronaut(), large)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    said = memory(options, 1500 * 1280) + astronaut().nbytes
    assert peak + large.nbytes + astronaut().nbytes <= said
