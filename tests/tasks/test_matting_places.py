"""Laws of where matting looks and where it puts the subject, with a made-up model."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from portrayer.errors import InvalidOption
from portrayer.image import codec
from portrayer.image.matte import bounds
from portrayer.tasks.matting import Matting, memory, run
from portrayer.tasks.options import read
from portrayer.tasks.task import Product
from portrayer.types import Image
from tests.tasks.test_matting import GREY, RED, made, portrait, redness, saying, seen, watched


def crowd() -> Image:
    """Two red blocks before grey, the left one higher."""
    photo = np.full((300, 400, 3), GREY, np.uint8)
    photo[40:140, 30:110] = RED
    photo[180:280, 260:380] = RED
    return photo


def where(product: Product) -> tuple[int, int, int, int]:
    """Top, left, bottom, right of what is seen."""
    assert product.matte is not None
    box = bounds(product.matte, level=0.5)
    assert box is not None
    return box[0].start, box[1].start, box[0].stop, box[1].stop


def near(product: Product, *expected: float, within: float = 3) -> bool:
    return bool(np.abs(np.subtract(where(product), expected)).max() <= within)


@pytest.mark.parametrize("roi", ["0% 0% 50% 100%", "0px 0px 200px 300px", "50% 100% 0px 0%"])
def test_only_in_a_part_is_anybody_looked_for(roi: str) -> None:
    """The model is shown that part alone; beside it is background, in a result of the photo's
    size.
    """
    shown, infer = watched()
    product = made(crowd(), infer, roi=roi)
    assert product.image.shape == (300, 400, 4)
    assert near(product, 40, 30, 140, 110)
    assert not product.image[:, 200:].any()
    assert len(shown) == 1
    assert (made(crowd()[:, :200]).image == product.image[:, :200]).all()


def test_pixels_of_a_part_are_the_photos_own() -> None:
    """However small the result is to be; the matte and every background keep to the part."""
    roi = "200px 0px 400px 300px"
    product = made(crowd(), roi=roi, max_side=200)
    assert product.image.shape == (150, 200, 4)
    assert near(product, 90, 130, 140, 190)
    for name, word in (("output", "matte"), ("background", "white"), ("background", "blur")):
        whole = run([crowd()], read(Matting, {"roi": roi, name: word}), redness)
        assert near(whole, 180, 260, 280, 380)
    assert (made(crowd(), roi="50% 0% 100% 100%", background="white").image[:150] == 255).all()


@pytest.mark.parametrize("roi", ["50% 0% 50% 100%", "900px 0px 999px 10px"])
def test_a_part_that_is_none(roi: str) -> None:
    """It is told, with the photo's size, before the model is asked."""
    shown, infer = watched()
    with pytest.raises(InvalidOption, match=r"roi is .* photo of 400 x 300"):
        made(crowd(), infer, roi=roi, max_side=100)
    assert not shown


@pytest.mark.parametrize("scale", [10, 50, 100])
def test_the_subject_fills_that_much(scale: int) -> None:
    """Its longer side, against the picture's, is the share that was said; it stands in the
    middle.
    """
    product = made(portrait(300, 200), scale=f"{scale}%")
    assert product.image.shape == (300, 200, 4)
    side = 2 * scale
    assert near(product, 150 - side / 2, 100 - side / 2, 150 + side / 2, 100 + side / 2)
    middle = product.image[145:155, 95:105]
    assert (middle[..., 3] == 255).all()
    assert np.abs(middle[..., :3].astype(int) - RED).max() <= 2


@pytest.mark.parametrize(
    ("position", "top", "left"),
    [("center", 90, 40), ("50%", 90, 40), ("0%", 0, 0), ("100% 0%", 0, 80), ("25% 100%", 180, 20)],
)
def test_the_subject_is_put_there(position: str, top: int, left: int) -> None:
    """At its own size: x and y are shares of the room that it leaves. No pixel of it is changed."""
    photo = np.full((300, 200, 3), GREY, np.uint8)
    photo[20:140, 50:170] = RED
    stays, moved = made(photo), made(photo, position=position)
    high, low = where(stays)[:2]
    assert near(moved, top, left, top + 120, left + 120)
    y, x = where(moved)[0] - high, where(moved)[1] - low
    old = stays.image[high : high + 110, low : low + 110]
    assert (moved.image[high + y : high + y + 110, low + x : low + x + 110] == old).all()


def test_what_is_the_default_where() -> None:
    """Where it was; with a scale in the middle, unless it is to stay."""
    photo = np.full((300, 200, 3), GREY, np.uint8)
    photo[20:80, 20:80] = RED
    assert (made(photo).image == made(photo, position="original", scale="original").image).all()
    assert near(made(photo, scale="60%"), 90, 40, 210, 160)
    assert near(made(photo, scale="60%", position="original"), 0, 0, 120, 120)
    assert near(made(photo, scale="15%", position="original"), 35, 35, 65, 65)


@pytest.mark.parametrize("background", ["none", "white", "#00ff0080", "blur"])
def test_what_stands_behind_stays(background: str) -> None:
    """The subject moves before it: no grey fringe around, nobody left where it was."""
    options: dict[str, Any] = {"background": background, "scale": "40%", "position": "0% 0%"}
    product = made(portrait(300, 200), **options)
    assert near(product, 0, 0, 80, 80)
    behind = product.image[150, 100]
    expected = {"none": (0,) * 4, "white": (255,) * 3, "#00ff0080": (0, 255, 0, 128), "blur": GREY}
    assert np.abs(behind.astype(int) - expected[background]).max() <= 12
    if background == "none":
        edge = (product.image[..., 3] > 20) & (product.image[..., 3] < 255)
        assert np.abs(product.image[edge][:, :3].astype(int) - RED).mean() < 25
    codec.encode(product.image)


def test_the_matte_moves_with_it() -> None:
    """As output, and beside the cut-out."""
    options: dict[str, Any] = {"scale": "70%", "position": "100% 0%"}
    cut, alone = (made(portrait(), output=o, **options) for o in ("both", "matte"))
    assert cut.matte is not None
    assert alone.matte is not None
    assert np.abs(cut.matte - alone.matte).max() < 1e-2
    assert np.abs(cut.image[..., 3] - cut.matte * 255.0).max() <= 0.51
    assert np.abs(alone.image - alone.matte * 255.0).max() <= 0.51


def test_a_crop_is_the_canvas() -> None:
    """The subject takes its share of what was cropped, and its place on it."""
    options: dict[str, Any] = {
        "crop": True,
        "margin": "20px",
        "scale": "50%",
        "position": "100% 0%",
    }
    product = made(crowd()[:, :200], **options)
    height, width = product.image.shape[:2]
    assert abs(height - 140) <= 4
    assert abs(width - 120) <= 4
    share = min(height / 100, width / 80) / 2
    assert near(product, 0, width - 80 * share, 100 * share, width)


@pytest.mark.parametrize(
    ("margin", "top", "right", "bottom", "left"),
    [
        (0, 0, 0, 0, 0),
        (20, 20, 20, 20, 20),
        ("20.0", 20, 20, 20, 20),
        ("20%", 20, 20, 20, 20),
        ("7px", 7, 7, 7, 7),
        ("10% 25px", 10, 25, 10, 25),
        ("1px 2px 30% 4px", 1, 2, 30, 4),
        ("100%", 40, 90, 100, 30),
    ],
)
def test_room_around_a_cropped_subject(
    margin: object, top: int, right: int, bottom: int, left: int
) -> None:
    """Plain numbers and hundredths are of its longer side, here 100 px; the photo ends the room."""
    photo = crowd()[:, :200]
    product, tight = made(photo, crop=True, margin=margin), made(photo, crop=True, margin=0)
    assert tight.matte is not None
    height, width = tight.matte.shape
    longer = max(height, width) / 100
    assert product.image.shape[0] == pytest.approx(height + (top + bottom) * longer, abs=4)
    assert product.image.shape[1] == pytest.approx(width + (left + right) * longer, abs=4)
    y, x = where(product)[0] - where(tight)[0], where(product)[1] - where(tight)[1]
    assert y == pytest.approx(top * longer, abs=3)
    assert x == pytest.approx(left * longer, abs=3)


def test_nobody_is_nowhere() -> None:
    """Without a person nothing is cropped or placed, and nothing fails."""
    options: dict[str, Any] = {
        "crop": True,
        "scale": "50%",
        "position": "0%",
        "roi": "10% 10% 60% 60%",
    }
    product = made(portrait(), saying(0), **options)
    assert product.image.shape == (300, 200, 4)
    assert not product.image.any()


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3000, 40), (40, 3000), (2, 999)])
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_any_shape_of_photo(size: tuple[int, int], level: float) -> None:
    """One pixel and ribbons are placed like any other; the photo is only read."""
    photo = portrait(*size)
    photo.flags.writeable = False
    for extra in ({"scale": "50%"}, {"roi": "1% 0% 99% 50%", "scale": "100%", "crop": True}):
        product = made(photo, saying(level), **extra)
        assert product.matte is not None
        assert np.isfinite(product.matte).all()
        assert product.image.shape[:2] == product.matte.shape


@pytest.mark.parametrize(
    ("name", "text", "way"),
    [
        ("roi", "", "x1 y1 x2 y2"),
        ("roi", "0 0 10 10", "x1 y1 x2 y2"),
        ("roi", "10% 10% 20%", "x1 y1 x2 y2"),
        ("roi", "10% 10% 20% 120%", "x1 y1 x2 y2"),
        ("scale", "9%", "10% to 100%"),
        ("scale", "101%", "10% to 100%"),
        ("scale", "50", "10% to 100%"),
        ("scale", "Original", "10% to 100%"),
        ("position", "10px", "center"),
        ("position", "left", "center"),
        ("position", "1% 2% 3%", "center"),
        ("margin", "5em", "30px"),
        ("margin", "1 2 3", "30px"),
        ("margin", "-1", "30px"),
        ("margin", "101", "30px"),
    ],
)
def test_a_wrong_text_is_told(name: str, text: str, way: str) -> None:
    """Before a photo is opened: the option, what was said, and the ways to say it."""
    with pytest.raises(InvalidOption) as caught:
        read(Matting, {name: text})
    assert str(caught.value).startswith(f"{name} is {text!r}: say ")
    assert way in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"roi": "0% 0% 99% 100%"},
        {"roi": "0% 0% 99% 100%", "background": "#ffffff80", "scale": "100%"},
        {"scale": "95%"},
        {"scale": "100%", "background": "blur", "position": "0%"},
        {"position": "100% 0%", "crop": True, "margin": "100%"},
        {"scale": "10%", "output": "both", "max_side": 1990},
    ],
)
def test_no_more_memory_than_was_said(options: dict[str, Any]) -> None:
    """The arrays alive at the peak, the photo's own among them, stay within the estimate."""
    chosen = read(Matting, options)
    tracemalloc.start()
    try:
        photo = np.zeros((1500, 2000, 3), np.uint8)
        photo[100:1400, 200:1900] = RED
        product = run([photo], chosen, redness)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seen(product).any()
    assert photo.nbytes < peak <= memory(chosen, 1500 * 2000)
