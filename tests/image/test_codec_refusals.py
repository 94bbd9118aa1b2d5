"""What cannot be read is refused, by name and early."""

from __future__ import annotations

import struct
import tracemalloc
from io import BytesIO

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from portrayer.errors import DecodeError, ImageTooLarge
from portrayer.image.codec import decode, probe
from tests.image.pictures import chunk, saved, scene


def bombs() -> dict[str, bytes]:
    """Small files that claim 60 000 x 60 000 pixels."""
    side = 60_000
    ihdr = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    entries = [
        (256, side),
        (257, side),
        (258, 8),
        (259, 1),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, side),
    ]
    directory = struct.pack("<H", len(entries) + 1)
    for tag, value in [*entries, (279, side)]:
        directory += struct.pack("<HHII", tag, 4, 1, value)
    jpeg = bytearray(saved(scene(16, 16), "JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", side, side)
    webp = b"VP8X\x0a\0\0\0\0\0\0\0" + 2 * (side - 1).to_bytes(3, "little")
    return {
        "png": b"\x89PNG\r\n\x1a\n" + ihdr + chunk(b"IDAT", b"") + chunk(b"IEND", b""),
        "tiff": b"II*\0\x08\0\0\0" + directory + b"\0\0\0\0",
        "jpeg": bytes(jpeg),
        "bmp": b"BM" + struct.pack("<IIIIiiHHI", 54, 0, 54, 40, side, -side, 1, 24, 0) + bytes(20),
        "webp": b"RIFF" + struct.pack("<I", 4 + len(webp)) + b"WEBP" + webp,
    }


@pytest.mark.parametrize("format", ["png", "tiff", "jpeg", "bmp", "webp"])
def test_bombs_are_refused_by_their_header(format: str) -> None:
    """Too many pixels are refused with the numbers by probe and decode, before any is decoded."""

    blob = bombs()[format]
    for read in (probe, decode):
        tracemalloc.start()
        with pytest.raises(ImageTooLarge, match="60000 x 60000 = 3600000000 pixels"):
            read(blob)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        tracemalloc.stop()


def test_the_limit_is_inclusive() -> None:
    """A picture of exactly the limit is read; one pixel more is not."""
    blob = saved(scene(20, 30), "PNG")
    assert decode(blob, max_pixels=600).image.shape == (20, 30, 3)
    with pytest.raises(ImageTooLarge, match="more than 599"):
        decode(blob, max_pixels=599)


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        (b"", "empty"),
        (b"GIF89a" + bytes(50), "GIF"),
        (b"%PDF-1.7\n", "PDF"),
        (b"<!DOCTYPE html><html>", "HTML"),
        (b"<?xml version='1.0'?>\n<svg xmlns='x'/>", "SVG"),
        (b"\0\0\0\x18ftypheic" + bytes(20), "HEIC"),
        (b"\0\0\0\x18ftypavif" + bytes(20), "AVIF"),
        (b"\0\0\0\x18ftypisom" + bytes(20), "video"),
        (b"PK\x03\x04" + bytes(20), "ZIP"),
        (b"8BPS\0\1", "Photoshop"),
        (b"hello, world\n", "text"),
        (b"BM, as a text begins, is no bitmap", "text"),
        (bytes(range(100, 256)), "no known format"),
        (b"\xff\xd8\xff", "truncated"),
        (b"\x89PNG\r\n\x1a\n", "header"),
        (b"II*\0", "truncated"),
    ],
)
def test_what_is_no_picture_is_named(blob: bytes, reason: str) -> None:
    """A file that is no picture is refused in one line that says what it seems to be."""
    for read in (probe, decode):
        with pytest.raises(DecodeError, match=reason) as caught:
            read(blob)
        assert "\n" not in str(caught.value)


def test_moving_pictures_are_refused() -> None:
    """Animations and files of several pages are refused; a thumbnail page does not count."""
    pages = [Pillow.fromarray(scene(20, 30)), Pillow.fromarray(scene(20, 30)[::-1])]
    for format, reason in (
        ("GIF", "GIF"),
        ("PNG", "animated"),
        ("WEBP", "animated"),
        ("TIFF", "pages"),
    ):
        blob = saved(pages[0], format, save_all=True, append_images=pages[1:])
        with pytest.raises(DecodeError, match=reason):
            decode(blob)
    file = BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(scene(20, 30), photometric="rgb", metadata=None)
        writer.write(scene(10, 15), photometric="rgb", metadata=None, subfiletype=1)
    assert np.array_equal(decode(file.getvalue()).image, scene(20, 30))


def test_empty_pictures_are_refused() -> None:
    """A picture without rows or columns is no picture."""
    with pytest.raises(DecodeError, match="empty"):
        probe(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 0, 5, 8, 2, 0, 0, 0)))
    with pytest.raises(DecodeError, match="empty"):
        probe(b"BM" + struct.pack("<IIIIiiHHI", 54, 0, 54, 40, 5, 0, 1, 24, 0) + bytes(20))
