"""Training pictures for the matting network: real photos, and people put on other scenes.

Sources are kept in memory at 448 px as uint8. A sample is made for a given square: the photo itself
(letterboxed or cropped), or one to three cut-outs on a scene without people, then light, colour,
blur, noise and compression.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from portrayer.image.geometry import PAD

SIDE = 448

# Repositories whose hand-labelled photos are never trained on.
VAL_REPOS = frozenset(
    {
        "creativetimofficial/soft-ui-design-system",
        "codrops/GridItemHoverEffect",
        "codrops/OnScrollShapeMorph",
    }
)


@dataclass(frozen=True, slots=True)
class Source:
    """One labelled photo. ``image``, ``front`` (H, W, 3) uint8 RGB; ``alpha``, ``sure`` (H, W)
    uint8 0..255.

    ``front`` is the foreground colour without the background's; ``sure`` is 0 where the label is
    not to be learnt;
    ``touches`` says at which sides (left, top, right, bottom) the person is cut by the frame.
    """

    name: str
    image: np.ndarray
    front: np.ndarray
    alpha: np.ndarray
    sure: np.ndarray
    touches: tuple[bool, bool, bool, bool]
    face: tuple[float, float, float, float] | None
    weight: float


def read(path: Path, side: int = SIDE, flags: int = cv2.IMREAD_COLOR_RGB) -> np.ndarray:
    image = cv2.imread(str(path), flags)
    if image is None:
        raise FileNotFoundError(path)
    scale = side / max(image.shape[:2])
    if scale < 1:
        size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return image


def front(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Foreground colours by blur fusion (Forte, 2021), twice; uint8 RGB."""
    c, a = image.astype(np.float32), (alpha.astype(np.float32) / 255)[..., None]
    f, b = c, c
    for size in (91, 7):
        blur = lambda x, s=size: cv2.blur(x, (s, s))  # noqa: E731
        ba = blur(a[..., 0])[..., None]
        mean_f = blur(f * a) / (ba + 1e-5)
        mean_b = blur(b * (1 - a)) / (1 - ba + 1e-5)
        f = np.clip(mean_f + a * (c - a * mean_f - (1 - a) * mean_b), 0, 255)
        b = mean_b
    return f.astype(np.uint8)


def source(
    name: str, image: np.ndarray, alpha: np.ndarray, sure: np.ndarray | None, face, weight: float
) -> Source:
    alpha = cv2.resize(alpha, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    sure = (
        np.full_like(alpha, 255)
        if sure is None
        else cv2.resize(sure, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    )
    edges = (alpha[:, :2], alpha[:2], alpha[:, -2:], alpha[-2:])
    touches = tuple(bool((e > 128).mean() > 0.02) for e in edges)
    return Source(name, image, front(image, alpha), alpha, sure, touches, face, weight)


def portraits(data: Path, split: str, side: int = SIDE) -> list[Source]:
    """The synthetic portraits whose two teachers agreed."""
    out = []
    for line in (data / "portraits/manifest.jsonl").read_text().splitlines():
        row = json.loads(line)
        if not row["alpha"] or row["split"] != split:
            continue
        path = data / "portraits/photo" / row["photo"]
        full = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
        scale = min(1.0, side / max(full.shape[:2]))
        image = read(path, side)
        alpha = cv2.imread(
            str(data / "portraits/alpha" / (path.stem + ".png")), cv2.IMREAD_GRAYSCALE
        )
        face = tuple(v * scale for v in row["box"]) if row.get("box") else None
        out.append(
            source(row["photo"], image, alpha, None, face, 0.4 if row["agree"] > 0.03 else 1.0)
        )
    return out


def stock(data: Path, split: str, side: int = SIDE) -> list[Source]:
    """Real people with mattes."""
    out = []
    for line in (data / "stock/manifest.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["kind"] != "people" or row["split"] != split:
            continue
        path = data / "stock" / row["photo"]
        alpha = cv2.imread(
            str(path.parent.parent / "alpha" / (path.stem + ".png")), cv2.IMREAD_GRAYSCALE
        )
        out.append(source(row["photo"], read(path, side), alpha, None, None, 1.0))
    return out


def scenes(data: Path, split: str, side: int = 640) -> list[np.ndarray]:
    """Pictures without people: stock scenes and objects, and (train) the wallpapers in which no
    face was found.
    """
    rows = [json.loads(line) for line in (data / "stock/manifest.jsonl").read_text().splitlines()]
    out = [
        read(data / "stock" / r["photo"], side)
        for r in rows
        if r["kind"] == "scene" and r["split"] == split
    ]
    if split == "train":
        finder = cv2.FaceDetectorYN.create(
            str(data / "teachers/yunet_n_dynamic.onnx"), "", (320, 320), 0.8
        )
        for path in sorted((data / "backgrounds").glob("*.jpg")):
            image = read(path, side)
            finder.setInputSize(image.shape[1::-1])
            if finder.detect(image[..., ::-1].copy())[1] is None:
                out.append(image)
    return out


def drawn(
    root: Path, labels: Path, side: int = SIDE
) -> tuple[list[Source], list[Source], list[np.ndarray]]:
    """(train, val, scenes) of the photos under ``root`` labelled by hand (``train/label.py``);
    those of VAL_REPOS are val.
    """
    from label import WORK, matte
    from label import read as read_shown

    rows = {
        r["photo"]: r for r in map(json.loads, (root / "manifest.jsonl").read_text().splitlines())
    }
    train: list[Source] = []
    val: list[Source] = []
    empty = []
    for name, label in json.loads(labels.read_text()).items():
        path = root / name
        if label.get("none"):
            empty.append(read(path, 640))
        elif label.get("add"):
            row = rows.get(name) or rows[path.name]
            shown = read_shown(path, WORK)
            alpha, sure = matte(shown, label)
            box = row.get("box")
            image = read(path, side)
            scale = max(image.shape[:2]) / max(cv2.imread(str(path)).shape[:2])
            face = tuple(v * scale for v in box) if box else None
            made = source(
                name, image, (alpha * 255).astype(np.uint8), sure.astype(np.uint8) * 255, face, 1.0
            )
            (val if row.get("repo") in VAL_REPOS else train).append(made)
    return train, val, empty


# --- one sample -----------------------------------------------------------------------------

Rng = np.random.Generator


def warp(
    array: np.ndarray,
    m: np.ndarray,
    side: tuple[int, int],
    fill: int | tuple[int, ...] = 0,
    border: int = cv2.BORDER_CONSTANT,
) -> np.ndarray:
    """warpAffine into (h, w), shrinking by area first so that nothing aliases."""
    zoom = float(np.hypot(m[0, 0], m[1, 0]))
    if zoom < 0.7:
        h, w = max(1, round(array.shape[0] * zoom)), max(1, round(array.shape[1] * zoom))
        small = cv2.resize(array, (w, h), interpolation=cv2.INTER_AREA)
        m = m.copy()
        m[:, 0] *= array.shape[1] / w
        m[:, 1] *= array.shape[0] / h
        array = small
    return cv2.warpAffine(
        array, m, side[::-1], flags=cv2.INTER_LINEAR, borderMode=border, borderValue=fill
    )


def colours(rng: Rng, strength: float) -> tuple[np.ndarray, float]:
    """A 3x4 colour matrix (saturation, hue, contrast, brightness, tint) and a gamma."""
    s = strength
    saturation, hue = 1 + rng.uniform(-0.6, 0.5) * s, rng.normal(0, 0.12) * s
    gain, lift = 1 + rng.normal(0, 0.22) * s, rng.normal(0, 22) * s
    tint = 1 + rng.normal(0, 0.08, 3) * s
    grey = np.full((3, 3), 1 / 3)
    c, n = np.cos(hue), np.sin(hue) / np.sqrt(3)
    turn = grey * (1 - c) + np.eye(3) * c + n * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    luma = np.tile([0.299, 0.587, 0.114], (3, 1))
    mix = np.diag(tint * gain) @ (saturation * turn + (1 - saturation) * luma)
    offset = 118 * (1 - gain) + lift
    return np.column_stack([mix, np.full(3, offset)]).astype(np.float32), float(
        np.exp(rng.normal(0, 0.28) * s)
    )


def recolour(image: np.ndarray, rng: Rng, strength: float) -> np.ndarray:
    matrix, gamma = colours(rng, strength)
    out = cv2.transform(image, matrix)
    table = (255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    return cv2.LUT(out, table)


def degrade(image: np.ndarray, rng: Rng) -> np.ndarray:
    """Grey, blur, low resolution, noise, JPEG: what cameras and messengers do."""
    if rng.random() < 0.1:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if rng.random() < 0.12:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.5))
    if rng.random() < 0.1:
        h, w = image.shape[:2]
        f = rng.uniform(0.4, 0.8)
        image = cv2.resize(
            cv2.resize(image, (int(w * f), int(h * f)), interpolation=cv2.INTER_AREA), (w, h)
        )
    if rng.random() < 0.25:
        noise = rng.integers(0, 2**31)
        cv2.setRNGSeed(int(noise))
        grain = np.empty(image.shape, np.int16)
        cv2.randn(grain, 0, rng.uniform(2, 14))
        image = cv2.add(image, grain, dtype=cv2.CV_8U)
    if rng.random() < 0.3:
        _, data = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))))
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return image


def similarity(
    centre: tuple[float, float], zoom: float, at: tuple[float, float], turn: float
) -> np.ndarray:
    """Affine that puts ``centre`` of the source at ``at`` of the output, zoomed and turned
    (radians).
    """
    c, s = np.cos(turn) * zoom, np.sin(turn) * zoom
    m = np.array([[c, -s], [s, c]])
    return np.column_stack([m, np.array(at) - m @ np.array(centre)])


def scene(rng: Rng, pictures: list[np.ndarray], h: int, w: int) -> np.ndarray:
    """A random part of a person-free picture, sometimes blurred as a lens would."""
    image = pictures[rng.integers(len(pictures))]
    zoom = max(h / image.shape[0], w / image.shape[1]) * float(np.exp(abs(rng.normal(0, 0.45))))
    zoom = min(zoom, 1.6 * max(h / image.shape[0], w / image.shape[1]) + 0.6)
    sh, sw = (
        min(image.shape[0], int(np.ceil(h / zoom))),
        min(image.shape[1], int(np.ceil(w / zoom))),
    )
    y, x = rng.integers(image.shape[0] - sh + 1), rng.integers(image.shape[1] - sw + 1)
    part = cv2.resize(
        image[y : y + sh, x : x + sw],
        (w, h),
        interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR,
    )
    if rng.random() < 0.5:
        part = part[:, ::-1]
    part = recolour(np.ascontiguousarray(part), rng, 0.7)
    if rng.random() < 0.3:
        part = cv2.GaussianBlur(part, (0, 0), rng.uniform(0.6, 5.0) * w / 320)
    return part


def shape_mask(rng: Rng, h: int, w: int) -> np.ndarray:
    """A random smooth or angular silhouette, uint8 0..255: a thing that is not a person."""
    mask = np.zeros((h, w), np.uint8)
    n = int(rng.integers(3, 10))
    angles = np.sort(rng.uniform(0, 2 * np.pi, n))
    reach = rng.uniform(0.05, 0.3) * min(h, w)
    stretch = np.exp(rng.normal(0, 0.6, 2))
    points = (
        np.column_stack([np.cos(angles), np.sin(angles)])
        * reach
        * rng.uniform(0.5, 1.3, (n, 1))
        * stretch
    )
    points += rng.uniform(0, 1, 2) * (w, h)
    cv2.fillPoly(mask, [points.astype(np.int32)], 255, cv2.LINE_AA)
    return cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.5, 2.0))


def blend(top: np.ndarray, under: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    a = alpha.astype(np.float32) / 255
    return cv2.blendLinear(top, under, a, 1 - a)


class Maker:
    """Makes samples: ``sample(rng, side) -> image (S, S, 3), alpha (S, S), weight (S, S)``, all
    uint8.
    """

    def __init__(
        self, sources: list[Source], shares: np.ndarray, pictures: list[np.ndarray]
    ) -> None:
        self.sources, self.shares, self.pictures = sources, shares / shares.sum(), pictures

    def pick(self, rng: Rng) -> Source:
        return self.sources[rng.choice(len(self.sources), p=self.shares)]

    def sample(self, rng: Rng, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        # The content's box inside the square: mostly letterboxed, as a real photo will be.
        kind, s = rng.random(), self.pick(rng)
        h = w = side
        if kind < 0.45 and rng.random() < 0.6:
            sh, sw = s.alpha.shape
            h, w = round(side * sh / max(sh, sw)), round(side * sw / max(sh, sw))
        elif rng.random() < 0.65:
            ratio = float(
                rng.choice(
                    [0.5625, 0.667, 0.75, 0.8, 1.25, 1.333, 1.5, 1.778],
                    p=[0.1, 0.2, 0.15, 0.1, 0.05, 0.1, 0.2, 0.1],
                )
            )
            h, w = (side, round(side * ratio)) if ratio < 1 else (round(side / ratio), side)
        if kind < 0.45:
            image, alpha, weight = self.photo(rng, s, h, w)
        elif kind < 0.97:
            image, alpha, weight = self.composite(rng, h, w)
        else:
            image = scene(rng, self.pictures, h, w)
            alpha, weight = np.zeros((h, w), np.uint8), np.full((h, w), 255, np.uint8)
        image = degrade(recolour(image, rng, 0.5), rng)
        if rng.random() < 0.5:
            image, alpha, weight = image[:, ::-1], alpha[:, ::-1], weight[:, ::-1]
        square = np.full((side, side, 3), PAD, np.uint8)
        out_alpha, out_weight = np.zeros((side, side), np.uint8), np.zeros((side, side), np.uint8)
        y, x = (side - h) // 2, (side - w) // 2
        square[y : y + h, x : x + w] = image
        out_alpha[y : y + h, x : x + w] = alpha
        out_weight[y : y + h, x : x + w] = weight
        return square, out_alpha, out_weight

    def photo(
        self, rng: Rng, s: Source, h: int, w: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The photo as it is: the largest crop of this aspect, or a closer one."""
        sh, sw = s.alpha.shape
        cover = max(h / sh, w / sw)
        zoom = cover * float(np.exp(abs(rng.normal(0, 0.25)))) if rng.random() < 0.5 else cover
        turn = rng.normal(0, 0.12) if rng.random() < 0.2 else 0.0
        if turn:
            zoom *= 1 + 1.2 * abs(turn)
        ry, rx = max(0.0, sh - h / zoom) / 2, max(0.0, sw - w / zoom) / 2
        centre = (sw / 2 + rng.uniform(-rx, rx), sh / 2 + rng.uniform(-ry, ry))
        m = similarity(centre, zoom, (w / 2, h / 2), turn)
        image = s.image
        if rng.random() < 0.15:
            image = self.texture(rng, s, image)
        parts = [
            warp(image, m, (h, w), border=cv2.BORDER_REFLECT),
            warp(s.alpha, m, (h, w), border=cv2.BORDER_REFLECT),
        ]
        weight = warp(s.sure, m, (h, w))
        if rng.random() < 0.2:
            parts[0], parts[1] = self.occlude(rng, parts[0], parts[1])
        return parts[0], parts[1], self.tone(weight, s)

    def tone(self, weight: np.ndarray, s: Source) -> np.ndarray:
        return weight if s.weight == 1 else (weight * s.weight).astype(np.uint8)

    def texture(self, rng: Rng, s: Source, image: np.ndarray) -> np.ndarray:
        """Other clothes: a random texture, shaded by the photo's own light, on the body (below the
        face, or a random band).
        """
        h, w = s.alpha.shape
        from_row = s.face[1] + s.face[3] * 1.15 if s.face else rng.uniform(0.35, 0.6) * h
        ramp = np.clip((np.arange(h) - from_row) / (0.04 * h) + 1, 0, 1).astype(np.float32)[:, None]
        if ramp[-1] == 0:
            return image
        cloth = scene(rng, self.pictures, h, w)
        if rng.random() < 0.3:  # plain colour
            cloth = np.empty_like(cloth)
            cloth[:] = rng.integers(0, 255, 3)
        shade = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), 1.5).astype(
            np.float32
        )
        shade = np.clip(
            shade / (shade[s.alpha > 128].mean() + 1 if (s.alpha > 128).any() else 128), 0.4, 1.7
        )
        shaded = np.clip(cloth * shade[..., None], 0, 255).astype(np.uint8)
        mask = (s.alpha * ramp * rng.uniform(0.6, 1.0)).astype(np.uint8)
        return blend(shaded, image, mask)

    def occlude(
        self, rng: Rng, image: np.ndarray, alpha: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Something in front of everything, cut out of a scene: not person."""
        h, w = alpha.shape
        mask = shape_mask(rng, h, w)
        return blend(scene(rng, self.pictures, h, w), image, mask), (
            alpha.astype(np.uint16) * (255 - mask) // 255
        ).astype(np.uint8)

    def composite(self, rng: Rng, h: int, w: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One to three people on a scene, standing where their photo lets them stand."""
        image = scene(rng, self.pictures, h, w)
        for _ in range(int(rng.choice([0, 1, 2, 3], p=[0.55, 0.2, 0.15, 0.1]))):  # clutter behind
            image = blend(scene(rng, self.pictures, h, w), image, shape_mask(rng, h, w))
        alpha, weight = np.zeros((h, w), np.uint8), np.full((h, w), 255, np.uint8)
        small = rng.random() < 0.55
        for _ in range(int(rng.choice([1, 2, 3], p=[0.82, 0.13, 0.05]))):
            placed = self.place(rng, h, w, small)
            if placed is None:
                continue
            front_, a, sure = placed
            image = blend(front_, image, a)
            alpha = np.maximum((alpha.astype(np.uint16) * (255 - a) // 255).astype(np.uint8) + a, a)
            weight = np.minimum(weight, sure)
        if rng.random() < 0.2:
            image, alpha = self.occlude(rng, image, alpha)
        return image, alpha, weight

    def place(
        self, rng: Rng, h: int, w: int, small: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """(front, alpha, sure) over the frame, or None where this cut-out cannot honestly stand."""
        s = self.pick(rng)
        rows, columns = np.flatnonzero((s.alpha > 64).any(1)), np.flatnonzero((s.alpha > 64).any(0))
        if rows.size == 0:
            return None
        top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
        cut_left, cut_top, cut_right, cut_bottom = s.touches
        if cut_top and rng.random() < 0.85:
            small = False
        height = rng.uniform(0.35, 0.95) if small else rng.uniform(0.75, 1.5)
        zoom = height * h / (bottom - top)
        if cut_left and cut_right:
            zoom = max(zoom, w / (right - left))
        bw, bh = (right - left) * zoom, (bottom - top) * zoom
        # Where the box's left-top corner goes.
        y = (
            h - bh
            if cut_bottom
            else rng.uniform(min(0, h - bh), max(h - bh, 0)) * (0.6 if bh > h else 1)
        )
        if not cut_bottom and bh < h and rng.random() < 0.7:
            y = h - bh - rng.uniform(0, 0.12) * h
        if cut_top:
            y = min(y, 0.0)
        elif bh < h:
            y = max(y, 0.0)
        elif cut_bottom:
            y = rng.uniform(0.0, 0.15) * h
        if cut_left and not cut_right:
            x = 0.0
        elif cut_right and not cut_left:
            x = w - bw
        elif cut_left and cut_right:
            x = rng.uniform(w - bw, 0) if bw > w else 0.0
        else:
            x = rng.uniform(*sorted((-0.25 * bw, w - 0.75 * bw)))
        m = similarity((left, top), zoom, (x, y), 0.0)
        if not any(s.touches) and rng.random() < 0.3:
            m = similarity(
                ((left + right) / 2, (top + bottom) / 2),
                zoom,
                (x + bw / 2, y + bh / 2),
                rng.normal(0, 0.25),
            )
        pixels = s.front
        if rng.random() < 0.2:
            pixels = self.texture(rng, s, pixels)
        if s.face and rng.random() < 0.12:
            pixels = self.smear(rng, s, pixels)
        a = warp(s.alpha, m, (h, w))
        return (
            recolour(warp(pixels, m, (h, w), border=cv2.BORDER_REPLICATE), rng, 0.8),
            a,
            np.maximum(warp(s.sure, m, (h, w), 255), 255 - a if s.weight == 1 else 0),
        )

    def smear(self, rng: Rng, s: Source, pixels: np.ndarray) -> np.ndarray:
        """Hide the face under hair-like colour: a person seen from behind is a person too."""
        x, y, fw, fh = s.face
        h, w = s.alpha.shape
        mask = np.zeros((h, w), np.uint8)
        cv2.ellipse(
            mask,
            (int(x + fw / 2), int(y + fh / 2)),
            (int(fw * 0.62), int(fh * 0.68)),
            0,
            0,
            360,
            255,
            -1,
        )
        mask = cv2.GaussianBlur(mask, (0, 0), max(1.0, fw * 0.06))
        ty, tx = int(np.clip(y - 0.12 * fh, 0, h - 1)), int(np.clip(x + fw / 2, 0, w - 1))
        strip = pixels[ty : ty + 3, max(0, tx - int(fw * 0.4)) : tx + int(fw * 0.4) + 1]
        fill = cv2.resize(strip.mean(0, keepdims=True).astype(np.uint8), (w, h))
        grain = np.empty((h, w, 3), np.int16)
        cv2.randn(grain, 0, 10)
        fill = cv2.add(fill, cv2.GaussianBlur(grain, (3, 9), 0), dtype=cv2.CV_8U)
        return blend(fill, pixels, mask)
