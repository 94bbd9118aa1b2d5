"""JPEG of every kind, in and out."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL.JpegImagePlugin import JpegImageFile, get_sampling

from portrayer.errors import DecodeError
from portrayer.image.codec import decode, encode
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
