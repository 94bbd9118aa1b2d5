"""How TIFF packs a strip: plain bytes, PackBits, Deflate, LZW."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from portrayer.errors import DecodeError

Unpack = Callable[[bytes, int], bytes]
"""(packed bytes, number of bytes wanted) -> exactly that many; DecodeError when there are fewer."""

_BROKEN = cast("type[Exception]", isal_zlib.error)  # published with a wrong type
_CLEAR, _FINISH, _FIRST, _LAST = 256, 257, 258, 4096


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
    """TIFF's LZW: most significant bit first, codes of 9 to 12 bits that grow one code early.

    Between two clear codes the width of every code is known beforehand, so all are cut out at once.
    """
    if len(packed) > 1 and packed[0] == 0 and packed[1] & 1:
        raise DecodeError("the TIFF uses the LZW of before 1988, which is not read")
    stream = np.frombuffer(packed + b"\0\0\0", np.uint8).astype(np.int64)
    windows = stream[:-2] << 16 | stream[1:-1] << 8 | stream[2:]
    singles: list[bytes] = [bytes((byte,)) for byte in range(256)] + [b"", b""]
    parts: list[bytes] = []
    bit, made, end = 0, 0, 8 * len(packed)
    while made < size:
        codes = _codes(windows, bit, end)
        marks = np.flatnonzero((codes == _CLEAR) | (codes == _FINISH))
        count = int(marks[0]) if len(marks) else len(codes)
        entries = _expand(codes[:count].tolist(), singles)
        parts += entries
        made += sum(map(len, entries))
        if not len(marks) or codes[count] == _FINISH:
            break
        bit += int(_STARTS[count + 1])
    return _exactly(b"".join(parts)[:size], size)


def _schedule() -> NDArray[np.int64]:
    """Bit offsets of the codes after a clear code; the last one ends the table."""
    free = np.maximum(np.arange(_LAST - _FIRST + 2) + _FIRST - 1, _FIRST)
    widths = 9 + (free >= 511).astype(np.int64) + (free >= 1023) + (free >= 2047)
    return np.concatenate(([0], np.cumsum(widths)))


_STARTS = _schedule()
_WIDTHS = np.diff(_STARTS)


def _codes(windows: NDArray[np.int64], bit: int, end: int) -> NDArray[np.int64]:
    whole = int(np.searchsorted(_STARTS, end - bit, side="right")) - 1
    at = bit + _STARTS[: max(0, whole)]
    width = _WIDTHS[: len(at)]
    return cast(
        "NDArray[np.int64]", (windows[at >> 3] >> (24 - width - (at & 7))) & ((1 << width) - 1)
    )


def _expand(codes: list[int], singles: list[bytes]) -> list[bytes]:
    """The strings of the codes between two clear codes."""
    if not codes:
        return []
    table = singles.copy()
    learn = table.append
    try:
        previous = table[codes[0]]
        entries = [previous]
        for code in codes[1:]:
            # a code not yet in the table is the next one: the previous string and its own start
            entry = table[code] if code < len(table) else previous + previous[:1]
            learn(previous + entry[:1])
            previous = table[code]
            entries.append(previous)
    except IndexError as error:
        raise DecodeError("the TIFF is damaged: broken LZW stream") from error
    return entries


def _exactly(content: bytes, size: int) -> bytes:
    if len(content) != size:
        raise DecodeError(f"the TIFF is damaged: a strip has {len(content)} of {size} bytes")
    return content


UNPACK: Mapping[int, Unpack] = {1: plain, 5: lzw, 8: deflate, 32946: deflate, 32773: packbits}
