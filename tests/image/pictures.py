"""Pictures and files made for the tests of this room."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, ImageOps
from PIL import Image as Pillow


def scene(height: int, width: int, channels: int = 3) -> NDArray[np.uint8]:
    """A smooth picture with edges and some noise: (H, W, C) uint8, the same every time."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    planes = [
        128 + 90 * np.sin(x / (7 + c) + c) * np.cos(y / (11 - c)) + 30 * ((x + c * y) % 32 > 16)
        for c in range(channels)
    ]
    noise = np.random.default_rng(height * 1000 + width).normal(0, 2, (height, width, channels))
    return np.clip(np.stack(planes, axis=-1) + noise, 0, 255).astype(np.uint8)


def saved(picture: Pillow.Image | NDArray[np.uint8], format: str, **options: Any) -> bytes:
    """The file that Pillow makes of a picture."""
    if isinstance(picture, np.ndarray):
        picture = Pillow.fromarray(picture)
    file = BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def png(
    samples: NDArray[Any], depth: int, colour: int, *, extra: bytes = b"", interlaced: bool = False
) -> bytes:
    """A PNG of (H, W, C) samples in 0 .. 2**depth - 1, by the letter of the specification."""
    height, width = samples.shape[:2]
    starts = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
    passes = [*starts, (0, 1, 1, 2)] if interlaced else [(0, 0, 1, 1)]
    stream = b""
    for left, top, right, down in passes:
        for line in samples[top::down, left::right]:
            if line.size:
                bits = (line.reshape(-1, 1).astype(np.uint32) >> np.arange(depth - 1, -1, -1)) & 1
                stream += b"\0" + np.packbits(bits.astype(np.uint8)).tobytes()
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            extra,
            chunk(b"IDAT", zlib.compress(stream)),
            chunk(b"IEND", b""),
        )
    )


def profile(space: bytes) -> bytes:
    """A small ICC profile that is far from sRGB: b"RGB " (linear, two primaries exchanged),
    b"GRAY" (linear) or b"CMYK" (a table of 16 corners)."""

    def number(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(map(number, values))

    white = xyz(0.9642, 1.0, 0.8249)
    linear = b"curv\0\0\0\0" + struct.pack(">I", 0)
    if space == b"RGB ":
        tags = {b"wtpt": white, b"rTRC": linear, b"gTRC": linear, b"bTRC": linear}
        tags |= {b"rXYZ": xyz(0.3851, 0.7169, 0.0971), b"gXYZ": xyz(0.4361, 0.2225, 0.0139)}
        tags |= {b"bXYZ": xyz(0.1431, 0.0606, 0.7139)}
    elif space == b"GRAY":
        tags = {b"wtpt": white, b"kTRC": linear}
    else:
        corners = bytearray()
        for corner in range(16):
            cyan, magenta, yellow, black = (corner >> shift & 1 for shift in (3, 2, 1, 0))
            light = (255 - 55 * cyan - 75 * magenta - 20 * yellow) * (0.1 if black else 1)
            corners += bytes((int(light), 128 + 40 * (magenta - cyan), 128 + 40 * (yellow - cyan)))
        ramp = bytes(range(256))
        matrix = b"".join(map(number, (1, 0, 0, 0, 1, 0, 0, 0, 1)))
        table = (
            b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + matrix + ramp * 4 + bytes(corners) + ramp * 3
        )
        tags = {b"wtpt": white, b"A2B0": table}
    tags[b"desc"] = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78)
    tags[b"cprt"] = b"text\0\0\0\0none\0"
    kind, connection = (b"prtr", b"Lab ") if space == b"CMYK" else (b"mntr", b"XYZ ")
    listing, body, at = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        listing += name + struct.pack(">II", at + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    size = at + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"none", 0x02200000, kind, space, connection)
    head += struct.pack(">6H4s", 2024, 1, 1, 0, 0, 0, b"acsp") + bytes(24)
    head += struct.pack(">I", 0) + b"".join(map(number, (0.9642, 1.0, 0.8249)))
    return head.ljust(128, b"\0") + listing + body


def far(a: NDArray[Any], b: NDArray[Any]) -> int:
    """The largest difference of two pictures."""
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def seen(blob: bytes) -> NDArray[np.uint8]:
    """The file as Pillow shows it: upright, over white."""
    with Pillow.open(BytesIO(blob)) as file:
        picture = ImageOps.exif_transpose(file).convert("RGBA")
    white = Pillow.new("RGBA", picture.size, "white")
    return np.asarray(Pillow.alpha_composite(white, picture).convert("RGB"))


def exif(**tags: Any) -> Pillow.Exif:
    block = Pillow.Exif()
    for name, value in tags.items():
        block[getattr(ExifTags.Base, name)] = value
    return block
