"""How good the shipped restoring is, through the whole program, on real faces made bad.

Each face is cut out of its photo with room around it, made bad at three seeded levels
(``degrade.LEVELS``), and restored as a photo of its own. PSNR and SSIM over the face against the
bicubic picture; identity: cosine of a face embedding to the one of the good face.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import cv2
import degrade
import faces as known
import numpy as np

from portrayer import Studio
from portrayer.image import codec
from portrayer.image.faces import align

EYES = 64.0  # px between the eyes of a face as it is measured
ROOM = 5.2  # distances of the eyes across the cut-out
LEAST = 44.0  # px between the eyes that a photo must have to serve as the truth


@dataclass(frozen=True, slots=True)
class Face:
    name: str
    image: np.ndarray  # (S, S, 3) uint8 RGB
    points: np.ndarray  # (5, 2)


def real(data: Path) -> list[Face]:
    """Faces of real photos that no network of ours was trained to restore."""
    finder, out = known.Finder(data), []
    for path in [*sorted((data / "real/photo").glob("*")), *known.of_people(data, held=True)]:
        image = codec.decode(path.read_bytes()).image
        for _, points in finder(image):
            eyes = float(np.linalg.norm(points[0] - points[1]))
            if eyes < LEAST:
                continue
            side, zoom = round(EYES * ROOM), EYES / eyes
            centre = points.mean(0)
            m = np.array(
                [[zoom, 0, side / 2 - zoom * centre[0]], [0, zoom, side / 2 - zoom * centre[1]]]
            )
            flags = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
            soft = cv2.GaussianBlur(image, (0, 0), 0.4 / zoom) if zoom < 0.8 else image
            part = cv2.warpAffine(soft, m, (side, side), flags=flags, borderMode=cv2.BORDER_REFLECT)
            moved = (points * zoom + m[:, 2]).astype(np.float32)
            if min(moved.min(), side - moved.max()) > 0.3 * EYES:
                out.append(Face(path.name, part, moved))
    return out


def window(face: Face) -> tuple[slice, slice]:
    x, y = face.points.mean(0)
    h = 1.05 * EYES
    return slice(int(y - 1.15 * h), int(y + 1.15 * h)), slice(int(x - h), int(x + h))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(np.mean((a.astype(np.float32) - b) ** 2), 1e-3)))


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Of the lightness (Wang et al., 2004)."""
    x, y = (cv2.cvtColor(i, cv2.COLOR_RGB2GRAY).astype(np.float32) for i in (a, b))
    blur = lambda v: cv2.GaussianBlur(v, (11, 11), 1.5)  # noqa: E731
    mx, my = blur(x), blur(y)
    sx, sy, sxy = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
    c1, c2 = 6.5025, 58.5225
    return float(
        np.mean((2 * mx * my + c1) * (2 * sxy + c2) / ((mx**2 + my**2 + c1) * (sx + sy + c2)))
    )


class Identity:
    """Cosine of two faces' embeddings; the embedder is a teacher's, kept for measuring."""

    def __init__(self, data: Path) -> None:
        self.net = cv2.dnn.readNetFromONNX(str(data / "teachers/mobilefacenet_128d.onnx"))

    def of(self, image: np.ndarray, points: np.ndarray) -> np.ndarray:
        crop = align(image, points, "arcface", 112)[0].astype(np.float32) / 255
        x = (crop - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
        self.net.setInput(x.transpose(2, 0, 1)[None].astype(np.float32))
        v = self.net.forward().ravel()
        return v / np.linalg.norm(v)


def report(data: Path, precision: str, sheet: Path | None) -> None:
    faces, identity = real(data), Identity(data)
    print(f"{len(faces)} real faces, {EYES:.0f} px between the eyes")
    print(f"{'level':10}{'':>9}{'PSNR':>8}{'SSIM':>8}{'identity':>10}{'found':>8}")
    rows: list[list[np.ndarray]] = [[face.image] for face in faces]
    with Studio(precision=precision) as studio:
        levels = {
            **{
                name: [degrade.level(f.image, name, i) for i, f in enumerate(faces)]
                for name in degrade.LEVELS
            },
            "good": [degrade.jpeg(f.image, 90) for f in faces],
            "untouched": [f.image for f in faces],
        }
        for name, bad in levels.items():
            results = list(studio.map("enhance", bad))
            scores = {"before": [], "after": []}
            for face, before, result, row in zip(faces, bad, results, rows, strict=True):
                whole, cut = identity.of(face.image, face.points), window(face)
                for key, image in (("before", before), ("after", result.image)):
                    same = float(identity.of(image, face.points) @ whole)
                    a, b = image[cut], face.image[cut]
                    scores[key].append((psnr(a, b), ssim(a, b), same))
                if name in degrade.LEVELS:
                    row += [before, result.image]
            for key, values in scores.items():
                p, s, i = np.mean(values, 0)
                found = np.mean([bool(r.faces) for r in results]) if key == "after" else np.nan
                print(f"{name:10}{key:>9}{p:8.2f}{s:8.3f}{i:10.3f}{found:8.2f}", flush=True)
            gain = np.array(scores["after"])[:, 0] - np.array(scores["before"])[:, 0]
            print(f"{name:10}{'gain':>9}{gain.mean():8.2f}   worst {gain.min():.2f}")
    if sheet is not None:
        sheet.parent.mkdir(parents=True, exist_ok=True)
        sheet.write_bytes(codec.encode(np.vstack([np.hstack(row) for row in rows[:12]])))
