"""Admission can rely on the header."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.image.pictures import exif, png, saved, scene


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts as Linux counts")
@pytest.mark.parametrize("kind", ["jpeg", "turned", "progressive", "png", "png16", "webp", "lzw"])
def test_decoded_bytes_is_an_upper_bound(kind: str, tmp_path: Path) -> None:
    """Decoding never holds more than the header promised, in the process's own peak."""

    def file(height: int, width: int) -> bytes:
        image = np.ascontiguousarray(np.tile(scene(100, 100), (height // 100, width // 100, 1)))
        if kind == "png16":
            return png(image.astype(np.uint16) * 257, 16, 2)
        format = {"png": "PNG", "webp": "WEBP", "lzw": "TIFF"}.get(kind, "JPEG")
        options: dict[str, dict[str, Any]] = {
            "turned": {"exif": exif(Orientation=6)},
            "progressive": {"progressive": True},
            "png": {"compress_level": 1},
            "webp": {"method": 0},
            "lzw": {"compression": "tiff_lzw", "strip_size": 1 << 26},
        }
        return saved(image, format, **options.get(kind, {}))

    side = 1000 if kind in ("png16", "lzw") else 2000
    (tmp_path / "large").write_bytes(file(side, side))
    (tmp_path / "small").write_bytes(file(100, 100))
    command = [sys.executable, "-c", textwrap.dedent(_BILL), tmp_path / "large", tmp_path / "small"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    promised, held = map(int, done.stdout.split())
    assert held <= promised
    assert held > side * side * 2, "the picture itself must have been counted"
