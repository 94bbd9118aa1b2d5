"""Whatever bytes arrive, a picture or one line of reason leaves; nothing else, nowhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from io import BytesIO

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from portrayer.errors import DecodeError, ImageTooLarge
from portrayer.image.codec import decode, probe
from tests.image.pictures import png, profile, saved, scene

DAMAGED = 200  # files of every kind
Make = Callable[[], bytes]


def _deep_tiff() -> bytes:
    file = BytesIO()
    image = scene(61, 97).astype(np.uint16) * 257
    tifffile.imwrite(
        file, image, photometric="rgb", tile=(32, 32), compression="zlib", metadata=None
    )
    return file.getvalue()


def _with_exif(image: np.ndarray) -> bytes:
    block = Pillow.Exif()
    block[0x0112], block[0x8298] = 6, "(c) someone"
    return saved(image, "JPEG", exif=block, icc_profile=profile(b"RGB "))


KINDS: dict[str, Make] = {
    "jpeg": lambda: saved(scene(61, 97), "JPEG"),
    "jpeg-exif": lambda: _with_exif(scene(61, 97)),
    "jpeg-progressive": lambda: saved(scene(61, 97), "JPEG", progressive=True),
    "jpeg-cmyk": lambda: saved(Pillow.fromarray(scene(61, 97)).convert("CMYK"), "JPEG"),
    "png": lambda: saved(scene(61, 97, 4), "PNG", icc_profile=profile(b"RGB ")),
    "png-palette": lambda: saved(Pillow.fromarray(scene(61, 97)).convert("P"), "PNG"),
    "png-16": lambda: png(scene(61, 97).astype(np.uint16) * 257, 16, 2, interlaced=True),
    "webp": lambda: saved(scene(61, 97), "WEBP"),
    "webp-alpha": lambda: saved(scene(61, 97, 4), "WEBP", exif=b"II*\0\x08\0\0\0\0\0"),
    "webp-lossless": lambda: saved(scene(61, 97), "WEBP", lossless=True),
    "bmp": lambda: saved(scene(61, 97), "BMP"),
    "bmp-palette": lambda: saved(Pillow.fromarray(scene(61, 97)).convert("P"), "BMP"),
    "tiff": lambda: saved(scene(61, 97), "TIFF"),
    "tiff-lzw": lambda: saved(scene(61, 97), "TIFF", compression="tiff_lzw"),
    "tiff-packbits": lambda: saved(scene(61, 97), "TIFF", compression="packbits"),
    "tiff-jpeg": lambda: saved(scene(61, 97), "TIFF", compression="jpeg"),
    "tiff-16": _deep_tiff,
}


@cache
def made(kind: str) -> bytes:
    return KINDS[kind]()


def outcome(blob: bytes) -> np.ndarray | None:
    """The picture, or None when it was refused as the law demands."""
    reason = None
    try:
        decoded = decode(blob, max_pixels=1_000_000)
    except (DecodeError, ImageTooLarge) as error:
        reason = str(error)
    if reason is not None:
        assert reason.strip()
        assert reason.isprintable(), "one line"
        assert len(reason) < 400
        return None
    image = decoded.image
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert decoded.header is not None
    assert image.shape == (decoded.header.height, decoded.header.width, 3)
    return image


def flipped(blob: bytes, rng: np.random.Generator) -> bytes:
    """A few bits turned over; half of the time in the first bytes, where the structure is."""
    damaged = bytearray(blob)
    reach = len(blob) if rng.random() < 0.5 else min(len(blob), 200)
    for at in rng.integers(0, reach, rng.integers(1, 6)):
        damaged[at] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def overwritten(blob: bytes, rng: np.random.Generator) -> bytes:
    """A run of noise over a place anywhere."""
    at, length = int(rng.integers(len(blob))), int(rng.integers(1, 64))
    return blob[:at] + rng.bytes(length) + blob[at + length :]


def spliced(blob: bytes, rng: np.random.Generator) -> bytes:
    """A piece cut out, or another kind's body behind this one's head."""
    at, length = int(rng.integers(len(blob))), int(rng.integers(1, 400))
    other = made(str(rng.choice(list(KINDS))))
    return blob[:at] + blob[at + length :] if rng.random() < 0.5 else blob[:at] + other[at:]


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_refused_or_shown(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Two hundred damaged files of each kind: a well-formed picture or one reason, silently."""
    rng = np.random.default_rng(list(KINDS).index(kind))
    blob = made(kind)
    assert outcome(blob) is not None, "undamaged, it must be read"
    for number in range(DAMAGED):
        outcome((flipped, overwritten, spliced)[number % 3](blob, rng))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", KINDS)
def test_truncation_is_always_refused(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A file that lost its end is refused, whether it lost one byte or nearly all."""
    blob = made(kind)
    rng = np.random.default_rng(7)
    cuts = {*range(min(len(blob), 60)), *range(len(blob) - 60, len(blob))}
    cuts |= set(rng.integers(0, len(blob), DAMAGED - len(cuts)).tolist())
    for cut in sorted(cuts):
        assert outcome(blob[:cut]) is None, f"{cut} of {len(blob)} bytes made a picture"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", KINDS)
def test_probe_agrees_with_decode(kind: str) -> None:
    """The header that admission relies on is the one of the decoded picture."""
    assert probe(made(kind)) == decode(made(kind)).header


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\xff\0\0\0WEBPVP8X", b"II*\0"])
    | st.sampled_from([b"BM" + bytes(12) + b"\x28\0\0\0", b"MM\0+\0\x08\0\0", b"GIF89a", b""]),
    st.binary(max_size=300),
)
def test_noise_behind_any_beginning(head: bytes, body: bytes) -> None:
    """Random bytes behind the first ones of any format never raise anything else."""
    outcome(head + body)
