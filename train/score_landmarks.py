"""How near the shipped landmarks are to the teacher's mesh, from finding the face on.

In shares of the distance between the eyes: the mean over a face's 468 vertices, on portraits kept
out of training and on real photos; and the five points against a detector's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import faces as known
import numpy as np

from portrayer import Studio
from portrayer.image import codec
from portrayer.image.geometry import resize


def portraits(data: Path) -> Iterator[tuple[np.ndarray, known.Face]]:
    for face in known.portraits(data / "portraits"):
        if face.split == "val":
            yield known.photo(data / "portraits", face), face


def real(data: Path) -> Iterator[tuple[np.ndarray, known.Face]]:
    """Faces of real photos that are kept out of training, found by the teacher's detector."""
    for face in known.people(data, held=True):
        yield known.photo(data / "portraits", face), face


def share(box: np.ndarray, other: np.ndarray) -> float:
    low = np.maximum(box[:2], other[:2])
    high = np.minimum(box[:2] + box[2:], other[:2] + other[2:])
    both = np.maximum(high - low, 0).prod()
    return float(both / (box[2:].prod() + other[2:].prod() - both))


def report(data: Path, precision: str, sheet: Path | None) -> None:
    teacher = known.Teacher(data / "teachers")
    shown: list[np.ndarray] = []
    with Studio(precision=precision, workers=1) as studio:
        for name, cases in (("portraits val", portraits(data)), ("real photos", real(data))):
            errors, points, missed = [], [], 0
            for image, face in cases:
                mesh, presence, spread = teacher.label(image, face)
                if presence <= known.PRESENCE or spread >= known.SPREAD:
                    continue
                found = studio.enhance(image, strength=0, denoise=0).faces
                frame = np.concatenate([mesh[:, :2].min(0), np.ptp(mesh[:, :2], axis=0)])
                best = max(found, key=lambda f: share(np.array(f.box), frame), default=None)
                if best is None or share(np.array(best.box), frame) < 0.4:
                    missed += 1
                    continue
                eyes = known.eye_distance(mesh)
                apart = np.linalg.norm(best.mesh[:, :2] - mesh[:, :2], axis=1).mean() / eyes
                errors.append(apart)
                points.append(np.linalg.norm(best.points - face.points, axis=1).mean() / eyes)
                if sheet is not None and name == "real photos" and len(shown) < 48:
                    shown.append(drawn(image, best.mesh, best.points))
            print(
                f"{name:14} {len(errors)} faces, {missed} missed; mesh mean {np.mean(errors):.4f}"
                f" median {np.median(errors):.4f} p95 {np.quantile(errors, 0.95):.4f};"
                f" five points mean {np.mean(points):.4f} median {np.median(points):.4f}",
                flush=True,
            )
    if sheet is not None:
        sheet.parent.mkdir(parents=True, exist_ok=True)
        rows = [np.hstack(shown[at : at + 8]) for at in range(0, len(shown) // 8 * 8, 8)]
        sheet.write_bytes(codec.encode(np.vstack(rows)))


def drawn(image: np.ndarray, mesh: np.ndarray, points: np.ndarray, side: int = 240) -> np.ndarray:
    low, size = mesh[:, :2].min(0), float(np.ptp(mesh[:, :2], axis=0).max())
    zoom = side / (1.5 * size)
    m = np.array([[zoom, 0, 0], [0, zoom, 0]])
    m[:, 2] = side / 2 - zoom * (low + np.ptp(mesh[:, :2], axis=0) / 2)
    small = resize(image, *(max(1, round(n * min(1, 2 * zoom))) for n in image.shape[:2]))
    ratio = image.shape[1] / small.shape[1]
    out = cv2.warpAffine(small, m * [ratio, ratio, 1], (side, side))
    for x, y in mesh[:, :2] @ m[:, :2].T + m[:, 2]:
        cv2.circle(out, (round(float(x)), round(float(y))), 0, (0, 255, 0), -1)
    for x, y in points @ m[:, :2].T + m[:, 2]:
        cv2.circle(out, (round(float(x)), round(float(y))), 2, (255, 230, 0), -1)
    return out
