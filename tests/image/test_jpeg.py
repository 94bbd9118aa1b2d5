"""JPEG of every kind, in and out."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL.JpegImagePlugin import JpegImageFile, get_sampling

from portrayer.errors import DecodeError
from portrayer.image.codec import decode, encode, probe
from portrayer.image.geometry import resize
from tests.image.pictures import far, saved, scene, seen


@pytest.mark.parametrize(("quality", "sampling"), [(75, 2), (89, 2), (90, 0), (100, 0)])
def test_jpeg_chroma(quality: int, sampling: int) -> None:
    """JPEG keeps colour at full resolution from quality 90 on, and shows its picture."""
    image = scene(64, 80)
    blob = encode(image, "jpeg", quality=quality)
    with JpegImageFile(BytesIO(blob)) as file:
        assert get_sampling(file) == sampling
    assert np.abs(decode(blob).image.astype(int) - image).mean() < 14


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 1}, {"quality": 20}]
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpeg(mode: str, options: dict[str, Any]) -> None:
    """Baseline, progressive and grey JPEG show what Pillow shows."""
    blob = saved(Pillow.fromarray(scene(45, 67)).convert(mode), "JPEG", **options)
    assert far(decode(blob).image, seen(blob)) <= 3


@pytest.mark.parametrize("mark", [True, False])
def test_jpeg_of_four_inks(mark: bool) -> None:
    """CMYK JPEG is stored inverted, with Adobe's mark or without, and shows its true colours."""
    blob = saved(Pillow.fromarray(scene(40, 56)).convert("CMYK"), "JPEG", quality=95)
    if not mark:
        at = blob.index(b"\xff\xee")
        blob = blob[:at] + blob[at + 16 :]
    assert np.abs(decode(blob).image.astype(int) - scene(40, 56)).mean() < 6
    assert far(decode(blob).image, seen(blob)) <= 2


def test_a_photo_beside_the_photo() -> None:
    """Bytes behind a JPEG's end, as phones append them, change nothing."""
    blob = saved(scene(20, 30), "JPEG")
    assert np.array_equal(decode(blob + blob + b"more").image, decode(blob).image)


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    """Thousands of scans over one picture are an attack on the clock."""
    blob = saved(scene(64, 64), "JPEG", progressive=True)
    at = blob.rindex(b"\xff\xda")
    with pytest.raises(DecodeError, match="scans"):
        decode(blob[:at] + blob[at:-2] * 600 + blob[-2:])


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
@pytest.mark.parametrize("orientation", [1, 6])
@given(side=st.integers(1, 700))
def test_a_jpeg_read_small(orientation: int, options: dict[str, Any], side: int) -> None:
    """Where fewer pixels are enough, no fewer come, less than twice as many a side down to an
    eighth, and they show what the whole picture shows at their size.
    """
    turned = Pillow.Exif()
    turned[0x0112] = orientation
    smooth = resize(scene(31, 53), 303, 531)
    blob = saved(smooth, "JPEG", quality=95, exif=turned, **options)
    whole, small = decode(blob).image, decode(blob, side=side).image
    header = probe(blob, side=side)
    assert small.shape[:2] == (header.height, header.width)
    assert min(side, 531) <= max(small.shape) <= max(2 * side, 531 // 8 + 1)
    assert abs(whole.shape[0] / small.shape[0] - whole.shape[1] / small.shape[1]) < 0.2
    assert np.abs(resize(whole, *small.shape[:2]).astype(int) - small).mean() < 3


def test_damage_is_told_of_a_jpeg_read_small() -> None:
    """What is cut off is told, however little of it would be seen."""
    blob = saved(scene(200, 300), "JPEG")
    with pytest.raises(DecodeError, match="damaged"):
        decode(blob[: len(blob) // 2] + b"\xff\xd9", side=40)
