"""Laws of what a caller gives as a photo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from portrayer.errors import ImageTooLarge, InputError
from portrayer.image import codec
from portrayer.image.given import open_source, read_source
from tests.image.pictures import exif, saved, scene


def test_what_is_given_is_the_same_photo(tmp_path: Path) -> None:
    """As a path, bytes of any kind, opened, an array: upright, and no larger than was said."""
    blob = saved(scene(30, 41), "PNG", exif=exif(Orientation=6))
    file = tmp_path / "a.png"
    file.write_bytes(blob)
    image = codec.decode(blob).image
    with Pillow.open(file) as opened:
        for source in (file, str(file), blob, bytearray(blob), memoryview(blob), opened, image):
            given = open_source(source)
            assert given.pixels == 30 * 41
            assert given.bytes >= image.nbytes
            np.testing.assert_array_equal(given.decode().image, image)


@pytest.mark.parametrize("kind", ["bytes", "array", "pillow"])
def test_too_many_pixels_are_refused_undecoded(kind: str) -> None:
    """Whatever the photo comes as; at the limit it is let through."""
    array = np.zeros((30, 41, 3), np.uint8)
    source = {"bytes": codec.encode(array), "array": array, "pillow": Pillow.fromarray(array)}[kind]
    assert open_source(source, 30 * 41).pixels == 30 * 41
    with pytest.raises(ImageTooLarge) as caught:
        open_source(source, 30 * 41 - 1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["gone.png", ".", "a\0b.png"])
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    """Is named, in one line."""
    with pytest.raises(InputError, match="cannot be read") as caught:
        read_source(tmp_path / name)
    assert "\n" not in str(caught.value)
