"""TIFF in every layout that cameras and editors write."""

from __future__ import annotations

import struct
from io import BytesIO
from itertools import product
from typing import Any, Literal

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from portrayer.errors import DecodeError
from portrayer.image import unpack
from portrayer.image.codec import decode
from tests.image.pictures import far, saved, scene, seen


@pytest.mark.parametrize(
    ("mode", "compression"),
    [
        *product(
            ("RGB", "L", "CMYK", "P", "1", "RGBA"),
            (None, "tiff_lzw", "tiff_adobe_deflate", "packbits"),
        ),
        *product(("RGB", "L", "CMYK", "RGBA"), ("jpeg",)),
    ],
)
def test_tiff(mode: str, compression: str | None) -> None:
    """TIFF in every common compression and colour shows what Pillow shows."""
    picture = Pillow.fromarray(scene(50, 67, 4 if mode == "RGBA" else 3)).convert(mode)
    blob = saved(picture, "TIFF", compression=compression)
    assert far(decode(blob).image, seen(blob)) <= 3


@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize(
    ("kind", "channels"), [("assocalpha", 4), ("unassalpha", 4), ("assocalpha", 2)]
)
def test_tiff_alpha(kind: Any, channels: int, planes: Any) -> None:
    """Alpha multiplied in and alpha kept apart both show the same picture over white."""
    image = scene(30, 40, channels)
    alpha = image[..., -1:] / 255
    stored = image.copy()
    if kind == "assocalpha":
        stored[..., :-1] = np.rint(image[..., :-1] * alpha)
    if planes == "separate":
        stored = np.moveaxis(stored, -1, 0)
    file = BytesIO()
    tifffile.imwrite(
        file,
        stored,
        photometric="rgb" if channels == 4 else "minisblack",
        planarconfig=planes,
        extrasamples=[kind],
        metadata=None,
    )
    expected = np.broadcast_to(image[..., :-1] * alpha + 255 * (1 - alpha), (30, 40, 3))
    assert far(decode(file.getvalue()).image, np.rint(expected)) <= 1


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_tiff_white_is_zero(bits: int) -> None:
    """Where zero means white, and where samples share a byte, grey is right way round."""
    top = (1 << bits) - 1
    samples = np.random.default_rng(bits).integers(0, top + 1, (9, 13))
    lines = ((samples[..., None] >> np.arange(bits - 1, -1, -1)) & 1).reshape(9, -1)
    packed = np.packbits(lines.astype(np.uint8), axis=1)
    tags = {256: 13, 257: 9, 258: bits, 259: 1, 262: 0, 273: 122, 277: 1, 278: 9, 279: packed.size}
    listing = struct.pack("<H", len(tags))
    listing += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    blob = b"II*\0\x08\0\0\0" + listing + bytes(4) + packed.tobytes()
    assert np.array_equal(decode(blob).image[..., 0], 255 - np.rint(samples * 255 / top))


def test_tiff_that_repeats_itself_is_refused() -> None:
    """Directories that make a small file cost hours are refused: strips upon strips, tiny tiles."""

    def tiff(tags: dict[int, list[int]]) -> bytes:
        listing, values = struct.pack("<H", len(tags)), b""
        at = 8 + 2 + 12 * len(tags) + 4
        for tag, numbers in sorted(tags.items()):
            packed = struct.pack(f"<{len(numbers)}I", *numbers)
            slot = packed if len(numbers) == 1 else struct.pack("<I", at + len(values))
            values += packed if len(numbers) > 1 else b""
            listing += struct.pack("<HHI", tag, 4, len(numbers)) + slot
        return b"II*\0\x08\0\0\0" + listing + bytes(4) + values + bytes(10_000)

    grey = {256: [5000], 257: [5000], 258: [8], 259: [8], 262: [1], 277: [1]}
    strips = {278: [1], 273: [100] * 5000, 279: [10_000] * 5000}
    with pytest.raises(DecodeError, match="upon one another"):
        decode(tiff(grey | strips))
    with pytest.raises(DecodeError, match="blocks of 1 x 1"):
        decode(tiff(grey | {322: [1], 323: [1], 324: [0, 0], 325: [1, 1]}))
    with pytest.raises(DecodeError, match="263000 strips"):
        decode(tiff(grey | {257: [263_000], 256: [1], 278: [1], 273: [0, 0], 279: [1, 1]}))
    clears = np.packbits(np.tile([1, 0, 0, 0, 0, 0, 0, 0, 0], 80_000)).tobytes()
    with pytest.raises(DecodeError, match="without end"):
        unpack.lzw(clears, 100)


def test_tiff_lzw_of_long_runs() -> None:
    """LZW over flat and noisy regions, through full tables and back, loses nothing."""
    image = scene(300, 400)
    image[50:200] = 7
    image[210:260] = np.random.default_rng(2).integers(0, 256, (50, 400, 3), dtype=np.uint8)
    for options in ({}, {"tiffinfo": {317: 2}}, {"strip_size": 1 << 24}):
        blob = saved(image, "TIFF", compression="tiff_lzw", **options)
        assert np.array_equal(decode(blob).image, image)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tile": (16, 32)},
        {"rowsperstrip": 7},
        {"planarconfig": "separate"},
        {"planarconfig": "separate", "tile": (16, 16)},
        {"compression": "zlib"},
        {"bigtiff": True},
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_tiff_layouts(
    channels: int, dtype: Any, options: dict[str, Any], order: Literal["<", ">"]
) -> None:
    """Strips, tiles, planes, byte orders and 16 bits hold the same picture, rounded to 8 bits."""
    image = scene(50, 67, channels).astype(dtype)
    if dtype is np.uint16:
        image = image * 257 + np.arange(67, dtype=np.uint16)[:, None] % 128
    options = dict(options)
    stored = image if channels > 1 else image[..., 0]
    if channels == 1:
        options.pop("planarconfig", None)
    if "planarconfig" in options:
        stored = np.moveaxis(image, -1, 0)
    file = BytesIO()
    bigtiff = options.pop("bigtiff", False)
    with tifffile.TiffWriter(file, bigtiff=bigtiff, byteorder=order) as writer:
        photometric = "rgb" if channels == 3 else "minisblack"
        writer.write(stored, photometric=photometric, metadata=None, **options)
    expected = np.broadcast_to(np.rint(image / (257 if dtype is np.uint16 else 1)), (50, 67, 3))
    assert np.array_equal(decode(file.getvalue()).image, expected)


def test_floating_point_is_refused() -> None:
    """Samples that are no photo's are refused by name, not shown as noise."""
    file = BytesIO()
    tifffile.imwrite(file, np.zeros((8, 8), np.float32), metadata=None)
    with pytest.raises(DecodeError, match="whole numbers"):
        decode(file.getvalue())
