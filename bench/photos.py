"""Photos for the runs: those of a folder, over and over, and all of one size where that is asked
for.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageOps

ENDINGS = {".jpg", ".jpeg", ".png", ".webp"}
QUALITY = 90


def found_in(folder: Path) -> list[Path]:
    """The photos of a folder, by name; ends the program where there are none."""
    found = sorted(path for path in folder.resolve().iterdir() if path.suffix.lower() in ENDINGS)
    if not found:
        raise SystemExit(f"no photos in {folder}")
    return found


def repeated(photos: Sequence[Path], count: int, where: Path) -> Path:
    """The folder ``where`` with ``count`` files: the photos over and over."""
    where.mkdir()
    for number in range(count):
        photo = photos[number % len(photos)]
        shutil.copyfile(photo, where / f"{number:04}{photo.suffix}")
    return where


def at_size(photos: Sequence[Path], size: str, where: Path) -> list[Path]:
    """The photos as JPEG files of ``size``, such as 1920x1080 or, for upright ones, the same
    turned: filled, and what stands over cut off.
    """
    width, height = sorted(map(int, size.lower().split("x")), reverse=True)
    where.mkdir()
    made = []
    for photo in photos:
        with Image.open(photo) as opened:
            picture = ImageOps.exif_transpose(opened).convert("RGB")
        shape = (width, height) if picture.width >= picture.height else (height, width)
        # The upper part stays: that is where a portrait has its face.
        fitted = ImageOps.fit(picture, shape, Image.Resampling.LANCZOS, centering=(0.5, 0.25))
        made.append(where / f"{photo.stem}.jpg")
        fitted.save(made[-1], quality=QUALITY)
    return made
