"""Photos to measure with: given ones, or portraits laid on made grounds; the same every time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from portrayer.errors import DecodeError, InputError
from portrayer.image import codec, files
from portrayer.image.composite import cover, over
from portrayer.image.geometry import resize
from portrayer.image.samples import portraits
from portrayer.types import Image, Matte

DISTINCT = 8  # photos that differ; they are repeated beyond
QUALITY = 90  # of the JPEG files
SKIN, HAIR, CLOTH = (205, 160, 135), (60, 45, 38), (45, 70, 110)


def scenes(folder: Path | None, faces: bool) -> tuple[Image, ...]:
    """Up to :data:`DISTINCT` pictures (H, W, 3): those of ``folder``; else made ones.

    ``faces``: whether faces must be found in them. Raises :class:`InputError` where there are none.
    """
    if folder is not None:
        found = tuple(islice(_decoded(folder), DISTINCT))
        if not found:
            raise InputError(f"no photos in {folder}")
        return found
    try:
        people = [codec.decode(blob).image for blob in portraits().values()]
    except InputError as error:
        if faces:
            raise InputError(f"photos with faces are needed: give --photos, or {error}") from None
        people = []
    return tuple(_laid(people, number) for number in range(DISTINCT))


def write(
    pictures: Sequence[Image], width: int, height: int, count: int, folder: Path
) -> tuple[Path, ...]:
    """``count`` JPEG files of this size in ``folder``, the pictures over and over."""
    sized = [
        codec.encode(_sized(picture, width, height), "jpeg", quality=QUALITY)
        for picture in pictures[:count]
    ]
    paths = tuple(folder / f"{number:04}.jpg" for number in range(count))
    for number, path in enumerate(paths):
        files.write(path, sized[number % len(sized)])
    return paths


def _sized(picture: Image, width: int, height: int) -> Image:
    """A picture that fills (height, width), or the same turned where it is upright. Of what is too
    high more goes below: faces are above.
    """
    if picture.shape[1] <= picture.shape[0]:
        width, height = sorted((width, height))
    kept = min(picture.shape[0], max(1, round(picture.shape[1] * height / width)))
    top = (picture.shape[0] - kept) // 4
    return cover(picture[top : top + kept], height, width)


def _decoded(folder: Path) -> Iterator[Image]:
    try:
        paths = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}") from error
    for path in paths:
        try:
            yield codec.decode(path.read_bytes()).image
        except DecodeError:
            continue  # a folder holds other things too


def _laid(people: Sequence[Image], number: int, height: int = 1080, width: int = 1920) -> Image:
    """A person on a ground; ``number`` decides who, where, and on which."""
    random = np.random.default_rng(number)
    coarse = random.integers(50, 220, (4, 6, 3), dtype=np.uint8)
    grain = random.integers(-8, 9, (height, width, 1), dtype=np.int8)
    ground = (resize(coarse, height, width) + grain).astype(np.uint8)  # 42..228: none overflows
    person, matte = _framed(people[number % len(people)]) if people else _drawn(height)
    wide = round(height * person.shape[1] / person.shape[0])
    person, matte = resize(person, height, wide), resize(matte, height, wide)
    left = (width - wide) // 2 + int(random.integers(-100, 101))  # a square still has all of it
    part = slice(None), slice(left, left + wide)
    ground[part] = over(person, matte, np.ascontiguousarray(ground[part]))
    return ground


def _framed(photo: Image) -> tuple[Image, Matte]:
    """A portrait, and a matte that fades it out towards its left, right and upper border."""
    height, width = photo.shape[:2]
    rows, columns = np.ogrid[:height, :width]
    inside = np.minimum(np.minimum(columns, width - 1 - columns), rows)
    return photo, np.clip(inside / (0.08 * width), 0, 1).astype(np.float32)


def _drawn(side: int) -> tuple[Image, Matte]:
    """A head and shoulders of ellipses, (side, side, 3), and where they are."""
    y, x = np.ogrid[:side, :side]

    def ellipse(middle: float, across: float, down: float) -> np.ndarray:
        inside = ((x / side - 0.5) / across) ** 2 + ((y / side - middle) / down) ** 2
        return inside <= 1

    picture, matte = np.zeros((side, side, 3), np.uint8), np.zeros((side, side), np.float32)
    parts = ((CLOTH, (1.0, 0.42, 0.46)), (HAIR, (0.34, 0.2, 0.27)), (SKIN, (0.38, 0.15, 0.21)))
    for colour, shape in parts:
        where = ellipse(*shape)
        picture[where], matte[where] = colour, 1
    shade = np.linspace(0.75, 1.1, side)[None, :, None]  # light from one side
    return np.clip(picture * shade, 0, 255).astype(np.uint8), matte
