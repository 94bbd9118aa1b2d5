"""Laws of the matting task, with a made-up model: what it answers is known."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from portrayer.errors import InvalidOption
from portrayer.image import codec
from portrayer.models.catalog import spec
from portrayer.tasks.matting import MODEL, NAMED, Matting, colour, memory, run
from portrayer.tasks.options import read
from portrayer.tasks.task import Infer, Product
from portrayer.types import Image

SIDE = spec(MODEL).side
RED, GREY = (220, 40, 30), (90, 110, 130)


def portrait(height: int = 300, width: int = 200) -> Image:
    """A red disc before grey, in the middle."""
    y, x = np.ogrid[:height, :width]
    inside = np.hypot(y - height / 2, x - width / 2) < min(height, width) * 0.3
    return np.where(inside[..., None], RED, GREY).astype(np.uint8)


def redness(model: str, samples: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A model that knows the person by the colour, softly, like a network."""
    assert model == MODEL
    assert samples.shape == (1, SIDE, SIDE, 3)
    assert samples.dtype == np.uint8
    return np.clip((samples[..., 0].astype(np.float32) - 110) / 80, 0, 1)


def saying(level: float) -> Infer:
    """A model that says the same of every pixel."""
    return lambda _, samples: np.full(samples.shape[:3], level, np.float32)


def made(image: Image, infer: Infer = redness, **options: Any) -> Product:
    return run([image], read(Matting, options), infer)


def seen(product: Product) -> NDArray[np.bool_]:
    """Where the person is, for a photo of :func:`portrait`."""
    assert product.matte is not None
    return product.matte > 0.5


@pytest.fixture
def hill(tmp_path: Path) -> Path:
    """A picture file for behind."""
    file = tmp_path / "hill.png"
    file.write_bytes(codec.encode(np.full((50, 80, 3), (10, 200, 60), np.uint8)))
    return file


def test_the_cut_out_is_the_person() -> None:
    """RGBA of the photo's size: opaque with the photo's colours inside, nothing at all outside."""
    photo = portrait()
    product = made(photo)
    assert product.image.shape == (300, 200, 4)
    assert product.image.dtype == np.uint8
    assert product.matte is not None
    assert product.matte.shape == (300, 200)
    assert product.matte.dtype == np.float32
    person = photo[..., 0] == RED[0]
    assert (seen(product) == person).mean() > 0.995
    middle = product.image[120:180, 80:120]
    assert (middle[..., 3] == 255).all()
    assert np.abs(middle[..., :3].astype(int) - RED).max() <= 2
    assert (product.image[:40] == 0).all()
    edge = (product.image[..., 3] > 20) & (product.image[..., 3] < 255)
    assert np.abs(product.image[edge][:, :3].astype(int) - RED).mean() < 25  # no grey fringe


@pytest.mark.parametrize("refine", ["fast", "none"])
def test_specks_are_nobody(refine: str) -> None:
    """What the model takes for a tiny person, far from the real one, is not cut out."""
    photo = portrait(600, 400)
    photo[20:32, 20:32] = RED
    assert (made(photo, refine=refine).image[:60, :60] == 0).all()


def test_the_matte_alone() -> None:
    """As output, the matte is a grey picture, rounded."""
    product = made(portrait(), output="matte")
    assert product.matte is not None
    assert product.image.shape == (300, 200)
    assert np.abs(product.image - product.matte * 255.0).max() <= 0.51
    both = made(portrait(), output="both")
    assert both.matte is not None
    assert (both.matte == product.matte).all()
    assert (both.image == made(portrait()).image).all()


@pytest.mark.parametrize(
    "ground", ["white", "black", "blue", "red", "#0a0", "#00AA00", "#123456ff"]
)
def test_on_a_colour(ground: str) -> None:
    """Opaque RGB: that colour around the person, the person as before."""
    product = made(portrait(), background=ground)
    assert product.image.shape == (300, 200, 3)
    assert (product.image[:40] == colour(ground)[:3]).all()
    assert np.abs(product.image[150, 100].astype(int) - RED).max() <= 2


@pytest.mark.parametrize(("ground", "alpha"), [("#0a08", 136), ("#00aa0001", 1), ("#fff0", 0)])
def test_on_a_translucent_colour(ground: str, alpha: int) -> None:
    """RGBA: a veil of the colour around the opaque person."""
    product = made(portrait(), background=ground)
    assert product.image.shape == (300, 200, 4)
    assert (product.image[:40, :, 3] == alpha).all()
    assert (product.image[150, 100, 3]) == 255
    assert (product.image[:40, :, :3] == (colour(ground)[:3] if alpha else (0, 0, 0))).all()


def test_on_its_own_blurred_background() -> None:
    """Opaque RGB: the person, before what was there, without the person in it."""
    product = made(portrait(), background="blur")
    assert product.image.shape == (300, 200, 3)
    away = ~seen(product)
    assert np.abs(product.image[:40].astype(int) - GREY).max() <= 3
    assert product.image[away][:, 0].mean() < GREY[0] + 12


def test_on_a_picture(hill: Path) -> None:
    """The picture fills the frame behind the person."""
    product = made(portrait(), background=str(hill))
    assert product.image.shape == (300, 200, 3)
    assert (product.image[:40] == (10, 200, 60)).all()


def test_a_picture_that_changes_is_read_again(hill: Path) -> None:
    """Between two photos, the file behind may be replaced."""
    made(portrait(), background=str(hill))
    hill.write_bytes(codec.encode(np.zeros((9, 9, 3), np.uint8)))
    os.utime(hill, ns=(1, 1))
    assert (made(portrait(), background=str(hill)).image[:40] == 0).all()


def test_a_background_that_is_no_picture(tmp_path: Path) -> None:
    """The line names the background, so that nobody looks for the fault in the photo."""
    file = tmp_path / "notes.txt"
    file.write_text("milk, bread")
    with pytest.raises(InvalidOption, match=r"background is .*notes\.txt") as caught:
        made(portrait(), background=str(file))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "ground",
    [
        "",
        "purple",
        "#12",
        "#12345",
        "#1234567",
        "#ggg",
        "#",
        "None",
        "a" * 5000,
        "a\0b",
        "/",
        "ß\n",
    ],
)
def test_a_background_that_is_none(ground: str) -> None:
    """Refused before any photo is touched, in one line."""
    with pytest.raises(InvalidOption, match="background") as caught:
        read(Matting, {"background": ground})
    assert "\n" not in str(caught.value)


def test_a_jpeg_needs_a_background() -> None:
    """It holds no transparency; a matte, and anything opaque, it does."""
    for ground in ("none", "#fff8"):
        for output in ("cutout", "both"):
            with pytest.raises(InvalidOption, match="jpeg"):
                Matting(format="jpeg", background=ground, output=output)
    for allowed in (
        Matting(format="jpeg", background="white"),
        Matting(format="jpeg", background="blur"),
        Matting(format="jpeg", output="matte"),
    ):
        product = run([portrait()], allowed, redness)
        assert codec.decode(codec.encode(product.image, "jpeg")).image.shape == (300, 200, 3)


@pytest.mark.parametrize("background", ["none", "white", "blur"])
@pytest.mark.parametrize("output", ["cutout", "matte"])
def test_cropping_to_the_person(background: str, output: str) -> None:
    """Image and matte are cut to the same box, what is seen plus a margin: nothing of the person is
    lost."""
    photo = portrait(400, 300)
    whole = made(photo, background=background, output=output)
    tight = made(photo, background=background, output=output, crop=True, margin=0)
    wide = made(photo, background=background, output=output, crop=True, margin=20)
    assert whole.matte is not None
    assert tight.matte is not None
    assert wide.matte is not None
    assert tight.image.shape[:2] == tight.matte.shape
    assert np.abs(np.array(tight.matte.shape) - 180).max() <= 6
    assert np.abs(np.array(wide.matte.shape) - 180 * 1.4).max() <= 8
    assert seen(tight).sum() == seen(wide).sum() == seen(whole).sum()
    codec.encode(tight.image)


def test_cropping_where_nobody_is() -> None:
    """Without a person there is nothing to crop to: the photo keeps its size."""
    product = made(portrait(), saying(0), crop=True)
    assert product.image.shape == (300, 200, 4)


@pytest.mark.parametrize("side", [1, 50, 150, 1000])
def test_the_long_side_is_limited(side: int) -> None:
    """Results are never larger than asked for, and never enlarged."""
    product = made(portrait(), max_side=side)
    assert max(product.image.shape[:2]) == min(side, 300)
    assert product.matte is not None
    assert product.image.shape[:2] == product.matte.shape


@pytest.mark.parametrize("background", ["none", "white", "#ffffff80", "blur"])
def test_nobody_and_nothing_else(background: str) -> None:
    """An empty matte leaves only the background, a full one the photo as it was."""
    photo = portrait()
    empty, full = (made(photo, saying(level), background=background).image for level in (0, 1))
    assert (full[..., :3] == photo).all()
    assert full.shape[2] == 3 or (full[..., 3] == 255).all()
    if background == "none":
        assert not empty.any()
    if background == "white":
        assert (empty == 255).all()
    if background == "blur":
        assert np.abs(empty[:40].astype(int) - GREY).max() <= 3


SIZES = [(1, 1), (1, 7), (3000, 40), (40, 3000), (SIDE, SIDE), (SIDE, 100), (2, 999), (641, 359)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("infer", [redness, saying(0), saying(1), saying(0.5)])
def test_any_shape_of_photo(size: tuple[int, int], infer: Infer) -> None:
    """One pixel, ribbons and squares come back in their own size; the photo is only read."""
    photo = portrait(*size)
    photo.flags.writeable = False
    for extra in ({}, {"background": "blur"}, {"refine": "none", "crop": True}):
        product = made(photo, infer, **extra)
        assert product.matte is not None
        assert np.isfinite(product.matte).all()
        assert product.image.shape[:2] == product.matte.shape
        if "crop" not in extra:
            assert product.matte.shape == size


def soft(product: Product) -> int:
    assert product.matte is not None
    return int(((product.matte > 0.02) & (product.matte < 0.98)).sum())


@pytest.mark.parametrize(
    ("options", "law"),
    [
        ({"erode": 4}, lambda plain, it: seen(it).sum() < seen(plain).sum()),
        ({"feather": 8}, lambda plain, it: soft(it) > 2 * soft(plain)),
        ({"alpha_threshold": 50}, lambda _, it: soft(it) == 0),
        ({"refine": "none"}, lambda plain, it: soft(it) > soft(plain)),
        ({"quality": 3, "format": "webp"}, lambda plain, it: (it.image == plain.image).all()),
    ],
)
def test_options_do_what_they_say(
    options: dict[str, Any], law: Callable[[Product, Product], bool]
) -> None:
    """Each one moves the result in its direction."""
    photo = portrait(1200, 800)
    assert law(made(photo), made(photo, **options))


@given(st.sampled_from([*NAMED]), st.binary(min_size=4, max_size=4))
def test_colours_are_read(name: str, rgba: bytes) -> None:
    """Names and all four ways to write a colour."""
    digits = rgba.hex()
    assert colour(f"#{digits}") == tuple(rgba)
    assert colour(f"#{digits[:6].upper()}") == (*rgba[:3], 255)
    assert colour(f"#{digits[:4]}") == tuple(17 * int(d, 16) for d in digits[:4])
    assert colour(f"#{digits[:3]}") == (*(17 * int(d, 16) for d in digits[:3]), 255)
    assert colour(name) == colour(NAMED[name])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"background": "white"},
        {"background": "#ffffff80"},
        {"background": "blur", "feather": 20, "erode": 4.5, "alpha_threshold": 10},
        {"output": "both", "crop": True, "refine": "none"},
    ],
)
def test_no_more_memory_than_was_said(options: dict[str, Any]) -> None:
    """The arrays alive at the peak, the photo's own among them, stay within the estimate."""
    chosen = read(Matting, options)
    tracemalloc.start()
    try:
        photo = np.zeros((1500, 2000, 3), np.uint8)
        photo[300:1200, 500:1500] = RED
        run([photo], chosen, redness)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert photo.nbytes < peak <= memory(chosen, 1500 * 2000)


def test_what_costs_more_reserves_more() -> None:
    """A second look, a subject that is moved, and far more the solver, are in the estimate."""
    photo = 12_000_000
    plain, closer, moved, solved = (
        memory(read(Matting, o), photo)
        for o in ({}, {"looks": 2}, {"scale": "80%"}, {"refine": "closed-form"})
    )
    assert plain < closer < moved
    assert solved > plain + 10**9


def watched() -> tuple[list[NDArray[np.uint8]], Infer]:
    """A model that keeps what it was shown."""
    shown: list[NDArray[np.uint8]] = []

    def infer(model: str, samples: NDArray[np.uint8]) -> NDArray[np.float32]:
        shown.append(samples)
        return redness(model, samples)

    return shown, infer


def test_the_second_look_is_closer_at_a_small_subject() -> None:
    """The subject is larger in the second forward, and the matte is right inside and outside."""
    photo = np.full((900, 700, 3), GREY, np.uint8)
    y, x = np.ogrid[:900, :700]
    person = np.hypot(y - 600, x - 200) < 80
    photo[person] = RED
    shown, infer = watched()
    product = made(photo, infer, looks=2)
    assert len(shown) == 2
    share = [float((s[..., 0] > 160).mean()) for s in shown]
    assert share[1] > 4 * share[0]
    assert (seen(product) != person).mean() < 0.002
    assert product.image.shape == (900, 700, 4)


def test_the_second_look_at_a_large_subject_is_its_mirror_image() -> None:
    """And what it says is mirrored back: for a model that knows no side, both looks agree."""
    photo = np.full((300, 200, 3), GREY, np.uint8)
    photo[10:, 20:120] = RED
    shown, infer = watched()
    twice, once = made(photo, infer, looks=2), made(photo)
    assert (shown[1] == shown[0][:, :, ::-1]).all()
    assert twice.matte is not None
    assert once.matte is not None
    assert np.abs(twice.matte - once.matte).max() < 1e-3


def test_one_look_is_one_forward() -> None:
    """``looks`` 1 costs one forward, whatever the photo."""
    shown, infer = watched()
    made(portrait(), infer, looks=1)
    assert len(shown) == 1
