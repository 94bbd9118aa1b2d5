"""Good faces made bad: what years, lenses, sensors and uploads do to them."""

from __future__ import annotations

import cv2
import numpy as np

LEVELS = {  # blur sigma, times smaller, noise sigma, JPEG quality
    "mild": (1.0, 2.0, 4.0, 75),
    "medium": (2.0, 3.0, 8.0, 50),
    "severe": (2.0, 6.0, 10.0, 35),
}
SHRINK = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    blob = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(quality)])[1]
    return cv2.imdecode(blob, cv2.IMREAD_COLOR)[..., ::-1]


def noisy(image: np.ndarray, sigma: float, rng: np.random.Generator, grey: bool) -> np.ndarray:
    shape = (*image.shape[:2], 1) if grey else image.shape
    grain = rng.standard_normal(shape, np.float32) * np.float32(sigma)
    return np.clip(image + grain + 0.5, 0, 255).astype(np.uint8)


def level(image: np.ndarray, name: str, seed: int) -> np.ndarray:
    """A picture (H, W, 3) uint8 at one of the named levels, back at its size by bicubic
    interpolation; the same for the same seed.
    """
    blur, times, noise, quality = LEVELS[name]
    h, w = image.shape[:2]
    small = cv2.GaussianBlur(image, (0, 0), blur)
    small = cv2.resize(small, (round(w / times), round(h / times)), interpolation=cv2.INTER_AREA)
    small = jpeg(noisy(small, noise, np.random.default_rng(seed), False), quality)
    return cv2.resize(small, (w, h), interpolation=cv2.INTER_CUBIC)


def blurred(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    kind = rng.random()
    sigma = float(rng.uniform(0.2, 3.0))
    if kind < 0.65:
        return cv2.GaussianBlur(image, (0, 0), sigma)
    if kind < 0.85:  # wider one way than the other
        n, angle, thin = 17, rng.uniform(0, np.pi), sigma * rng.uniform(0.25, 1.0)
        y, x = np.mgrid[:n, :n] - n // 2
        u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        kernel = np.exp(-0.5 * ((u / sigma) ** 2 + (v / max(thin, 0.2)) ** 2))
    else:  # moved while the shutter was open
        n, angle, reach = 15, rng.uniform(0, np.pi), rng.uniform(1.0, 6.0)
        kernel = np.zeros((n, n), np.float32)
        d = np.array([np.cos(angle), np.sin(angle)]) * reach
        a, b = (n // 2 - d) * 16, (n // 2 + d) * 16
        cv2.line(kernel, a.astype(int).tolist(), b.astype(int).tolist(), 1.0, 1, cv2.LINE_AA, 4)
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT)


def blind(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A face (S, S, 3) uint8 with a random history; one in seven is hardly touched."""
    side = image.shape[0]
    if rng.random() < 0.14:
        return jpeg(image, int(rng.integers(88, 100))) if rng.random() < 0.6 else image.copy()
    out = image
    rounds = 2 if rng.random() < 0.15 else 1
    for _ in range(rounds):
        if rng.random() < 0.85:
            out = blurred(out, rng)
        times = float(np.exp(rng.uniform(0, np.log(5.0)))) / (1.5 if rounds == 2 else 1)
        small = max(16, round(side / max(times, 1.0)))
        out = cv2.resize(out, (small, small), interpolation=SHRINK[rng.integers(3)])
        if rng.random() < 0.85:
            sigma = abs(float(rng.normal(0, 9)))
            out = noisy(out, sigma, rng, rng.random() < 0.25)
        if rng.random() < 0.85:
            out = jpeg(out, int(rng.integers(25, 96)))
        grow = cv2.INTER_CUBIC if rng.random() < 0.75 else cv2.INTER_LINEAR
        out = cv2.resize(out, (side, side), interpolation=grow)
    if rng.random() < 0.1:
        out = jpeg(out, int(rng.integers(50, 95)))
    return out
