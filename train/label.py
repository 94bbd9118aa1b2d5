"""Draw mattes by hand: polygons in a small JSON file become trimaps, colour models and soft mattes.

    python train/label.py show  DATA PHOTO... -o sheet.png     a photo with a coordinate grid
    python train/label.py check DATA LABELS PHOTO... -o sheet.png     what the polygons came to
    python train/label.py bake  DATA LABELS OUT                every label as OUT/alpha/*.png +
    OUT/sure/*.png

A label file maps a photo's path to ``{"add": [polygon, ...], "cut": [polygon, ...], "band": px}``;
a polygon is a list of [x, y] in the *shown* frame (the photo scaled so that its long side is 1000).
``add`` outlines people, ``cut`` holes and whatever is in front of them; ``band`` (default 16) is
how far a drawn line may be off.
``{"none": true}`` says that nobody is in the photo, ``{"skip": "why"}`` that it should not be
learnt from.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

SHOWN = 1000  # long side of the frame that polygons are written in
WORK = 512  # long side that mattes are made at


def read(path: Path, side: int) -> np.ndarray:
    """The photo as BGR uint8 (H, W, 3) with its long side scaled to ``side``."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise SystemExit(f"cannot read {path}")
    scale = side / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def grid(image: np.ndarray) -> np.ndarray:
    """The shown frame with a line every 50 and a number every 100."""
    out = image.copy()
    for at in range(50, SHOWN, 50):
        for axis in (0, 1):
            if at >= image.shape[1 - axis]:
                continue
            a, b = ((at, 0), (at, image.shape[0])) if axis == 0 else ((0, at), (image.shape[1], at))
            layer = out.copy()
            cv2.line(layer, a, b, (255, 255, 255) if at % 100 == 0 else (0, 255, 255), 1)
            out = cv2.addWeighted(
                layer, 0.55 if at % 100 == 0 else 0.3, out, 0.45 if at % 100 == 0 else 0.7, 0
            )
    for at in range(100, SHOWN, 100):
        for spot in (
            (at + 2, 12),
            (2, at - 2),
            (at + 2, image.shape[0] // 2),
            (image.shape[1] // 2, at - 2),
        ):
            for ink, width in (((0, 0, 0), 3), ((0, 255, 255), 1)):
                cv2.putText(
                    out, str(at), spot, cv2.FONT_HERSHEY_SIMPLEX, 0.42, ink, width, cv2.LINE_AA
                )
    return out


def trimap(shape: tuple[int, int], label: dict) -> tuple[np.ndarray, np.ndarray]:
    """(mask, unknown) as bool (H, W) from the polygons of a label."""
    scale = max(shape) / SHOWN
    mask = np.zeros(shape, np.uint8)
    for value, polygons in ((1, label.get("add", [])), (0, label.get("cut", []))):
        for polygon in polygons:
            points = np.round(np.array(polygon, np.float32) * scale).astype(np.int32)
            cv2.fillPoly(mask, [points], value)
    r = max(1, round(label.get("band", 16) * scale))
    # Replicated borders: a person cut by the frame is sure up to the frame.
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1))
    sure = cv2.erode(mask, kernel, borderType=cv2.BORDER_REPLICATE)
    maybe = cv2.dilate(mask, kernel, borderType=cv2.BORDER_REPLICATE)
    # Thin limbs must not vanish from the sure part: keep the drawn polygon's own core.
    core = cv2.erode(
        mask, np.ones((3, 3), np.uint8), iterations=max(1, r // 3), borderType=cv2.BORDER_REPLICATE
    )
    thin = core & ~cv2.dilate(sure, kernel) & 1
    sure = sure | thin
    return mask > 0, (maybe > 0) & (sure == 0)


def matte(image: np.ndarray, label: dict) -> tuple[np.ndarray, np.ndarray]:
    """(alpha, sure) from a BGR photo and its polygons: alpha float32 0..1, sure bool (learn from
    these pixels).

    Inside the band GrabCut's colour models decide, then a guided filter gives the edge its
    softness.
    """
    shape = image.shape[:2]
    if label.get("none"):
        return np.zeros(shape, np.float32), np.ones(shape, bool)
    mask, unknown = trimap(shape, label)
    cut = np.where(mask, cv2.GC_FGD, cv2.GC_BGD).astype(np.uint8)
    cut[unknown & mask], cut[unknown & ~mask] = cv2.GC_PR_FGD, cv2.GC_PR_BGD
    if unknown.any() and (cut == cv2.GC_FGD).any() and (cut == cv2.GC_BGD).any():
        cv2.setRNGSeed(0)
        cv2.grabCut(
            image, cut, None, np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_MASK
        )
    hard = ((cut == cv2.GC_FGD) | (cut == cv2.GC_PR_FGD)).astype(np.uint8)
    hard = cv2.medianBlur(hard, 5).astype(np.float32)
    alpha = guided(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32) / 255, hard, 4, 1e-4)
    edge = cv2.dilate(hard, np.ones((9, 9))) - cv2.erode(hard, np.ones((9, 9)))
    alpha = np.where(edge > 0, np.clip(alpha, 0, 1), hard).astype(np.float32)
    # Where drawing and colours disagree by more than half the band nobody knows: those pixels teach
    # nothing.
    r = max(1, round(label.get("band", 16) * max(shape) / SHOWN / 2))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1))
    drawn = mask.astype(np.uint8)
    far = (hard > 0) & (cv2.dilate(drawn, kernel) == 0) | (hard == 0) & (
        cv2.erode(drawn, kernel) > 0
    )
    return alpha, ~far


def guided(guide: np.ndarray, source: np.ndarray, radius: int, eps: float) -> np.ndarray:
    """Grey guided filter (He et al., 2010)."""
    size = (2 * radius + 1, 2 * radius + 1)
    mean = lambda a: cv2.blur(a, size)  # noqa: E731
    g, s = mean(guide), mean(source)
    a = (mean(guide * source) - g * s) / (mean(guide * guide) - g * g + eps)
    return mean(a) * guide + mean(s - a * g)


def sign(tile: np.ndarray, name: str) -> None:
    """The photo's path along the tile's lower edge, a little smaller on a smaller tile."""
    spot, scale = (4, tile.shape[0] - 6), 0.5 if max(tile.shape) >= SHOWN else 0.4
    cv2.putText(tile, name, spot, cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 255), 1, cv2.LINE_AA)


def sheet(tiles: list[np.ndarray], columns: int) -> np.ndarray:
    height, width = max(t.shape[0] for t in tiles), max(t.shape[1] for t in tiles)
    padded = [
        cv2.copyMakeBorder(
            t, 0, height - t.shape[0], 0, width - t.shape[1] + 6, cv2.BORDER_CONSTANT
        )
        for t in tiles
    ]
    padded += [np.zeros_like(padded[0])] * (-len(padded) % columns)
    return np.vstack([np.hstack(padded[i : i + columns]) for i in range(0, len(padded), columns)])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=("show", "check", "bake"))
    parser.add_argument("data", type=Path)
    parser.add_argument("rest", nargs="*")
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    if args.verb == "show":
        tiles = []
        for name in args.rest:
            tile = grid(read(args.data / name, SHOWN))
            sign(tile, name)
            tiles.append(tile)
        cv2.imwrite(str(args.output), sheet(tiles, 2 if len(tiles) > 1 else 1))
        return
    labels = json.loads(Path(args.rest[0]).read_text())
    if args.verb == "check":
        tiles = []
        for name in args.rest[1:]:
            image = read(args.data / name, WORK)
            alpha, sure = matte(image, labels[name])
            magenta = np.full_like(image, (255, 0, 255))
            cutout = (image * alpha[..., None] + magenta * (1 - alpha[..., None])).astype(np.uint8)
            cutout[~sure] = (0, 255, 255)
            outlined = image.copy()
            edges, _ = cv2.findContours(
                (alpha > 0.5).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE
            )
            cv2.drawContours(outlined, edges, -1, (0, 255, 0), 1)
            sign(outlined, name)
            tiles.append(np.hstack([outlined, cutout]))
        cv2.imwrite(str(args.output), sheet(tiles, 2 if len(tiles) > 1 else 1))
        return
    output = Path(args.rest[1])
    for folder in ("alpha", "sure"):
        (output / folder).mkdir(parents=True, exist_ok=True)
    for name, label in labels.items():
        if "skip" in label:
            continue
        alpha, sure = matte(read(args.data / name, WORK), label)
        stem = Path(name).stem
        cv2.imwrite(str(output / "alpha" / f"{stem}.png"), np.round(alpha * 255).astype(np.uint8))
        cv2.imwrite(str(output / "sure" / f"{stem}.png"), sure.astype(np.uint8) * 255)


if __name__ == "__main__":
    main()
