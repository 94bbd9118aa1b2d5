"""What fusing does to identity, on pairs of portraits and the two demo portraits.

Cosine of a face embedding to the source's and to the target's face, by degree of blending; how much
of the picture outside the face's box is as it was; CPU time and memory of the task.
"""

from __future__ import annotations

import json
import time
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
from score_restoring import Identity

from portrayer import Studio
from portrayer.errors import NoFaceFound
from portrayer.image import codec, samples
from portrayer.image.geometry import resize

DEGREES = (0.0, 0.25, 0.5, 0.75, 1.0)
PAIRS = 20
HEIGHT = 320


def portraits(data: Path) -> list[np.ndarray]:
    """The demo portraits, then portraits kept out of training, one in a few."""
    rows = [json.loads(x) for x in (data / "portraits/manifest.jsonl").read_text().splitlines()]
    names = [r["photo"] for r in rows if r["split"] == "val" and r.get("points")]
    chosen = np.random.default_rng(7).permutation(names)[: 2 * PAIRS - 2]
    blobs = [
        *samples.portraits().values(),
        *((data / "portraits/photo" / n).read_bytes() for n in chosen),
    ]
    return [codec.decode(blob).image for blob in blobs]


def tile(image: np.ndarray) -> np.ndarray:
    h, w = image.shape[:2]
    side = min(h, w)
    top, left = (h - side) // 3, (w - side) // 2
    return resize(np.ascontiguousarray(image[top : top + side, left : left + side]), HEIGHT, HEIGHT)


def report(data: Path, precision: str, sheet: Path | None) -> None:
    photos, identity = portraits(data), Identity(data)
    to_source, to_target, rows, seconds = [], [], [], []
    with Studio(precision=precision, workers=1) as studio:
        for source, target in zip(photos[::2], photos[1::2], strict=True):
            try:
                begun = time.process_time()
                made = [studio.fuse(source, target, blend=d, consent=True) for d in DEGREES]
                seconds.append((time.process_time() - begun) / len(DEGREES))
                [giver] = studio.enhance(source, faces="largest", strength=0, denoise=0).faces
                [taker] = studio.enhance(target, faces="largest", strength=0, denoise=0).faces
            except (NoFaceFound, ValueError) as error:
                print(f"left out: {error}")
                continue
            own, other = identity.of(source, giver.points), identity.of(target, taker.points)
            seen = [identity.of(result.image, taker.points) for result in made]
            to_source.append([float(v @ own) for v in seen])
            to_target.append([float(v @ other) for v in seen])
            x, y, w, h = made[-1].faces[0].box
            outside = np.ones(target.shape[:2], bool)
            outside[
                max(0, int(np.floor(y))) : int(np.ceil(y + h)),
                max(0, int(np.floor(x))) : int(np.ceil(x + w)),
            ] = False
            assert (made[-1].image[outside] == target[outside]).all()
            rows.append(np.hstack([tile(source), *(tile(result.image) for result in made)]))
        big = cv2.resize(photos[1], (3000, 4000), interpolation=cv2.INTER_CUBIC)
        studio.fuse(photos[0], photos[1], consent=True)
        tracemalloc.start()
        studio.fuse(photos[0], big, consent=True)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    towards, away = np.array(to_source), np.array(to_target)
    print(f"{len(towards)} pairs; {np.mean(seconds):.2f} CPU-s a photo, faces found anew each time")
    print("blend           " + "".join(f"{d:8.2f}" for d in DEGREES))
    print("cosine to source" + "".join(f"{v:8.3f}" for v in towards.mean(0)))
    print("cosine to target" + "".join(f"{v:8.3f}" for v in away.mean(0)))
    print(f"at 1 nearer to the source than to the target: {(towards > away)[:, -1].mean():.0%}")
    print(f"12 MP target: {peak / 2**20:.0f} MiB at the peak beside the decoded photo")
    if sheet is not None:
        sheet.parent.mkdir(parents=True, exist_ok=True)
        sheet.write_bytes(codec.encode(np.vstack(rows)))
