"""A picture in the making: what is pasted on it, and which faces are still to be seen."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from people import view


def loguniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(max(low, high)))))


@dataclass(slots=True)
class Canvas:
    """A picture being made: (H, W, 3), its faces (K, 7, 2) and what is doubtful (M, 2, 2)."""

    image: np.ndarray
    faces: list[np.ndarray] = field(default_factory=list)
    doubtful: list[np.ndarray] = field(default_factory=list)

    def paste(
        self, levels: list, matrix: np.ndarray, region: np.ndarray, alphas: list, shape: str, lut
    ) -> None:
        """What lies in ``region`` (2, 2) of a source, by its matte, as a rectangle or an ellipse.
        Faces that it hides become doubtful, or nothing.
        """
        (x0, y0), (x1, y1) = region
        corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
        quad = corners @ matrix[:, :2].T + matrix[:, 2]
        end = np.array(self.image.shape[1::-1])
        left, top = np.clip(np.floor(quad.min(0)), 0, end).astype(int)
        right, bottom = np.clip(np.ceil(quad.max(0)) + 1, 0, end).astype(int)
        if right - left < 2 or bottom - top < 2:
            return
        size, here = (int(right - left), int(bottom - top)), matrix - [[0, 0, left], [0, 0, top]]
        patch = view(levels, here, size, borderMode=cv2.BORDER_REPLICATE)
        if shape == "matte":
            mask = view(alphas, here, size)
        else:
            mask, quad = np.zeros(size[::-1], np.uint8), quad - (left, top)
            if shape == "ellipse":
                u, v = (quad[1] - quad[0]) / 2, (quad[3] - quad[0]) / 2
                turns = np.linspace(0, 2 * np.pi, 24, endpoint=False)[:, None]
                quad = quad.mean(0) + u * np.cos(turns) + v * np.sin(turns)
            cv2.fillConvexPoly(mask, np.round(quad).astype(np.int32), 255)
        patch = cv2.LUT(patch, lut)
        share = mask.astype(np.float32) * np.float32(1 / 255)
        roi = self.image[top:bottom, left:right]
        roi[:] = cv2.blendLinear(patch, roi, share, 1 - share)
        kept = []
        for known in self.faces:
            (cx, cy), (w, h) = known[:2]
            part = mask[
                max(0, int(cy - h / 2) - top) : max(0, int(cy + h / 2) - top),
                max(0, int(cx - w / 2) - left) : max(0, int(cx + w / 2) - left),
            ]
            hidden = part.sum(dtype=np.float64) / (255 * max(1.0, float(w * h))) if part.size else 0
            if hidden <= 0.25:
                kept.append(known)
            elif hidden < 0.75:
                self.doubtful.append(known[:2])
        self.faces = kept

    def disguise(self, rng: np.random.Generator) -> None:
        """Dark glasses, or a cloth over mouth and nose, on the last face."""
        face = self.faces[-1]
        size, (right, left, nose, *mouth) = face[1], face[2:]
        colour = rng.integers(0, 256, 3).tolist()
        if rng.random() < 0.5:
            radius = 0.2 * size[0] * rng.uniform(0.8, 1.2)
            dark = (np.array(colour) * 0.3).astype(int).tolist()
            for eye in (right, left):
                cv2.circle(self.image, tuple(map(int, eye)), max(1, int(radius)), dark, -1)
            across = (tuple(map(int, right)), tuple(map(int, left)))
            cv2.line(self.image, *across, dark, max(1, int(radius / 3)))
        else:
            low = np.mean(mouth, 0) + 0.6 * (np.mean(mouth, 0) - nose)
            side = 0.42 * size[0] * (left - right) / max(1e-3, np.linalg.norm(left - right))
            corners = [nose - side, nose, nose + side, low + 0.7 * side, low - 0.7 * side]
            cv2.fillConvexPoly(self.image, np.round(corners).astype(np.int32), colour)


def curve(rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
    """A look-up table (1, 256, 3): contrast, brightness, gamma and a tint."""
    x = np.linspace(0, 1, 256, dtype=np.float32)[:, None] ** np.exp(strength * rng.normal(0, 0.22))
    tint = np.exp(strength * rng.normal(0, 0.06, 3))
    gain = np.exp(strength * rng.normal(0, 0.18))
    y = (x - 0.5) * gain * tint + 0.5 + strength * rng.normal(0, 0.07)
    return np.clip(y * 255, 0, 255).astype(np.uint8)[None]


def contrast(image: np.ndarray, face: np.ndarray) -> float:
    """The deviation of grey levels about the middle of a face."""
    x, y, half = *face[0], face[1].max() / 4 + 1
    rows, columns = (slice(max(0, int(v - half)), max(1, int(v + half))) for v in (y, x))
    part = image[rows, columns, 1]
    return float(cv2.meanStdDev(part)[1][0, 0]) if part.size else 0.0
