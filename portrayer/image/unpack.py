"""How TIFF packs a strip: plain bytes, PackBits, Deflate, LZW."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray
from PIL import Image as Pillow

from portrayer.errors import DecodeError

Unpack = Callable[[bytes, int], bytes]
"""(packed bytes, number of bytes wanted) -> exactly that many; DecodeError when there are fewer."""

_BROKEN = cast("type[Exception]", isal_zlib.error)  # published with a wrong type
_CLEAR, _FINISH, _FIRST, _LAST = 256, 257, 258, 4096
_TABLES, _TABLE = 16, 512  # few tables may be short: each costs the same time, full or empty


def plain(packed: bytes, size: int) -> bytes:
    return _exactly(packed[:size], size)


def packbits(packed: bytes, size: int) -> bytes:
    """Runs: n < 128 copies n + 1 bytes, n > 128 repeats one byte 257 - n times."""
    parts: list[bytes] = []
    at = made = 0
    while made < size and at < len(packed):
        n = packed[at]
        if n < 128:
            parts.append(packed[at + 1 : at + 2 + n])
            at += 2 + n
        elif n > 128:
            parts.append(packed[at + 1 : at + 2] * (257 - n))
            at += 2
        else:
            at += 1
            continue
        made += len(parts[-1])
    return _exactly(b"".join(parts)[:size], size)


def deflate(packed: bytes, size: int) -> bytes:
    try:
        return _exactly(isal_zlib.decompressobj().decompress(packed, size), size)
    except _BROKEN as error:
        raise DecodeError("the TIFF is damaged: broken Deflate stream") from error


def lzw(packed: bytes, size: int) -> bytes:
    """TIFF's LZW, turned into GIF's: the same codes, but the bits of each the other way round.

    Between two clear codes the width of every code is known beforehand, so that all are moved at
    once in numpy; the strings they stand for are then found by Pillow's decoder of GIF, in C.
    """
    if len(packed) > 1 and packed[0] == 0 and packed[1] & 1:
        raise DecodeError("the TIFF uses the LZW of before 1988, which is not read")
    parts: list[bytes] = []
    bit, carry = 0, np.empty(0, np.uint8)
    for _ in range(_TABLES + len(packed) // _TABLE):
        codes = _codes(packed, bit)
        marks = np.flatnonzero((codes == _CLEAR) | (codes == _FINISH))
        count = int(marks[0]) + 1 if len(marks) else len(codes)
        low_first = np.unpackbits(codes[:count].astype("<u2").view(np.uint8), bitorder="little")
        bits = np.concatenate((carry, low_first[_GIF_BITS[: _GIF_STARTS[count]]]))
        whole = len(bits) // 8 * 8
        parts.append(np.packbits(bits[:whole], bitorder="little").tobytes())
        carry = bits[whole:]
        if not len(marks) or codes[count - 1] == _FINISH:
            break
        bit += int(_STARTS[count])
    else:
        raise DecodeError("the TIFF is damaged: its LZW stream clears its table without end")
    parts.append(np.packbits(carry, bitorder="little").tobytes())
    try:
        line = Pillow.frombytes("L", (size, 1), _blocks(b"".join(parts)), "gif", (8, 0, -1))
    except ValueError as error:
        raise DecodeError("the TIFF is damaged: broken LZW stream") from error
    return line.tobytes()


def _blocks(stream: bytes) -> bytes:
    """A stream in GIF's blocks of at most 255 bytes, each behind its length."""
    full = len(stream) // 255
    blocks = np.full((full, 256), 255, np.uint8)
    blocks[:, 1:] = np.frombuffer(stream, np.uint8, full * 255).reshape(full, 255)
    rest = stream[full * 255 :]
    return b"".join((blocks.tobytes(), bytes((len(rest),)), rest, b"\0"))


def _codes(packed: bytes, bit: int) -> NDArray[np.uint32]:
    """The codes from ``bit`` on, as many as there are before a table is full."""
    part = packed[bit >> 3 : (bit >> 3) + _REACH]
    stream = np.frombuffer(part + b"\0\0", np.uint8).astype(np.uint32)
    windows = stream[:-2] << 16 | stream[1:-1] << 8 | stream[2:]
    count = int(np.searchsorted(_STARTS, 8 * len(part) - (bit & 7), side="right")) - 1
    at = (bit & 7) + _STARTS[: min(max(0, count), len(_WIDTHS))]
    shifts = (24 - _WIDTHS[: len(at)] - (at & 7)).astype(np.uint32)
    return cast("NDArray[np.uint32]", windows[at >> 3] >> shifts & _MASKS[: len(at)])


def _widths(early: int) -> NDArray[np.int64]:
    """Bits of each code after a clear code, the next one that clears included.

    The nth code is read when n - 1 strings have been learnt; the width grows when the number of
    the next string, ``early`` before it is due, needs a bit more.
    """
    learnt = np.maximum(np.arange(_LAST - _FIRST + 2) - 1, 0) + _FIRST
    return 9 + np.searchsorted(np.array([512, 1024, 2048]), learnt + early - 1, side="right")


def _starts(widths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate(([0], np.cumsum(widths)))


_WIDTHS = _widths(early=2)
_STARTS = _starts(_WIDTHS)
_MASKS = ((1 << _WIDTHS) - 1).astype(np.uint32)
_REACH = int(_STARTS[-1]) // 8 + 2  # bytes that hold a full table, wherever in a byte it begins
_GIF_WIDTHS = _widths(early=1)
_GIF_STARTS = _starts(_GIF_WIDTHS)
_GIF_BITS = np.flatnonzero(np.arange(16) < _GIF_WIDTHS[:, None])  # of codes 16 bits apart


def _exactly(content: bytes, size: int) -> bytes:
    if len(content) != size:
        raise DecodeError(f"the TIFF is damaged: a strip has {len(content)} of {size} bytes")
    return content


UNPACK: Mapping[int, Unpack] = {1: plain, 5: lzw, 8: deflate, 32946: deflate, 32773: packbits}
