"""Measure how faces are found: in portraits, real photos and groups that no one trained on."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import people
import torch
from canvas import Canvas, curve, loguniform
from detector import Tally, boxes_of
from mosaics import Maker
from safetensors.torch import load_file

from portrayer.models.model import fold
from portrayer.nets.detector import Detector
from portrayer.nets.landmarker import Landmarker
from portrayer.tasks import faces as finding

SIZES = (24, 32, 48, 96, 200)
Scene = tuple[np.ndarray, np.ndarray, np.ndarray]  # image, faces (K, 7, 2), doubtful (M, 2, 2)


def networks(detector: Path, landmarks: Path):
    """``infer`` over the two networks' weights, in bfloat16."""
    nets = {}
    for net, path in ((Detector(), detector), (Landmarker(), landmarks)):
        net.load_state_dict(load_file(path))
        net = fold(net.eval()).to(torch.bfloat16).to(memory_format=torch.channels_last)
        nets[type(net)] = net

    @torch.inference_mode()
    def infer(model: str, samples: np.ndarray) -> np.ndarray:
        x = (torch.from_numpy(samples).permute(0, 3, 1, 2).float() / 127.5 - 1).bfloat16()
        x = x.contiguous(memory_format=torch.channels_last)
        if model == finding.MESH:
            return nets[Landmarker](x).float().numpy()
        return nets[Detector](x).float().permute(0, 2, 3, 1).numpy()

    return infer


def group(rng: np.random.Generator, maker: Maker, count: int) -> Scene:
    """``count`` people in rows on a scene, those in front last, each in a light of its own."""
    width, height = ((1280, 960), (1600, 900), (900, 1200), (1000, 1000))[rng.integers(4)]
    canvas = Canvas(maker.ground(rng, width, height))
    rows = int(np.clip(round(np.sqrt(count * height / width) * rng.uniform(0.6, 1.2)), 1, count))
    each = int(np.ceil(count / rows))
    column = width / each
    size = min(0.55 * column, 0.6 * height / (rows + 0.5)) * loguniform(rng, 0.35, 1)
    top = rng.uniform(0.7 * size, max(0.7 * size, height - (1.35 * rows - 0.2) * size))
    for k in range(count):
        row, place = divmod(k, each)
        at = np.array([(place + 0.4 + 0.2 * (row % 2)) * column, top + 1.35 * row * size])
        at += rng.normal(0, 0.06, 2) * size
        photo = maker.cut[rng.integers(len(maker.cut))]
        own = size * np.exp(rng.normal(0, 0.12)) / photo.faces[0, 1].max()
        flip = bool(rng.random() < 0.5)
        matrix = people.similar(own, rng.normal(0, 0.1), flip, 1.0, photo.faces[0, 0], at)
        whole = np.stack([np.zeros(2), np.array(photo.levels[0].shape[1::-1]) - 1.0])
        canvas.paste(photo.levels, matrix, whole, photo.alphas, "matte", curve(rng, 0.25))
        canvas.faces.append(people.moved(matrix, photo.faces)[0])
    faces = np.array(canvas.faces).reshape(-1, 7, 2)
    low, high = faces[:, 0] - faces[:, 1] / 2, faces[:, 0] + faces[:, 1] / 2
    far = np.minimum(high, (width, height)) - np.maximum(low, 0)
    seen = np.maximum(far, 0).prod(1) / faces[:, 1].prod(1) > 0.75
    doubtful = [*canvas.doubtful, *faces[~seen, :2]]
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(70, 95))]
    image = cv2.imdecode(cv2.imencode(".jpg", canvas.image, quality)[1], cv2.IMREAD_COLOR)
    return image, faces[seen], np.array(doubtful, np.float32).reshape(-1, 2, 2)


def scenes(folder: Path, seen: dict, seed: int = 11) -> dict[str, list[Scene]]:
    """What is measured, by name; photos at their own size."""
    rng, sets = np.random.default_rng(seed), {}
    photos = people.portraits(folder, "val", seen, 10_000)
    sets["portraits"] = [(p.levels[0], p.faces, p.doubtful) for p in photos]
    teacher = people.Teacher(folder)
    files = sorted((folder / "real/photo").iterdir())
    pictures = {"real": [cv2.imread(str(p)) for p in files]}
    rows = map(json.loads, (folder / "stock/manifest.jsonl").read_text().splitlines())
    held = [r["photo"] for r in rows if r["split"] == "val" and r["kind"] == "people"]
    pictures["stock"] = [cv2.imread(str(folder / "stock" / name)) for name in held]
    for name, images in pictures.items():
        sets[name] = []
        for image in images:
            sure, rest = teacher.label(image)
            known = [people.face(f[:4], f[4:14]) for f in sure]
            photo = people.stored(image[..., ::-1].copy(), 1.0, known, rest)
            sets[name].append((photo.levels[0], photo.faces, photo.doubtful))
    sources = [of(folder, "val", seen) for of in (people.portraits, people.stock, people.scenes)]
    maker = Maker(*sources)
    sets["groups"] = [group(rng, maker, int(rng.integers(1, 31))) for _ in range(40)]
    sets["empty"] = [
        (levels[0], np.zeros((0, 7, 2), np.float32), np.zeros((0, 2, 2), np.float32))
        for levels in maker.empty
    ]
    return sets


def check(folder: Path, out: Path, detector: Path, landmarks: Path) -> None:
    """Print recall, precision and point errors of every set, for several thresholds."""
    infer = networks(detector, landmarks)
    sets = scenes(folder, people.labels(folder, out / "labels.json"))
    looks = {name: [proposals(image, infer) for image, *_ in rows] for name, rows in sets.items()}
    for score in (0.3, 0.4, 0.5):
        for trust in (0.2, 0.3, 0.4, 0.5, 0.6, 99.0):
            row: dict = {"score": score, "trust": trust}
            for name in sets:
                result = tally(sets[name], looks[name], score, trust)
                row[name] = [result[k] for k in ("recall", "precision", "points", "wrong")]
            print(json.dumps(row), flush=True)
    for name in ("groups", "stock"):
        print(name, json.dumps(tally(sets[name], looks[name], 0.4, finding.TRUST)), flush=True)
    for name in ("portraits", "real", "stock"):
        print(name, json.dumps(largest(sets[name], infer)), flush=True)


def tally(rows: list[Scene], looks: list[tuple], score: float, trust: float) -> dict:
    """Counts for faces of 24 pixels and more; smaller ones may be found or not."""
    counts = Tally(SIZES)
    for (_, faces, doubtful), seen in zip(rows, looks, strict=True):
        small = faces[:, 1].max(1) < 24
        boxes, points = kept(seen, score, trust)
        counts.add(boxes, points, faces[~small], np.concatenate([doubtful, faces[small, :2]]))
    return counts.row() | {"wrong": counts.wrong, "faces": int(counts.all.sum())}


def proposals(image: np.ndarray, infer) -> tuple:
    boxes, scores, points = finding.propose(image, infer, 0.2)
    if not len(boxes):
        return boxes, scores, np.zeros((0, 473, 3), np.float32), scores
    meshes, spread = finding.look(image, boxes, points, infer)
    return boxes, scores, meshes, spread


def kept(seen: tuple, score: float, trust: float) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (K, 4) and points (K, 5, 2) that pass two thresholds."""
    _, scores, meshes, spread = seen
    real = (scores >= score) & (spread <= trust * (scores - finding.DOUBT))
    meshes, scores = meshes[real], scores[real]
    flat = meshes[:, :-5, :2]
    frames = np.zeros((0, 4), np.float32)
    if len(flat):
        frames = np.concatenate([flat.min(1), np.ptp(flat, axis=1)], 1)
    order = finding.distinct(frames, scores)
    return frames[order], meshes[order, -5:, :2]


def largest(rows: list[Scene], infer) -> dict:
    """How often the largest face is found, and how far its points lie from the teacher's, in eye
    distances.
    """
    found, errors, extents = 0, [], []
    rows = [row for row in rows if len(row[1])]
    for image, faces, _ in rows:
        true = faces[faces[:, 1].prod(1).argmax()]
        got = finding.find(image, infer, which="largest")
        if not got:
            continue
        eyes = np.linalg.norm(true[2] - true[3])
        error = np.linalg.norm(got[0].points - true[2:], axis=1).mean() / eyes
        if error < 0.5:
            found += 1
            errors.append(error)
            box = boxes_of(true[None])[0]
            extents.append([*(np.subtract(got[0].box, box) / np.tile(box[2:], 2))])
    return {
        "photos": len(rows),
        "recall": round(found / len(rows), 4),
        "points_mean": round(float(np.mean(errors)), 4),
        "points_median": round(float(np.median(errors)), 4),
        "points_p95": round(float(np.percentile(errors, 95)), 4),
        "box_from_teacher": np.round(np.median(extents, 0), 3).tolist(),
    }
