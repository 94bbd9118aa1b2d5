"""Laws of the whole-frame pass: noise goes, edges stay, nothing happens at nought."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portrayer.image import tone
from portrayer.image.tiles import SIDE
from portrayer.image.tone import adjust, denoise, keep_skin, noise, sharpen, skin
from portrayer.types import Image
from tests.image.pictures import scene
from tests.portraits import astronaut

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))
STEPS: dict[str, Callable[[Image, float], Image]] = {
    "denoise": lambda image, amount: denoise(image, amount, sigma=5),
    "sharpen": sharpen,
    "adjust": lambda image, amount: adjust(image, amount / 200, -amount / 200),
    "keep_skin": lambda image, amount: keep_skin(255 - image, image, amount),
}
TONES = [
    (255, 224, 200),
    (236, 188, 160),
    (200, 140, 110),
    (150, 100, 75),
    (96, 62, 46),
    (50, 32, 25),
]
"""Skin from light to dark."""
OTHERS = [(128, 128, 128), (250, 250, 250), (5, 5, 5), (60, 90, 170), (80, 140, 70), (200, 30, 30)]


def grainy(image: Image, sigma: float, *, grey: bool = False, seed: int = 0) -> Image:
    shape = (*image.shape[:2], 1) if grey else image.shape
    grain = np.random.default_rng(seed).normal(0, sigma, shape)
    return np.clip(np.rint(image + grain), 0, 255).astype(np.uint8)


def compressed(image: Image, quality: int) -> Image:
    file = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.ascontiguousarray(cv2.imdecode(file, cv2.IMREAD_COLOR)[..., ::-1])


def soft(height: int, width: int) -> Image:
    """A picture without anything fine in it."""
    y, x = np.mgrid[:height, :width]
    planes = [128 + 70 * np.sin(x / 40 + c) * np.cos(y / 60 - c) for c in range(3)]
    return np.rint(np.stack(planes, -1)).astype(np.uint8)


def flat(colour: tuple[int, ...], side: int = 64) -> Image:
    return np.full((side, side, 3), colour, np.uint8)


def psnr(one: Image, other: Image) -> float:
    return float(-20 * np.log10(np.sqrt(((one.astype(float) - other) ** 2).mean()) / 255))


@pytest.mark.parametrize("name", STEPS)
@given(size=SIZES, seed=st.integers(0, 99))
@settings(max_examples=30)
def test_nought_changes_nothing(name: str, size: tuple[int, int], seed: int) -> None:
    """At 0 every step is the identity, bit for bit."""
    photo = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert (STEPS[name](photo, 0) == photo).all()


@pytest.mark.parametrize("name", STEPS)
@given(size=SIZES, amount=st.floats(0, 100), seed=st.integers(0, 99))
@settings(max_examples=30)
def test_any_photo_keeps_its_size(
    name: str, size: tuple[int, int], amount: float, seed: int
) -> None:
    """However small or wild a photo is, one of its size comes out; what was given is only read."""
    photo = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    before = photo.copy()
    after = STEPS[name](photo, amount)
    assert after.shape == photo.shape
    assert after.dtype == np.uint8
    assert (photo == before).all()
    assert noise(photo) >= 0


@pytest.mark.parametrize("name", ["denoise", "sharpen"])
def test_nothing_changes_in_a_flat_photo(name: str) -> None:
    """Where there is neither noise nor an edge, no step finds any."""
    photo = flat((150, 120, 100))
    assert (STEPS[name](photo, 100) == photo).all()


@pytest.mark.parametrize("name", ["denoise", "sharpen", "keep_skin"])
def test_tiles_are_not_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A photo of several tiles is what it would be in one: to the last bit, or to rounding where
    floats are summed."""
    photo = grainy(soft(SIDE // 8 + 61, SIDE // 8 + 90), 8)

    def run() -> np.ndarray:
        if name == "keep_skin":
            return keep_skin(photo, 255 - photo, 100).astype(int)
        return {"denoise": denoise, "sharpen": sharpen}[name](photo, 80, sigma=5).astype(int)

    def small(image: Image, function: Callable[[Image], Image], *, overlap: int) -> Image:
        return original(image, function, side=64, overlap=overlap)

    whole, original = run(), tone.tiled
    monkeypatch.setattr(tone, "tiled", small)
    monkeypatch.setattr(tone, "SIDE", 64)
    difference = np.abs(run() - whole)
    assert difference.max() <= (0 if name == "denoise" else 1)
    assert (difference > 0).mean() < 0.001


def test_memory_is_bounded() -> None:
    """A photo of sixteen tiles needs, besides its result, no more than one of four does."""
    peaks = []
    for tiles in (2, 4):
        photo = np.zeros((tiles * SIDE, tiles * SIDE // 2, 3), np.uint8)
        tracemalloc.start()
        result = sharpen(photo, 50, sigma=3)
        peaks.append(tracemalloc.get_traced_memory()[1] - result.nbytes)
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


@pytest.mark.parametrize("sigma", [1.0, 2.0, 5.0, 10.0, 20.0])
def test_noise_is_measured(sigma: float) -> None:
    """Grain of a known strength is found within a fifth, on a soft picture and on one that is half
    burnt out."""
    photo = soft(300, 500)
    assert noise(grainy(photo, sigma, grey=True)) == pytest.approx(sigma, rel=0.2)
    photo[:, :250] = 255
    burnt = grainy(photo, sigma, grey=True)
    assert noise(burnt) == pytest.approx(sigma, rel=0.2)


def test_a_large_photo_is_sampled() -> None:
    """Of many windows the noise is as in all of it, in the memory of one window."""
    photo = np.tile(grainy(soft(400, 300), 6, grey=True), (8, 9, 1))
    tracemalloc.start()
    found = noise(photo)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == pytest.approx(6, rel=0.2)
    assert peak < photo.nbytes / 8


def test_a_clean_photo_has_next_to_no_noise() -> None:
    """None in flat and soft pictures; little in a portrait, blurred so that it has none."""
    assert noise(flat((90, 120, 200))) == 0
    assert noise(soft(200, 300)) < 0.4
    assert noise(cv2.GaussianBlur(astronaut(), (0, 0), 2)) < 1


def test_compression_is_noise_too() -> None:
    """The harder a photo was compressed, the more noise is found, wherever its blocks begin."""
    photo = cv2.GaussianBlur(astronaut(), (0, 0), 1.5)
    found = [noise(compressed(photo, quality)) for quality in (95, 75, 50, 25, 10)]
    assert found == sorted(found)
    assert found[2] > 3
    cut = np.ascontiguousarray(compressed(photo, 25)[3:, 5:])
    assert noise(cut) == pytest.approx(found[3], rel=0.25)


@pytest.mark.parametrize(("sigma", "gain"), [(5, 0.6), (10, 3.0), (20, 5.0)])
def test_denoising_brings_a_portrait_nearer(sigma: float, gain: float) -> None:
    """A noisy portrait comes nearer to the clean one at half the amount, the noisier the more; at
    the full one, which smooths more than suits it, it loses some of that."""
    clean = astronaut()
    noisy = grainy(clean, sigma)
    before = psnr(noisy, clean)
    after = {amount: psnr(denoise(noisy, amount), clean) for amount in (10, 50, 100)}
    assert after[50] > before + gain
    assert after[10] > before
    assert after[50] > after[100] > before - 1


def test_compressed_grain_is_denoised() -> None:
    """Blurred, noisy and compressed: nearer to what was before noise and compression."""
    clean = cv2.GaussianBlur(astronaut(), (0, 0), 1)
    poor = compressed(grainy(clean, 8), 40)
    assert psnr(denoise(poor, 50), clean) > psnr(poor, clean) + 1


def test_a_clean_photo_is_hardly_touched() -> None:
    """What has little noise loses little, even at the full amount."""
    photo = cv2.GaussianBlur(astronaut(), (0, 0), 1)
    for amount in (50, 100):
        assert psnr(denoise(photo, amount), photo) > 38


def test_edges_stay_and_colour_noise_goes_first() -> None:
    """A step under noise stays where and as steep as it was; of what is flat beside it, half the
    grain goes and three quarters of the coloured speckle."""
    clean = np.full((128, 128, 3), 70, np.uint8)
    clean[:, 64:] = 170
    noisy = grainy(clean, 8)
    calm = denoise(noisy, 50, sigma=5.3)
    rows = calm.astype(float).mean((0, 2))
    assert rows[62] < 78
    assert rows[65] > 162

    def speckle(image: Image) -> tuple[float, float]:
        y, cr, cb = cv2.split(cv2.cvtColor(image[:, :56], cv2.COLOR_RGB2YCrCb).astype(np.float32))
        return float(y.std()), float(np.hypot(cr.std(), cb.std()))

    (light, colour), (light_before, colour_before) = speckle(calm), speckle(noisy)
    assert light < light_before / 2
    assert colour < colour_before / 4


def test_sharpening_strengthens_edges_without_halo() -> None:
    """A soft edge becomes steeper; no pixel goes further than a margin beyond its neighbours."""
    edge = np.full((60, 80, 3), 60, np.uint8)
    edge[:, 40:] = 190
    photo = cv2.GaussianBlur(edge, (0, 0), 1.5)
    steep = [np.diff(sharpen(photo, a)[30, :, 0].astype(int)).max() for a in (0, 30, 60, 100)]
    assert steep == sorted(set(steep))
    portrait = astronaut()
    sharp = sharpen(portrait, 100).astype(int)
    near = np.ones((3, 3), np.uint8)
    # Lightness is what is limited: a colour of it can go as far as another one of its pixel.
    luma = cv2.cvtColor(portrait, cv2.COLOR_RGB2GRAY)
    change = np.median(sharp - portrait, axis=2)
    margin = tone.HALO + 1
    assert (luma + change <= cv2.dilate(luma, near).astype(int) + margin).all()
    assert (luma + change >= cv2.erode(luma, near).astype(int) - margin).all()


def test_sharpening_leaves_noise_and_colours_alone() -> None:
    """Grain in flat places does not grow by a tenth; an edge gets no coloured fringe."""
    noisy = grainy(flat((120, 120, 120), 128), 6)
    assert sharpen(noisy, 100).std() < 1.1 * noisy.std()
    photo = np.full((40, 40, 3), (150, 120, 100), np.uint8)
    photo[:, 20:] = (110, 80, 60)
    sharp = sharpen(photo, 100).astype(int)
    assert (sharp != photo).any()
    assert (sharp[..., 0] - sharp[..., 1] == 30).all()
    assert (sharp[..., 1] - sharp[..., 2] == 20).all()


@given(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5))
def test_adjusting_keeps_the_order_of_levels(brightness: float, contrast: float) -> None:
    """A darker pixel never becomes the lighter one; more is more; what is lost at one end is not
    taken from the other."""
    levels = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, 2)
    result = adjust(levels, brightness, contrast)[0].astype(int)
    assert (np.diff(result, axis=0) >= 0).all()
    assert (result == result[:, :1]).all()
    brighter = adjust(levels, min(0.5, brightness + 0.1), contrast)[0]
    assert (brighter >= result).all()


def test_brightness_and_contrast_do_what_they_say() -> None:
    """Brightness lifts the middle and leaves black and white; contrast leaves the middle and
    spreads what is around it, its opposite draws it in."""
    levels = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, 2)

    def at(level: int, brightness: float, contrast: float) -> int:
        return int(adjust(levels, brightness, contrast)[0, level, 0])

    for amount in (-0.5, -0.2, 0.2, 0.5):
        assert (at(0, amount, 0), at(255, amount, 0)) == (0, 255)
        assert abs(at(127, 0, amount) - 127) <= 1
        assert (at(127, amount, 0) > 135) == (amount > 0)
        assert (at(190, 0, amount) > 195) == (amount > 0)
        assert (at(60, 0, amount) < 55) == (amount > 0)


@pytest.mark.parametrize("colour", TONES)
def test_skin_of_any_tone_is_skin(colour: tuple[int, int, int]) -> None:
    """From light to dark, and in half the light, too."""
    assert skin(flat(colour, 4)).min() > 0.6
    assert skin(flat(tuple(value * 3 // 5 for value in colour), 4)).min() > 0.6


@pytest.mark.parametrize("colour", OTHERS)
def test_other_colours_are_not_skin(colour: tuple[int, int, int]) -> None:
    """Grey, sky, leaves and signal red have nothing of skin."""
    likely = skin(flat(colour, 4))
    assert likely.shape == (4, 4)
    assert likely.dtype == np.float32
    assert likely.max() == 0


@given(SIZES, st.integers(0, 99))
def test_likeness_is_a_share(size: tuple[int, int], seed: int) -> None:
    """Within 0..1 for whatever colours."""
    photo = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    likely = skin(photo)
    assert likely.shape == size
    assert likely.min() >= 0
    assert likely.max() <= 1


@pytest.mark.parametrize("colour", TONES)
def test_skin_keeps_its_tone(colour: tuple[int, int, int]) -> None:
    """What made skin redder and lighter is taken back as far as the amount says; beside the skin
    it stays."""
    before = np.full((80, 120, 3), (60, 90, 170), np.uint8)
    before[:, :60] = colour
    after = cv2.add(before, np.full_like(before, (10, 0, 6)))
    shifts = []
    for amount in (0, 50, 100):
        kept = keep_skin(before, after, amount).astype(float)
        shifts.append(np.abs(kept - before)[:, 5:40].mean())
        assert (kept[:, 85:] == after[:, 85:]).all()
    assert shifts[0] > shifts[1] > shifts[2]
    assert shifts[2] < 1


def test_skin_keeps_part_of_its_texture() -> None:
    """Of the pores that were smoothed away a part comes back, not all."""
    before = grainy(flat((200, 140, 110), 96), 8, grey=True)
    after = flat((200, 140, 110), 96)
    kept = keep_skin(before, after, 100).astype(float).std((0, 1)).mean()
    assert 0.25 < kept / before.std((0, 1)).mean() < 0.6


def test_a_photo_in_grey_has_no_skin_to_keep() -> None:
    """Without colours, what was done stays done."""
    grey = scene(40, 50, 1).repeat(3, 2)
    assert (keep_skin(grey, 255 - grey, 100) == 255 - grey).all()
