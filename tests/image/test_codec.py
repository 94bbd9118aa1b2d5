"""What a file shows is what the array holds."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageCms

from portrayer.errors import DecodeError
from portrayer.image import codec
from portrayer.image.codec import Credits, decode, encode, probe
from tests.image.pictures import exif, far, profile, saved, scene, seen


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation(format: str, orientation: int) -> None:
    """All eight EXIF orientations come out as Pillow turns them, in every format that has EXIF."""
    image = scene(21, 34)
    blob = saved(image, format, exif=exif(Orientation=orientation), **_LOSSLESS.get(format, {}))
    decoded = decode(blob)
    assert far(decoded.image, seen(blob)) <= (3 if format == "JPEG" else 0)
    assert decoded.header is not None
    assert (decoded.header.height, decoded.header.width) == decoded.image.shape[:2]
    assert decoded.header == probe(blob)


_LOSSLESS: dict[str, dict[str, Any]] = {"WEBP": {"lossless": True, "exact": True}}


@pytest.mark.parametrize(
    ("format", "space", "mode"),
    [
        *((format, b"RGB ", "RGB") for format in ("JPEG", "PNG", "TIFF", "WEBP")),
        *((format, b"RGB ", "L") for format in ("JPEG", "PNG", "TIFF")),
        *((format, b"GRAY", "L") for format in ("JPEG", "PNG", "TIFF")),
        *((format, b"CMYK", "CMYK") for format in ("JPEG", "TIFF")),
    ],
)
def test_profiles(format: str, space: bytes, mode: str) -> None:
    """An embedded profile brings colours to sRGB as little-cms does; grey may have an RGB one."""
    icc = profile(space)
    picture = Pillow.fromarray(scene(40, 56)).convert(mode)
    blob = saved(picture, format, icc_profile=icc, **_LOSSLESS.get(format, {}))
    with Pillow.open(BytesIO(blob)) as file:
        stored = file.convert("RGB") if mode == "L" and space == b"RGB " else file.copy()
    source = ImageCms.ImageCmsProfile(BytesIO(icc))
    target = ImageCms.createProfile("sRGB")
    expected = np.asarray(ImageCms.profileToProfile(stored, source, target, outputMode="RGB"))
    plain = np.asarray(stored.convert("RGB"))
    assert far(expected, plain) > 20, "the profile must matter for this test to say something"
    assert np.abs(decode(blob).image.astype(int) - expected).mean() < 1


@pytest.mark.parametrize("icc", [b"garbage", b"\0" * 200, profile(b"CMYK"), profile(b"RGB ")[:300]])
def test_profiles_that_do_not_fit_are_ignored(icc: bytes) -> None:
    """A broken profile, or one for other inks, costs the picture nothing."""
    image = scene(20, 30)
    assert np.array_equal(decode(saved(image, "PNG", icc_profile=icc)).image, image)


def test_profile_of_srgb_changes_nothing() -> None:
    """A profile that is sRGB leaves every byte alone."""
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = scene(20, 30)
    assert np.array_equal(decode(saved(image, "PNG", icc_profile=icc)).image, image)


@pytest.mark.parametrize("alpha", [0, 1, 127, 254, 255])
@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_transparency_shows_white(format: str, alpha: int) -> None:
    """A picture with holes is seen as over white paper."""
    image = scene(16, 20, 4)
    image[..., 3] = alpha
    blob = saved(image, format, **_LOSSLESS.get(format, {}))
    assert far(decode(blob).image, seen(blob)) <= 1


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1"])
def test_bmp(mode: str) -> None:
    """BMP of every depth that Pillow writes shows what Pillow shows."""
    picture = Pillow.fromarray(scene(31, 45, 4 if mode == "RGBA" else 3)).convert(mode)
    blob = saved(picture, "BMP")
    assert np.array_equal(decode(blob).image, seen(blob))


def test_the_name_is_never_asked() -> None:
    """Bytes, a view of them and a mutable copy are the same file."""
    blob = saved(scene(20, 30), "PNG")
    assert np.array_equal(decode(memoryview(blob)).image, decode(blob).image)
    assert decode(blob).image.flags.c_contiguous
    assert decode(blob).image.flags.writeable


def test_place_is_dropped_and_makers_are_kept() -> None:
    """GPS never reaches a result; artist, copyright and date do, the moment of exposure first."""
    block = exif(Artist="Ada", Copyright="(c) Ada", DateTime="2020:01:01 00:00:00", Make="Cam")
    block.get_ifd(0x8825)[2] = (52.0, 31.0, 0.0)
    block.get_ifd(0x8769)[0x9003] = "2019:12:31 23:59:59"
    blob = saved(scene(20, 30), "JPEG", exif=block)
    with Pillow.open(BytesIO(blob)) as file:
        assert file.getexif().get_ifd(0x8825), "the photo must have a place for it to be dropped"
    credits = decode(blob).credits
    assert credits == Credits("2019:12:31 23:59:59", "Ada", "(c) Ada")
    for format in codec.FORMATS:
        with Pillow.open(BytesIO(encode(scene(20, 30), format, credits=credits))) as file:
            block = file.getexif()
        assert not block.get_ifd(0x8825)
        assert set(block) == {0x013B, 0x8298, 0x8769}
        assert set(block.get_ifd(0x8769)) == {0x9003}


def test_from_pillow_and_from_array() -> None:
    """Pictures that never were files follow the same rules: upright, sRGB, over white."""
    image = scene(20, 30, 4)
    expected = decode(encode(image, "png")).image
    assert np.array_equal(codec.from_array(image), expected)
    assert np.array_equal(codec.from_pillow(Pillow.fromarray(image)), expected)
    blob = saved(scene(20, 30), "PNG", exif=exif(Orientation=6), icc_profile=profile(b"RGB "))
    with Pillow.open(BytesIO(blob)) as file:
        assert far(codec.from_pillow(file), decode(blob).image) == 0
    with pytest.raises(DecodeError, match="mode F"):
        codec.from_pillow(Pillow.new("F", (4, 4)))
    with pytest.raises(DecodeError, match="float64"):
        codec.from_array(np.zeros((4, 4)))  # type: ignore[arg-type]
