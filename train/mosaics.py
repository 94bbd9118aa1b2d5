"""Training pictures for the face detector: whole photos, and faces pasted on scenes without people.

What teaches it to be silent: pasted things that are no faces, parts of faces, bodies, bars of a
letterbox, and faces too large to be meant. Everything is uint8 and OpenCV: a picture costs a few
milliseconds.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from canvas import Canvas, contrast, curve, loguniform
from people import Photo, moved, similar, view

from portrayer.image.geometry import PAD

SQUARE = 320
CELL = 8
DIM = 5.0  # a face of less contrast is not asked for
SMALLEST, LARGEST, ENORMOUS = 8.0, 320.0, 400.0  # below: not to be learnt; between: either way


class Maker:
    """Makes pictures from its sources."""

    def __init__(self, people: list[Photo], real: list[Photo], empty: list) -> None:
        self.people, self.real, self.empty = people, real, empty
        self.cut = [p for p in people if p.alphas]
        noise = np.random.default_rng(0).normal(0, 1, (512, 512, 3))
        self.noise = np.clip(noise * 32, -127, 127).astype(np.int8)

    def sample(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A picture (320, 320, 3), its faces (K, 7, 2) and what is doubtful in it (M, 2, 2)."""
        kind = rng.random()
        if kind < 0.2:
            canvas = self.whole(rng, self.people[rng.integers(len(self.people))])
        elif kind < 0.43:
            canvas = self.whole(rng, self.real[rng.integers(len(self.real))])
        else:
            canvas = self.mosaic(rng)
        faces = np.array(canvas.faces, np.float32).reshape(-1, 7, 2)
        doubtful = np.array(canvas.doubtful, np.float32).reshape(-1, 2, 2)
        size, low, high = faces[:, 1], -0.5, SQUARE - 0.5
        far = np.minimum(faces[:, 0] + size / 2, high) - np.maximum(faces[:, 0] - size / 2, low)
        seen = np.prod(np.maximum(far, 0), 1) / np.prod(size, 1)
        centred = ((faces[:, 0] > low) & (faces[:, 0] < high)).all(1)
        large, image = size.max(1), self.worn(rng, canvas.image)
        sure = (large >= SMALLEST) & (large <= LARGEST) & (seen > 0.65) & centred
        sure &= np.array([contrast(image, face) > DIM for face in faces], bool)
        maybe = ~sure & (large <= ENORMOUS) & (seen > 0.15)
        doubtful = np.concatenate([doubtful, faces[maybe, :2]])
        return image, faces[sure], doubtful

    def whole(self, rng: np.random.Generator, photo: Photo) -> Canvas:
        """One photo with the bars of a letterbox, or a part of it."""
        height, width = photo.levels[0].shape[:2]
        fits = SQUARE / max(height, width)
        if len(photo.faces):
            target = photo.faces[rng.integers(len(photo.faces))]
            high = 280.0 if rng.random() < 0.93 else 650.0
            size = loguniform(rng, 16 if high < 300 else 330, high)
            scale = min(max(size / target[1].max(), fits * 0.45), 4.0)
            middle = target[0]
        else:
            scale = fits * loguniform(rng, 0.7, 2.5)
            middle = rng.uniform(0, 1, 2) * (width, height)
        if rng.random() < 0.3:
            scale = fits
        turn = rng.normal(0, 0.12) if rng.random() < 0.5 else 0.0
        matrix = similar(
            scale, turn, bool(rng.random() < 0.5), np.exp(rng.normal(0, 0.06)), middle, np.zeros(2)
        )
        corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float64)
        corners = corners @ matrix[:, :2].T + matrix[:, 2]
        low, high = corners.min(0), corners.max(0)
        for axis in (0, 1):
            extent = high[axis] - low[axis]
            if extent <= SQUARE:
                shift = (SQUARE - extent) / 2 - low[axis]
                if rng.random() < 0.3:
                    shift = rng.uniform(0, SQUARE - extent) - low[axis]
            else:  # the middle somewhere inside, no bar
                shift = np.clip(rng.uniform(0.1, 0.9) * SQUARE, SQUARE - high[axis], -low[axis])
            matrix[axis, 2] += shift
        grey = (PAD,) * 3
        image = view(photo.levels, matrix, (SQUARE, SQUARE), borderValue=grey)
        return Canvas(image, list(moved(matrix, photo.faces)), list(moved(matrix, photo.doubtful)))

    def ground(self, rng: np.random.Generator, width: int, height: int) -> np.ndarray:
        """A part of a scene."""
        levels = self.empty[rng.integers(len(self.empty))]
        h, w = levels[0].shape[:2]
        scale = max(width / w, height / h) * loguniform(rng, 1, 2.5)
        room = np.array([w, h]) - np.array([width, height]) / scale
        corner = rng.uniform(0, 1, 2) * np.maximum(room, 0)
        if rng.random() < 0.5:
            matrix = np.array([[scale, 0, -corner[0] * scale], [0, scale, -corner[1] * scale]])
        else:
            edge = width - 1 + corner[0] * scale
            matrix = np.array([[-scale, 0, edge], [0, scale, -corner[1] * scale]])
        return view(levels, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)

    def mosaic(self, rng: np.random.Generator) -> Canvas:
        """Faces, and what are none, on a scene: sorted downwards, as people stand in a group."""
        canvas = Canvas(cv2.LUT(self.ground(rng, SQUARE, SQUARE), curve(rng)))
        crowd = rng.random()
        count = int(
            rng.integers(*((0, 4) if crowd < 0.35 else (3, 10) if crowd < 0.72 else (8, 25)))
        )
        if crowd < 0.35:
            sizes = [loguniform(rng, 9, 270) for _ in range(count)]
        else:
            one = loguniform(rng, 9, min(130.0, 330 / math.sqrt(count)))
            sizes = [one * np.exp(rng.normal(0, 0.25)) for _ in range(count)]
        taken: list[tuple] = []
        for size in sizes:
            for _ in range(8):
                at = rng.uniform(-0.02, 1.02, 2) * SQUARE
                if all(max(abs(at - b) / (0.85 * (size + s) / 2)) > 1 for b, s in taken):
                    taken.append((at, size))
                    break
        plan = [(at, size, True) for at, size in taken]
        for _ in range(int(rng.integers(0, 6))):
            plan.append((rng.uniform(0, SQUARE, 2), loguniform(rng, 12, 170), False))
        for at, size, real in sorted(plan, key=lambda item: item[0][1] + 80 * rng.normal()):
            (self.someone if real else self.something)(rng, canvas, at, size)
        return canvas

    def someone(self, rng, canvas: Canvas, at: np.ndarray, size: float) -> None:
        """A person whose face has this size, as a cut-out, a cut-out head or a piece of a photo."""
        matte = rng.random() < 0.65
        photo = (self.cut if matte else self.people)[
            rng.integers(len(self.cut if matte else self.people))
        ]
        target = photo.faces[0]
        spread = 0.35 if rng.random() < 0.12 else 0.13
        matrix = similar(
            size / target[1].max(),
            rng.normal(0, spread),
            bool(rng.random() < 0.5),
            np.exp(rng.normal(0, 0.07)),
            target[0],
            at,
        )
        end = np.array(photo.levels[0].shape[1::-1]) - 1.0
        low, high = np.zeros(2), end
        if not matte or rng.random() < 0.2:  # a head, closely or widely
            room = target[1] * rng.uniform(0.62, 1.3 if matte else 1.1, 2)
            low, high = np.maximum(target[0] - room, 0), np.minimum(target[0] + room, end)
        shape = "matte" if matte else "ellipse" if rng.random() < 0.3 else "rectangle"
        canvas.paste(
            photo.levels, matrix, np.stack([low, high]), photo.alphas, shape, curve(rng, 0.5)
        )
        canvas.faces.append(moved(matrix, photo.faces)[0])
        canvas.doubtful += list(moved(matrix, photo.doubtful)) if not matte else []
        if size > 18 and rng.random() < 0.08:
            canvas.disguise(rng)

    def something(self, rng, canvas: Canvas, at: np.ndarray, size: float) -> None:
        """No face: a part of one, a body, a piece of a scene, or a head that shows no features."""
        kind = rng.integers(4)
        shape = "ellipse" if rng.random() < 0.5 else "rectangle"
        if kind == 2:
            side = int(size)
            piece = self.ground(rng, side, max(8, int(side * rng.uniform(0.6, 1.6))))
            end = np.array(piece.shape[1::-1]) - 1.0
            matrix = similar(1, rng.normal(0, 0.4), False, 1, end / 2, at)
            whole = np.stack([np.zeros(2), end])
            return canvas.paste([piece], matrix, whole, [], shape, curve(rng))
        photo = self.cut[rng.integers(len(self.cut))]
        target, end = photo.faces[0], np.array(photo.levels[0].shape[1::-1]) - 1.0
        flip = bool(rng.random() < 0.5)
        if kind == 0:  # an eye, a nose, a corner of the mouth, an ear's place, a chin
            places = [
                *target[2:],
                *(target[0] + target[1] * np.array([(0.5, 0), (-0.5, 0), (0, 0.5)])),
            ]
            middle = places[rng.integers(len(places))]
            room = target[1] * rng.uniform(0.1, 0.2)
            low, high = np.maximum(middle - room, 0), np.minimum(middle + room, end)
            matrix = similar(size / (2 * room.max()), rng.normal(0, 0.5), flip, 1, middle, at)
        elif kind == 1:  # clothes
            low = np.array([rng.uniform(0, 0.4) * end[0], target[0, 1] + 0.62 * target[1, 1]])
            high = np.array([rng.uniform(0.6, 1) * end[0], end[1]])
            if high[1] - low[1] < 12:
                return None
            matrix = similar(
                2 * size / (high - low).max(), rng.normal(0, 0.5), flip, 1, (low + high) / 2, at
            )
            shape = "matte" if rng.random() < 0.7 else shape
        else:
            matrix = similar(size / target[1].max(), rng.normal(0, 0.2), flip, 1, target[0], at)
            low, high, shape = np.zeros(2), end, "matte"
        region = np.stack([low, high])
        canvas.paste(photo.levels, matrix, region, photo.alphas, shape, curve(rng, 0.5))
        if kind == 3:
            centre, extent = moved(matrix, photo.faces)[0, :2]
            x, y = (int(np.clip(v, 0, SQUARE - 1)) for v in at)
            colour = canvas.image[y, x].tolist()
            axes = tuple(max(1, int(v)) for v in extent * rng.uniform(0.42, 0.55))
            cv2.ellipse(canvas.image, tuple(map(int, centre)), axes, 0, 0, 360, colour, -1)
        return None

    def worn(self, rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
        """Light, colour, blur, noise and compression of a whole picture."""
        image = cv2.LUT(image, curve(rng, 0.7))
        dice = rng.random(6)
        if dice[0] < 0.14:
            image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        if dice[1] < 0.12:
            less = int(SQUARE / rng.uniform(1.3, 3))
            image = cv2.resize(
                cv2.resize(image, (less, less), interpolation=cv2.INTER_AREA), (SQUARE, SQUARE)
            )
        elif dice[1] < 0.24:
            image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 2.0))
        if dice[2] < 0.25:
            y, x = rng.integers(0, 512 - SQUARE, 2)
            grain = self.noise[y : y + SQUARE, x : x + SQUARE]
            amount = loguniform(rng, 2, 22) / 32
            image = cv2.addWeighted(image, 1, grain, amount, 0, dtype=cv2.CV_8U)
        if dice[3] < 0.25:
            quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))]
            image = cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_COLOR)
        return image


def targets(faces: np.ndarray, doubtful: np.ndarray, side: int = SQUARE) -> tuple:
    """What the network should say: heat (S/8, S/8) and its weight, the 14 regressed numbers
    (S/8, S/8, 14) and how much each cell is asked for them.
    """
    n = side // CELL
    grid = np.arange(n, dtype=np.float32)
    heat, weight = np.zeros((n, n), np.float32), np.ones((n, n), np.float32)
    asked, numbers = np.zeros((n, n), np.float32), np.zeros((n, n, 14), np.float32)
    for (cx, cy), (w, h) in doubtful:
        ys = np.abs(grid * CELL + 3.5 - cy) <= max(h / 2, CELL)
        xs = np.abs(grid * CELL + 3.5 - cx) <= max(w / 2, CELL)
        weight[np.ix_(ys, xs)] = 0
    for face in faces[np.argsort(-faces[:, 1].prod(1))]:
        middle, size, points = face[0], face[1], face[2:]
        cell = (middle - 3.5) / CELL
        sigma = np.maximum(0.11 * size / CELL, 0.6)
        column, row = np.clip(np.round(cell), 0, n - 1).astype(int)
        gx = np.exp(-(((grid - column) / sigma[0]) ** 2) / 2)
        gy = np.exp(-(((grid - row) / sigma[1]) ** 2) / 2)
        bump = gy[:, None] * gx
        bump[row, column] = 1
        near = (bump > 0.45) & (bump >= asked)
        np.maximum(heat, bump, out=heat)
        weight[near] = 1
        asked[near] = bump[near]
        ys, xs = np.nonzero(near)
        block = numbers[ys, xs]
        block[:, 0], block[:, 1] = cell[0] - xs, cell[1] - ys
        block[:, 2:4] = np.log(size / (4 * CELL))
        block[:, 4:] = ((points - middle) / size).reshape(-1)
        numbers[ys, xs] = block
    return heat, weight, numbers, asked
