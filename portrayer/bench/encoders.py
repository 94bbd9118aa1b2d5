"""How else a result could be written: the encoders that other programs use, as they come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path

import cv2
from PIL import Image as Pillow

from portrayer.image import files
from portrayer.pipeline import Result


def _own(result: Result, path: Path) -> None:
    result.write(path)


def _opencv(result: Result, path: Path) -> None:
    """OpenCV's PNG as it comes; it wants blue first."""
    turned = cv2.COLOR_RGBA2BGRA if result.image.shape[2] == 4 else cv2.COLOR_RGB2BGR
    _, blob = cv2.imencode(".png", cv2.cvtColor(result.image, turned))
    files.write(path, blob.tobytes())


def _pillow(result: Result, path: Path) -> None:
    """Pillow's PNG as it comes, which is level 6."""
    blob = BytesIO()
    Pillow.fromarray(result.image).save(blob, "PNG")
    files.write(path, blob.getbuffer())


WRITERS: Mapping[str, Callable[[Result, Path], None]] = {
    "own": _own,
    "OpenCV's PNG": _opencv,
    "Pillow's PNG, level 6": _pillow,
}
"""By the words a table has for them; ``own`` is the program's."""
