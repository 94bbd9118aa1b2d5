"""Small pictures: as the whole one looks, no larger than asked for, refused as the whole one is."""

from __future__ import annotations

import tracemalloc
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image as Pillow

from portrayer.errors import PortrayerError
from portrayer.image import codec, thumbnail
from portrayer.image.geometry import limit
from tests.image.pictures import exif, profile, saved, scene


def shown(blob: bytes) -> NDArray[np.uint8]:
    """A WebP's pixels as stored, (H, W, 3 or 4)."""
    with Pillow.open(BytesIO(blob), formats=["WEBP"]) as file:
        return np.asarray(file)


def unlike(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """The mean difference of two pictures of one size."""
    assert one.shape == other.shape
    return float(np.abs(one.astype(int) - other).mean())


sides = st.integers(1, 200)


@settings(max_examples=40)
@given(sides, sides, sides, st.sampled_from(["JPEG", "PNG", "WEBP", "BMP", "TIFF"]))
def test_within_the_side(height: int, width: int, side: int, format: str) -> None:
    """The long side is as asked for, never more than the picture's own; the proportions stay."""
    made = shown(thumbnail.make(saved(scene(height, width), format), side))
    assert made.shape[:2] == limit(np.zeros((height, width, 3), np.uint8), side).shape[:2]
    assert max(made.shape[:2]) == min(side, max(height, width))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_upright(format: str, orientation: int) -> None:
    """Whatever way the file lies, the small picture shows what the whole one does."""
    blob = saved(scene(120, 200), format, exif=exif(Orientation=orientation))
    assert unlike(shown(thumbnail.make(blob, 60)), limit(codec.decode(blob).image, 60)) < 12


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("RGB", {"icc_profile": profile(b"RGB ")}),
        ("RGB", {"progressive": True}),
        ("L", {}),
        ("L", {"icc_profile": profile(b"GRAY")}),
        ("CMYK", {}),
        ("CMYK", {"icc_profile": profile(b"CMYK")}),
    ],
)
@pytest.mark.parametrize("side", [16, 100, 333])
def test_a_jpeg_decoded_small(mode: str, options: dict[str, Any], side: int) -> None:
    """Grey, inks, profiles, many scans: as the whole picture looks when it is made smaller."""
    smooth = limit(np.kron(scene(32, 40), np.ones((25, 25, 1), np.uint8)), 700)
    blob = saved(Pillow.fromarray(smooth).convert(mode), "JPEG", quality=95, **options)
    assert unlike(shown(thumbnail.make(blob, side)), limit(codec.decode(blob).image, side)) < 8


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_what_is_transparent_stays_so(format: str) -> None:
    """A cut-out's alpha is kept, and what was cut away colours no edge."""
    image = np.zeros((400, 400, 4), np.uint8)
    image[..., 1] = 255  # green, which nobody is to see ...
    image[100:301, 100:301] = 220, 30, 30, 255  # ... around a red figure
    made = shown(thumbnail.make(saved(image, format, lossless=True, exact=True), 90))
    assert made.shape == (90, 90, 4)
    assert unlike(made[..., 3], limit(image[..., 3].copy(), 90)) < 2
    edge = made[(made[..., 3] > 20) & (made[..., 3] < 235)]
    assert len(edge) > 50
    assert edge[:, 0].mean() > 150
    assert edge[:, 1].mean() < 60


def test_grey_with_alpha() -> None:
    """Grey cut-outs are as good as coloured ones."""
    image = np.zeros((64, 48, 2), np.uint8)
    image[16:48, 12:36] = 200, 255
    made = shown(thumbnail.make(saved(Pillow.fromarray(image, "LA"), "PNG"), 32))
    assert made.shape == (32, 24, 4)
    assert (made[0, 0, 3], made[16, 12, 3]) == (0, 255)
    assert abs(int(made[16, 12, 0]) - 200) < 6


FLAWED = saved(scene(90, 120), "JPEG")
SCANS = saved(scene(64, 64), "JPEG", progressive=True)
WRONG = {
    "empty": b"",
    "no picture": b"not a picture",
    "no end": FLAWED[:-2],
    "cut off": FLAWED[: len(FLAWED) // 2] + b"\xff\xd9",
    "damaged": FLAWED[:700] + bytes(200) + FLAWED[900:],
    "scans": SCANS[:-2] + SCANS[SCANS.rindex(b"\xff\xda") : -2] * 600 + SCANS[-2:],
    "png cut off": saved(scene(90, 120), "PNG")[:-40],
    "too large": saved(scene(90, 121), "JPEG"),
}


@pytest.mark.parametrize("what", WRONG)
def test_refused_as_the_whole_picture_is(what: str) -> None:
    """The same error with the same words, though less is decoded."""
    words = []
    for read in (codec.decode, lambda blob, **most: thumbnail.make(blob, 32, **most)):
        with pytest.raises(PortrayerError) as caught:
            read(WRONG[what], max_pixels=90 * 120)
        words.append((type(caught.value), str(caught.value)))
    assert words[0] == words[1]


def test_harmless_flaws_are_forgiven() -> None:
    """What the whole way forgives has a thumbnail too."""
    at = SCANS.rindex(b"\xff\xc4")
    odd = SCANS[:at] + b"\x11" * 9 + SCANS[at:]
    with pytest.raises(ValueError, match="extraneous"):
        simplejpeg.decode_jpeg(odd)
    assert unlike(shown(thumbnail.make(odd, 40)), shown(thumbnail.make(SCANS, 40))) < 6


@pytest.mark.parametrize(
    ("format", "channels", "options"),
    [
        ("JPEG", 3, {}),
        ("JPEG", 3, {"exif": exif(Orientation=7), "icc_profile": profile(b"RGB ")}),
        ("PNG", 3, {"icc_profile": profile(b"RGB ")}),
        ("PNG", 4, {}),
        ("PNG", 4, {"icc_profile": profile(b"RGB "), "exif": exif(Orientation=7)}),
        ("PNG", 2, {}),
        ("WEBP", 4, {"lossless": True}),
    ],
)
@pytest.mark.parametrize("side", [100, 10_000])
def test_memory_is_bounded(format: str, channels: int, options: dict[str, Any], side: int) -> None:
    """What is reserved for it beforehand is enough."""
    blob = saved(np.tile(scene(50, 50, channels), (10, 10, 1)), format, **options)
    thumbnail.make(blob, side)  # what libraries hold once
    tracemalloc.start()
    try:
        thumbnail.make(blob, side)
        assert tracemalloc.get_traced_memory()[1] <= thumbnail.memory(codec.probe(blob))
    finally:
        tracemalloc.stop()
