"""What every face training shares: the portraits' faces, their meshes, and square crops of them.

Pixel centres are at integer coordinates. Five points, always: right eye, left eye, nose, right and
left mouth corner, the subject's right, which is left in the picture.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

VERTICES = 468
EYES = ((33, 133), (362, 263))  # corners of the right and the left eye in the mesh
POINT_MIRROR = [1, 0, 2, 4, 3]
TEACHER = 192  # side of the teacher's crop
PRESENCE, SPREAD = 5.0, 0.08  # labels outside these are dropped: logit, share of the eye distance


@dataclass(frozen=True, slots=True)
class Face:
    """One labelled face, in pixels of its photo: ``box`` x y w h, ``points`` (5, 2)."""

    photo: str
    split: str
    box: np.ndarray
    points: np.ndarray


@dataclass(frozen=True, slots=True)
class Crop:
    """A face cut out: ``image`` (S, S, 3) uint8 RGB, ``mesh`` (468, 3), ``points`` (5, 2), in its
    pixels.
    """

    image: np.ndarray
    mesh: np.ndarray
    points: np.ndarray


def portraits(folder: Path) -> list[Face]:
    """The faces of ``folder/manifest.jsonl``, without rows that have none or points outside the
    box.
    """
    found = []
    for line in (folder / "manifest.jsonl").read_text().splitlines():
        row = json.loads(line)
        if not row.get("box") or not row.get("points"):
            continue
        box = np.array(row["box"], np.float32)
        points = np.array(row["points"], np.float32).reshape(5, 2)
        if ((points >= box[:2]) & (points <= box[:2] + box[2:])).all():
            found.append(Face(row["photo"], row["split"], box, points))
    return found


class Finder:
    """A teacher's eye for faces, at 800 pixels at most."""

    def __init__(self, data: Path) -> None:
        path = str(data / "teachers/yunet_n_dynamic.onnx")
        self.net = cv2.FaceDetectorYN.create(path, "", (320, 320), 0.8)

    def __call__(self, image: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Box x y w h and points (5, 2) of each face in (H, W, 3) RGB, in its pixels."""
        scale = min(1.0, 800 / max(image.shape[:2]))
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        self.net.setInputSize(small.shape[1::-1])
        rows = self.net.detect(small[..., ::-1].copy())[1]
        for row in () if rows is None else rows / scale:
            yield row[:4], row[4:14].reshape(5, 2)


def of_people(data: Path, held: bool) -> list[Path]:
    """Photos of real people: those held out for measuring (the split val, and every third of the
    others), or the rest.
    """
    rows = map(json.loads, (data / "stock/manifest.jsonl").read_text().splitlines())
    return [
        data / "stock" / row["photo"]
        for at, row in enumerate(rows)
        if row["kind"] != "scene" and (row.get("split") == "val" or at % 3 == 0) == held
    ]


def people(data: Path, held: bool) -> list[Face]:
    """The largest face of each photo of real people, found by a teacher."""
    finder, found = Finder(data), []
    for path in of_people(data, held):
        seen = list(finder(read(path)))
        if seen:
            box, points = max(seen, key=lambda face: face[0][2])
            if box[2] > 60:
                name = f"../../{path.relative_to(data)}"  # from where the portraits' photos lie
                found.append(Face(name, "val" if held else "train", box, points))
    return found


def read(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise SystemExit(f"cannot read {path}")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def photo(folder: Path, face: Face) -> np.ndarray:
    """(H, W, 3) uint8 RGB."""
    return read(folder / "photo" / face.photo)


def level(
    face: Face,
    factor: float,
    side: int,
    turn: float = 0,
    shift: tuple[float, float] = (0, 0),
) -> np.ndarray:
    """(2, 3) from the photo to a square of ``side`` pixels, ``factor`` times the longer side of the
    face's box, eyes level.

    ``turn`` in degrees and ``shift`` in box sides move it from there.
    """
    longer = float(face.box[2:].max())
    across = face.points[1] - face.points[0]
    angle = np.arctan2(across[1], across[0]) + np.radians(turn)
    scale = side / (factor * longer)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[cos, sin], [-sin, cos]])
    centre = face.box[:2] + face.box[2:] / 2 + np.array(shift) * longer
    return np.hstack([linear, ((side - 1) / 2 - linear @ centre)[:, None]])


def size(matrix: np.ndarray) -> float:
    """The scale of a similarity (2, 3)."""
    return float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))


def move(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """(..., 2) or (..., 3) by a similarity; a z is scaled."""
    moved = points[..., :2] @ matrix[:, :2].T + matrix[:, 2]
    depth = points[..., 2:] * size(matrix)
    return np.concatenate([moved, depth], -1).astype(np.float32)


def inverse(matrix: np.ndarray) -> np.ndarray:
    return cv2.invertAffineTransform(matrix)


def warp(image: np.ndarray, matrix: np.ndarray, side: int) -> np.ndarray:
    """(side, side, 3) by ``matrix`` (image to square); what shrinks by much is averaged first."""
    if size(matrix) < 0.75:
        shrink = size(matrix) / 0.9
        small = (max(1, round(image.shape[1] * shrink)), max(1, round(image.shape[0] * shrink)))
        fx, fy = image.shape[1] / small[0], image.shape[0] / small[1]
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        back = np.array([[fx, 0, (fx - 1) / 2], [0, fy, (fy - 1) / 2], [0, 0, 1]])
        matrix = matrix @ back
    return cv2.warpAffine(
        image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def mirror(teachers: Path) -> np.ndarray:
    """(468,) which vertex each becomes in the mirror, from the canonical model's coordinates."""
    lines = (teachers / "canonical_face_model.obj").read_text().splitlines()
    vertices = np.array([line.split()[1:4] for line in lines if line.startswith("v ")], float)
    flipped = vertices * (-1, 1, 1)
    nearest = np.square(flipped[:, None] - vertices[None]).sum(-1).argmin(1)
    assert (nearest[nearest] == np.arange(VERTICES)).all()
    return nearest


def eye_distance(mesh: np.ndarray) -> np.ndarray:
    """(...,) distance between the middles of the eyes' corners of meshes (..., 468, 2 or 3)."""
    right, left = (mesh[..., list(corners), :2].mean(-2) for corners in EYES)
    return np.linalg.norm(left - right, axis=-1)


class Teacher:
    """MediaPipe's face mesh (468 vertices on a 192 x 192 crop), median of six runs."""

    def __init__(self, teachers: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.net = Interpreter(str(teachers / "face_mesh_468.tflite"), num_threads=1)
        self.net.allocate_tensors()
        self.input = self.net.get_input_details()[0]["index"]
        self.mesh, self.presence = (d["index"] for d in self.net.get_output_details())
        self.mirror = mirror(teachers)

    def run(self, crop: np.ndarray) -> tuple[np.ndarray, float]:
        """(mesh (468, 3) in crop pixels, presence logit) of (192, 192, 3) uint8 RGB."""
        self.net.set_tensor(self.input, crop[None].astype(np.float32) / 255)
        self.net.invoke()
        mesh = self.net.get_tensor(self.mesh).reshape(VERTICES, 3)
        return mesh - (0.5, 0.5, 0), float(self.net.get_tensor(self.presence).reshape(()))

    def label(self, image: np.ndarray, face: Face) -> tuple[np.ndarray, float, float]:
        """(mesh (468, 3) in photo pixels, least presence, spread as a share of the eye distance) of
        four jittered crops and two mirrored ones.
        """
        rng = np.random.default_rng(0)
        meshes, presences = [], []
        for at in range(6):
            matrix = level(
                face,
                rng.uniform(1.2, 1.3),
                TEACHER,
                rng.uniform(-6, 6),
                (rng.uniform(-0.03, 0.03), rng.uniform(-0.03, 0.03)),
            )
            crop = warp(image, matrix, TEACHER)
            mesh, presence = self.run(crop[:, ::-1] if at >= 4 else crop)
            if at >= 4:
                mesh = mesh[self.mirror] * (-1, 1, 1) + (TEACHER - 1, 0, 0)
            meshes.append(move(mesh, inverse(matrix)))
            presences.append(presence)
        median = np.median(meshes, 0).astype(np.float32)
        apart = np.linalg.norm(np.stack(meshes)[..., :2] - median[:, :2], axis=-1).mean()
        return median, min(presences), float(apart / eye_distance(median))


def labels(faces: list[Face], folder: Path, teachers: Path, cache: Path) -> dict[str, np.ndarray]:
    """Photo to mesh (468, 3) in its pixels, for the faces that the teacher is sure of.

    Kept in ``cache/meshes.npz`` from the first time on.
    """
    file = cache / "meshes.npz"
    if not file.exists():
        teacher = Teacher(teachers)
        found = [teacher.label(photo(folder, face), face) for face in faces]
        mesh, presence, spread = (np.stack(x) for x in zip(*found, strict=True))
        cache.mkdir(parents=True, exist_ok=True)
        np.savez(file, photo=[f.photo for f in faces], mesh=mesh, presence=presence, spread=spread)
    kept = np.load(file)
    sure = (kept["presence"] > PRESENCE) & (kept["spread"] < SPREAD)
    return dict(zip(kept["photo"][sure].tolist(), kept["mesh"][sure], strict=True))


def crops(
    faces: list[Face], meshes: dict[str, np.ndarray], folder: Path, factor: float, side: int
) -> list[Crop]:
    """Level crops of the faces that have a mesh, ``factor`` times the box, ``side`` pixels."""
    cut = []
    for face in faces:
        if face.photo in meshes:
            matrix = level(face, factor, side)
            cut.append(
                Crop(
                    warp(photo(folder, face), matrix, side),
                    move(meshes[face.photo], matrix),
                    move(face.points, matrix),
                )
            )
    return cut


def mirrored(crop: Crop, order: np.ndarray) -> Crop:
    right = crop.image.shape[1] - 1
    return Crop(
        cv2.flip(crop.image, 1),
        crop.mesh[order] * (-1, 1, 1) + (right, 0, 0),
        crop.points[POINT_MIRROR] * (-1, 1) + (right, 0),
    )


def rarity(meshes: np.ndarray) -> np.ndarray:
    """(N,) weight of each mesh (N, 468, 3) in sampling: its distance from the mean shape among
    principal components of unit variance, over the median distance.
    """
    still = meshes - meshes.mean(1, keepdims=True)
    flat = (still / eye_distance(meshes)[:, None, None]).reshape(len(meshes), -1)
    flat = flat - flat.mean(0)
    left = np.linalg.svd(flat, full_matrices=False)[0]
    distance = np.linalg.norm(left[:, :12], axis=1)
    return np.clip(distance / np.median(distance), 0.6, 3.0)


def five(meshes: np.ndarray, points: np.ndarray, order: np.ndarray, ridge: float) -> np.ndarray:
    """(5, 468) whose rows add up to 1 and take meshes (N, 468, 2) to points (N, 5, 2), mirrored
    faces too; ridge regression, far-off faces weighing less (Huber).
    """
    unit = eye_distance(meshes)[:, None, None]
    centre = meshes.mean(1, keepdims=True)
    a, b = (meshes - centre) / unit, (points - centre) / unit
    a = np.concatenate([a, a[:, order] * (-1, 1)])
    b = np.concatenate([b, b[:, POINT_MIRROR] * (-1, 1)])
    a, b = (x.transpose(0, 2, 1).reshape(-1, x.shape[1]).astype(np.float64) for x in (a, b))
    found = np.zeros((a.shape[1], b.shape[1]))
    for _ in range(6):
        off = np.linalg.norm((b - a @ found).reshape(-1, 2, 5), axis=1).mean(1).repeat(2)
        weight = np.minimum(1, np.median(off) / np.maximum(off, 1e-9))[:, None]
        normal = (a * weight).T @ a + ridge * np.eye(len(found))
        found = np.linalg.solve(normal, (a * weight).T @ b)
    # Meshes were centred, so what a row lacks in its sum is spread over all vertices.
    return (found + (1 - found.sum(0)) / len(found)).T.astype(np.float32)
