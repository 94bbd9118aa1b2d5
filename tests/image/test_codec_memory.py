"""Admission can rely on the header."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image as Pillow

from portrayer.image.codec import encode
from tests.image.pictures import exif, png, profile, saved, scene

_BILL = """
    import re, sys
    from pathlib import Path
    from portrayer.image import codec
    blob = Path(sys.argv[1]).read_bytes()
    codec.decode(Path(sys.argv[2]).read_bytes())  # what the libraries need once
    status = Path("/proc/self/status")
    state = lambda name: int(re.search(name + r":\\s+(\\d+)", status.read_text())[1])
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    before = state("VmRSS")
    header = codec.probe(blob)
    codec.decode(blob)
    print(header.decoded_bytes, (state("VmHWM") - before) * 1024)
"""


def tiled(side: int, channels: int = 3) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.tile(scene(100, 100, channels), (side // 100, side // 100, 1)))


def _inks(image: NDArray[np.uint8]) -> bytes:
    picture = Pillow.fromarray(image).convert("CMYK")
    return saved(picture, "JPEG", progressive=True, subsampling=0, icc_profile=profile(b"CMYK"))


def _deep_tiff(image: NDArray[np.uint8]) -> bytes:
    file = BytesIO()
    tifffile.imwrite(
        file,
        image.astype(np.uint16) * 257,
        photometric="rgb",
        compression="zlib",
        rowsperstrip=len(image),
        metadata=None,
    )
    return file.getvalue()


def _holes(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.dstack((image, image[..., 0]))


KINDS: dict[str, Callable[[NDArray[np.uint8]], bytes]] = {
    "jpeg": lambda image: saved(image, "JPEG"),
    "jpeg-turned": lambda image: saved(image, "JPEG", exif=exif(Orientation=7)),
    "jpeg-progressive": lambda image: saved(image, "JPEG", progressive=True, subsampling=0),
    "jpeg-grey-icc": lambda image: saved(image[..., 0], "JPEG", icc_profile=profile(b"GRAY")),
    "jpeg-cmyk": _inks,
    "png": lambda image: saved(image, "PNG", compress_level=1),
    "png-holes": lambda image: saved(_holes(image), "PNG", compress_level=1),
    "png-16": lambda image: png(image.astype(np.uint16) * 257, 16, 2),
    "webp": lambda image: saved(image, "WEBP", method=0),
    "webp-holes": lambda image: encode(_holes(image), "webp", lossless=True),
    "bmp": lambda image: saved(image, "BMP"),
    "tiff": lambda image: saved(image, "TIFF"),
    "tiff-lzw": lambda image: saved(image, "TIFF", compression="tiff_lzw", strip_size=1 << 26),
    "tiff-16": _deep_tiff,
    "tiff-palette": lambda image: saved(
        Pillow.fromarray(image).convert("P"), "TIFF", strip_size=1 << 26
    ),
    "tiff-deflate": lambda image: saved(
        image, "TIFF", compression="tiff_adobe_deflate", strip_size=1 << 26
    ),
}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts as Linux counts")
@pytest.mark.parametrize("kind", KINDS)
def test_decoded_bytes_is_an_upper_bound(kind: str, tmp_path: Path) -> None:
    """Decoding never holds more than the header promised, in the process's own peak."""
    side = 1000 if kind in ("png-16", "tiff-lzw") else 2000
    (tmp_path / "large").write_bytes(KINDS[kind](tiled(side)))
    (tmp_path / "small").write_bytes(KINDS[kind](tiled(100)))
    script = textwrap.dedent(_BILL)
    paths = [str(tmp_path / name) for name in ("large", "small")]
    done = subprocess.run(
        [sys.executable, "-c", script, *paths], capture_output=True, text=True, check=True
    )
    promised, held = map(int, done.stdout.split())
    assert held <= promised
    assert held > side * side * 2, "the picture itself must have been counted"
