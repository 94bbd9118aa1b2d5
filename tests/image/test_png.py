"""PNG of every kind, in and out."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from portrayer.image.codec import decode, encode
from tests.image.pictures import chunk, far, png, scene


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 70), st.integers(1, 70), st.sampled_from([0, 3, 4]), st.integers(0, 2**32 - 1)
)
def test_png_round_trip(height: int, width: int, channels: int, seed: int) -> None:
    """PNG returns every byte of grey, RGB and RGBA pictures, of any size and content."""
    shape = (height, width, channels) if channels else (height, width)
    image = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    with Pillow.open(BytesIO(encode(image, "png"))) as file:
        assert np.array_equal(np.asarray(file), image)


def test_png_of_many_strips_from_a_view() -> None:
    """A picture of more than one strip, given as a view with strides, is written as it looks."""
    image = scene(600, 1400, 4)[::-1, ::2]
    with Pillow.open(BytesIO(encode(image, "png"))) as file:
        assert np.array_equal(np.asarray(file), image)


_COLOURS = {0: 1, 2: 3, 4: 2, 6: 4}


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(
    ("colour", "depth"),
    [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (4, 8), (4, 16), (6, 8), (6, 16)],
)
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (19, 27)])
def test_png_of_every_kind(
    colour: int, depth: int, interlaced: bool, size: tuple[int, int]
) -> None:
    """Each PNG colour type and depth is scaled to 8 bits by rounding and shown over white."""
    top = (1 << depth) - 1
    channels = _COLOURS[colour]
    samples = np.random.default_rng(depth).integers(0, top + 1, (*size, channels))
    value = np.rint(samples * 255 / top)
    alpha = value[..., -1:] / 255 if colour in (4, 6) else np.ones((*size, 1))
    value = value[..., :-1] if colour in (4, 6) else value
    expected = np.rint(np.broadcast_to(value, (*size, 3)) * alpha + 255 * (1 - alpha))
    result = decode(png(samples, depth, colour, interlaced=interlaced)).image
    assert far(result, expected) <= (0 if colour in (0, 2) else 1)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_png_palette(depth: int) -> None:
    """A palette is looked up, and its transparent entries show white."""
    rng = np.random.default_rng(depth)
    palette = rng.integers(0, 256, (1 << depth, 3), dtype=np.uint8)
    samples = rng.integers(0, 1 << depth, (9, 13, 1))
    plain = png(samples, depth, 3, extra=chunk(b"PLTE", palette.tobytes()))
    assert np.array_equal(decode(plain).image, palette[samples[..., 0]])
    holes = chunk(b"PLTE", palette.tobytes()) + chunk(b"tRNS", b"\0")
    shown = palette.copy()
    shown[0] = 255
    assert np.array_equal(decode(png(samples, depth, 3, extra=holes)).image, shown[samples[..., 0]])


@pytest.mark.parametrize(("colour", "depth"), [(0, 2), (0, 8), (0, 16), (2, 8), (2, 16)])
def test_png_transparent_colour(colour: int, depth: int) -> None:
    """The one transparent colour is compared at full depth: its neighbours stay."""
    channels, top = _COLOURS[colour], (1 << depth) - 1
    samples = np.full((4, 5, channels), top // 2)
    samples[1, 1] += 1
    key = struct.pack(f">{channels}H", *[top // 2] * channels)
    image = decode(png(samples, depth, colour, extra=chunk(b"tRNS", key))).image
    assert image[0, 0].tolist() == [255] * 3
    assert image[1, 1].tolist() == [round((top // 2 + 1) * 255 / top)] * 3


def test_swollen_texts_and_profiles_are_never_unpacked() -> None:
    """Compressed texts and profiles of a gigabyte cost nothing and leave the picture whole."""

    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(200)) + packer.flush()
    extra = chunk(b"zTXt", b"Comment\0\0" + packed) + chunk(b"iCCP", b"icc\0\0" + packed)
    samples = scene(20, 30)
    tracemalloc.start()
    assert np.array_equal(decode(png(samples, 8, 2, extra=extra)).image, samples)
    assert tracemalloc.get_traced_memory()[1] < 32 << 20
    tracemalloc.stop()
