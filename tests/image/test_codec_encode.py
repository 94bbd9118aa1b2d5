"""What the array holds is what the file shows."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from portrayer.errors import InvalidOption
from portrayer.image import codec
from portrayer.image.codec import Credits, decode, encode
from tests.image.pictures import scene

CREDITS = Credits("2024:05:06 07:08:09", "Zoë 写真", "© Zoë; Studio")


@pytest.mark.parametrize("size", [(1, 1), (1, 97), (97, 1), (33, 65)])
@pytest.mark.parametrize("channels", [3, 4])
def test_webp_lossless_round_trip(size: tuple[int, int], channels: int) -> None:
    """Lossless WebP returns every byte, colour under full transparency too."""
    image = np.random.default_rng(1).integers(0, 256, (*size, channels), dtype=np.uint8)
    image[0, 0, -1] = 0
    with Pillow.open(BytesIO(encode(image, "webp", lossless=True))) as file:
        assert np.array_equal(np.asarray(file), image)


def test_grey_in_every_format() -> None:
    """A grey (H, W) picture can be written in every format and comes back grey."""
    grey = scene(40, 50, 1)[..., 0]
    for format in codec.FORMATS:
        image = decode(encode(grey, format, quality=95)).image
        assert np.abs(image.astype(int) - grey[..., None]).mean() < 4


@pytest.mark.parametrize("format", ["png", "webp", "jpeg"])
@pytest.mark.parametrize("lossless", [False, True])
def test_credits_survive(format: str, lossless: bool) -> None:
    """Date, artist and copyright come back from every format, for Pillow too."""
    blob = encode(scene(20, 30), format, lossless=lossless, credits=CREDITS)
    assert decode(blob).credits == CREDITS
    with Pillow.open(BytesIO(blob)) as file:
        assert file.getexif().get_ifd(0x8769)[0x9003] == CREDITS.date


@pytest.mark.parametrize("format", ["png", "webp", "jpeg"])
def test_note_can_be_read(format: str) -> None:
    """A note is found by Pillow: as text in PNG, as JSON in EXIF's comment elsewhere."""
    note = {"Software": "Portrayer 1.0", "Task": "matting – ä"}
    blob = encode(scene(20, 30), format, note=note)
    with Pillow.open(BytesIO(blob)) as file:
        if format == "png":
            file.load()
            assert {key: file.info[key] for key in note} == note
        else:
            comment = file.getexif().get_ifd(0x8769)[0x9286]
            assert json.loads(comment.removeprefix(b"ASCII\0\0\0")) == note


def test_options_that_no_format_has() -> None:
    """What a format cannot hold is an option error that says what to do, not a broken file."""
    image = scene(4, 4, 4)
    with pytest.raises(InvalidOption, match="png, webp, jpeg"):
        encode(image, "gif")
    with pytest.raises(InvalidOption, match="no transparency"):
        encode(image, "jpeg")
    with pytest.raises(InvalidOption, match="16383"):
        encode(np.zeros((1, 16_384, 3), np.uint8), "webp")
    with pytest.raises(InvalidOption, match="65535"):
        encode(np.zeros((1, 65_536, 3), np.uint8), "jpeg")
    with pytest.raises(InvalidOption, match="quality"):
        encode(image, "png", quality=0)
    with pytest.raises(InvalidOption, match="name"):
        encode(image, "png", note={"ü": "x"})
    with pytest.raises(InvalidOption, match="note"):
        encode(image[..., :3], "jpeg", note={"x": "y" * 70_000})
    with pytest.raises(ValueError, match="not a picture"):
        encode(image.astype(np.float32))


def test_format_of_a_name() -> None:
    """A name's ending decides the format; none leaves the default; a foreign one is refused."""
    for name, format in {
        "a.PNG": "png",
        "a.jpg": "jpeg",
        "a.jpeg": "jpeg",
        "a.webp": "webp",
    }.items():
        assert codec.format_of(Path(name)) == format
    assert codec.format_of(Path("a"), "webp") == "webp"
    with pytest.raises(InvalidOption, match=r"\.tga"):
        codec.format_of(Path("a.tga"))
