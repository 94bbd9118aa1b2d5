"""The first ten seconds: portraits cut out, restored and fused, and how fast this machine is."""

from __future__ import annotations

import time
from pathlib import Path

from portrayer.image import codec, files
from portrayer.image.geometry import resize
from portrayer.image.samples import portraits
from portrayer.image.sheet import before_after, side_by_side
from portrayer.settings import Settings
from portrayer.types import Image

ROUNDS = 8  # how often the two photos are run to measure the speed


def run(out: Path, settings: Settings) -> None:
    """Write the results and sheets into ``out``; print where they are and images per second."""
    photos = portraits()
    from portrayer.studio import Studio

    with Studio(settings) as studio:
        results = {name: studio.matte(blob) for name, blob in photos.items()}
        for name, result in results.items():
            print(result.save(out / f"{name}.png"))
        pairs = [(codec.decode(photos[name]).image, r.image) for name, r in results.items()]
        files.write(out / "sheet.png", codec.encode(before_after(pairs), "png"))
        print(out / "sheet.png")
        bad = worn(codec.decode(photos["astronaut"]).image)
        restored = studio.enhance(bad).image
        files.write(out / "restored.png", codec.encode(side_by_side(bad, restored), "png"))
        print(out / "restored.png")
        fused = studio.fuse(*photos.values(), consent=True)
        print(fused.save(out / "fused.png"))
        start = time.perf_counter()
        count = sum(1 for r in studio.map("matte", list(photos.values()) * ROUNDS) if r.encode())
        seconds = time.perf_counter() - start
    ran = next(iter(results.values()))
    print(
        f"{count / seconds:.1f} images per second on {ran.device} ({ran.precision}),"
        " decoding and encoding included"
    )


def worn(photo: Image) -> Image:
    """A photo (H, W, 3) that has been shrunk, sent around and grown again."""
    height, width = photo.shape[:2]
    small = resize(photo, height * 2 // 5, width * 2 // 5)
    sent = codec.decode(codec.encode(small, "jpeg", quality=35)).image
    return resize(sent, height, width)
