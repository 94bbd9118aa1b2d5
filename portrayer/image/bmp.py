"""BMP: the header's arithmetic here, the pixels through Pillow."""

from __future__ import annotations

import struct
from functools import partial
from io import BytesIO

from PIL.BmpImagePlugin import BmpImageFile

from portrayer.errors import DecodeError
from portrayer.image.source import Raster, Source, admit, from_pillow

_DEPTHS = (1, 4, 8, 16, 24, 32)
_RLE = (1, 2)
_READABLE = (0, *_RLE, 3, 6)  # plain, run lengths, bit fields


def inspect(blob: bytes, max_pixels: int) -> Source:
    """The :class:`Source` of a BMP file, with the OS/2 header or any of Windows."""
    try:
        offset, header = struct.unpack_from("<II", blob, 10)
        if header == 12:
            width, height, _, depth = struct.unpack_from("<HHHH", blob, 18)
            compression = size = 0
        else:
            width, height, _, depth, compression, size = struct.unpack_from("<iiHHII", blob, 18)
    except struct.error as error:
        raise DecodeError("the BMP is truncated: it ends inside its header") from error
    height = abs(height)  # negative: rows from top to bottom
    pixels = admit("bmp", width, height, max_pixels)
    if depth not in _DEPTHS or compression not in _READABLE:
        raise DecodeError(f"the BMP has {depth} bits per pixel in compression {compression}")
    length = size if compression in _RLE else (width * depth + 31) // 32 * 4 * height
    read = partial(_read, blob, offset + length)
    return Source("bmp", width, height, "RGBA", pixels * 8 + len(blob), read)


def _read(blob: bytes, end: int) -> Raster:
    if end > len(blob):
        raise DecodeError("the BMP is truncated")
    with BmpImageFile(BytesIO(blob)) as picture:
        picture.load()
        return from_pillow(picture)
