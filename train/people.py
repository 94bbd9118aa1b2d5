"""Sources of pictures for the face detector: portraits, real photos as a teacher sees them, and
scenes without people; and where faces go when a picture is moved.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

SIDE = 448  # of a portrait, its long side
MIRROR = [1, 0, 2, 4, 3]


@dataclass(slots=True)
class Photo:
    """A source: pyramids of (H, W, 3) and, for a cut-out, (H, W) uint8; ``faces`` (K, 7, 2) are
    middle, size and five points, ``doubtful`` (M, 2, 2) middle and size of what is not to be
    learnt.
    """

    levels: list[np.ndarray]
    faces: np.ndarray
    doubtful: np.ndarray
    alphas: list[np.ndarray] = field(default_factory=list)


def read(path: Path, side: int = SIDE, flags: int = cv2.IMREAD_COLOR_RGB) -> tuple:
    """The picture with its long side at most ``side``, and the scale that this took."""
    image = cv2.imread(str(path), flags)
    scale = min(1.0, side / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), scale


def pyramid(image: np.ndarray) -> list[np.ndarray]:
    levels = [image]
    while min(levels[-1].shape[:2]) >= 32:
        h, w = levels[-1].shape[:2]
        levels.append(cv2.resize(levels[-1], (w // 2, h // 2), interpolation=cv2.INTER_AREA))
    return levels


def face(box: list[float], points: list[float]) -> np.ndarray:
    """(7, 2): middle, size, five points."""
    x, y, w, h = box
    return np.array([(x + w / 2, y + h / 2), (w, h), *np.reshape(points, (5, 2))], np.float32)


class Teacher:
    """YuNet at several sizes: what two sizes agree on is a face, what only one saw is doubtful."""

    def __init__(self, folder: Path) -> None:
        path = str(folder / "teachers" / "yunet_n_dynamic.onnx")
        self.net = cv2.FaceDetectorYN.create(path, "", (320, 320), 0.3, 0.3, 500)

    def look(self, image: np.ndarray, side: int) -> np.ndarray:
        """(K, 15) in the picture's own pixels: box, five points, score."""
        scale = side / max(image.shape[:2])
        size = tuple(max(32, round(n * scale)) for n in image.shape[1::-1])
        self.net.setInputSize(size)
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        found = self.net.detect(cv2.resize(image, size, interpolation=how))[1]
        if found is None:
            return np.zeros((0, 15), np.float32)
        found[:, :14] /= scale
        return found

    def label(self, image: np.ndarray, sides: tuple[int, ...] = (320, 640, 1152)) -> tuple:
        """Faces (K, 15) and doubtful boxes (M, 4) of a BGR picture."""
        looks = [self.look(image, side) for side in sides]
        order = sorted(
            ((row, at) for at, found in enumerate(looks) for row in found),
            key=lambda pair: -pair[0][14],
        )
        groups: list[list] = []
        for row, at in order:
            near = [g for g in groups if overlap(g[0][0][:4], row[:4]) > 0.4]
            if near:
                near[0].append((row, at))
            else:
                groups.append([(row, at)])
        sure = [g[0][0] for g in groups if len({at for _, at in g}) > 1 and g[0][0][14] > 0.75]
        rest = [g[0][0][:4] for g in groups if not any(g[0][0] is s for s in sure)]
        return np.array(sure).reshape(-1, 15), np.array(rest).reshape(-1, 4)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes x, y, w, h."""
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    both = max(w, 0) * max(h, 0)
    return float(both / (a[2] * a[3] + b[2] * b[3] - both))


def labels(folder: Path, cache: Path) -> dict[str, dict[str, list]]:
    """What the teacher sees in every photo, by path: ``faces`` and ``doubtful``; asked once."""
    if cache.exists():
        return json.loads(cache.read_text())
    teacher, seen = Teacher(folder), {}
    stock = map(json.loads, (folder / "stock/manifest.jsonl").read_text().splitlines())
    rows = map(json.loads, (folder / "portraits/manifest.jsonl").read_text().splitlines())
    paths = [(f"stock/{row['photo']}", (320, 640, 1152)) for row in stock]
    paths += [(f"portraits/photo/{row['photo']}", (240, 480)) for row in rows]
    paths += [
        (f"backgrounds/{p.name}", (320, 640)) for p in sorted((folder / "backgrounds").iterdir())
    ]
    for path, sides in paths:
        sure, rest = teacher.label(cv2.imread(str(folder / path)), sides)
        seen[path] = {"faces": sure.round(1).tolist(), "doubtful": rest.round(1).tolist()}
    cache.write_text(json.dumps(seen))
    return seen


def stored(image: np.ndarray, scale: float, faces: list, doubtful: list, alpha=None) -> Photo:
    """Labels of the file's size at the size that is kept; pixel centres are integers."""
    known = np.array(faces, np.float32).reshape(-1, 7, 2) * np.float32(scale)
    known[:, [0, 2, 3, 4, 5, 6]] += np.float32(scale / 2 - 0.5)
    boxes = np.array(doubtful, np.float32).reshape(-1, 4) * np.float32(scale)
    rest = np.stack([boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:]], 1)
    return Photo(pyramid(image), known, rest, [] if alpha is None else pyramid(alpha))


def portraits(folder: Path, split: str, seen: dict, side: int = SIDE) -> list[Photo]:
    """The portraits with their one face; others that the teacher saw are doubtful."""
    photos = []
    for row in map(json.loads, (folder / "portraits/manifest.jsonl").read_text().splitlines()):
        if row["split"] != split or not row.get("box"):
            continue
        box, points = row["box"], np.reshape(row["points"], (5, 2))
        inside = (points > box[:2]) & (points < np.add(box[:2], box[2:]))
        if not inside.all():
            continue
        look = seen[f"portraits/photo/{row['photo']}"]
        others = [f[:4] for f in look["faces"]] + look["doubtful"]
        others = [b for b in others if overlap(b, box) < 0.1]
        image, scale = read(folder / "portraits/photo" / row["photo"], side)
        alpha = None
        if row["alpha"]:
            path = (folder / "portraits/alpha" / row["photo"]).with_suffix(".png")
            alpha = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            alpha = cv2.resize(alpha, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        photos.append(stored(image, scale, [face(box, points)], others, alpha))
    return photos


def stock(folder: Path, split: str, seen: dict) -> list[Photo]:
    """Real photos with the faces that the teacher is sure of; those without any count as well."""
    photos = []
    for row in map(json.loads, (folder / "stock/manifest.jsonl").read_text().splitlines()):
        if row["split"] == split and row["kind"] != "scene":
            look = seen[f"stock/{row['photo']}"]
            image, scale = read(folder / "stock" / row["photo"], 640)
            faces = [face(f[:4], f[4:14]) for f in look["faces"]]
            photos.append(stored(image, scale, faces, look["doubtful"]))
    return photos


def scenes(folder: Path, split: str, seen: dict) -> list[list[np.ndarray]]:
    """Pyramids of pictures in which the teacher sees nobody."""
    rows = map(json.loads, (folder / "stock/manifest.jsonl").read_text().splitlines())
    paths = [f"stock/{r['photo']}" for r in rows if r["kind"] == "scene" and r["split"] == split]
    grounds = [f"backgrounds/{p.name}" for p in sorted((folder / "backgrounds").iterdir())]
    paths += grounds[::10] if split == "val" else [p for p in grounds if p not in grounds[::10]]
    empty = [p for p in paths if not seen[p]["faces"] and not seen[p]["doubtful"]]
    return [pyramid(read(folder / path, 640)[0]) for path in empty]


def similar(
    scale: float, turn: float, mirrored: bool, stretch: float, source: np.ndarray, at: np.ndarray
) -> np.ndarray:
    """(2, 3): scales, turns and mirrors about ``source``, which comes to lie ``at``."""
    c, s = scale * math.cos(turn), scale * math.sin(turn)
    flip = -1.0 if mirrored else 1.0
    linear = np.array([[c * flip * stretch, -s], [s * flip * stretch, c]])
    return np.column_stack([linear, at - linear @ source])


def moved(matrix: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Faces (or doubtful boxes) (K, 2.., 2) under a similarity; sizes as an
    ellipse's.
    """
    linear, out = matrix[:, :2], faces @ matrix[:, :2].T.astype(np.float32)
    out += matrix[:, 2].astype(np.float32)
    out[:, 1] = np.sqrt((faces[:, 1] ** 2) @ (linear.T**2).astype(np.float32))
    if np.linalg.det(linear) < 0 and faces.shape[1] == 7:
        out[:, 2:] = out[:, 2:][:, MIRROR]
    return out


def view(levels: list[np.ndarray], matrix: np.ndarray, size: tuple[int, int], **how) -> np.ndarray:
    """A pyramid's picture under ``matrix`` into (width, height) ``size``, from the level that needs
    the least shrinking.
    """
    scale = math.sqrt(abs(np.linalg.det(matrix[:, :2])))
    level = min(len(levels) - 1, max(0, int(-math.log2(max(scale, 1e-6)) + 0.3)))
    fx, fy = (
        a / b for a, b in zip(levels[0].shape[1::-1], levels[level].shape[1::-1], strict=True)
    )
    matrix = matrix @ np.array([[fx, 0, fx / 2 - 0.5], [0, fy, fy / 2 - 0.5], [0, 0, 1]])
    return cv2.warpAffine(levels[level], matrix, size, flags=cv2.INTER_LINEAR, **how)
