"""The whole frame: noise, sharpness, brightness, skin. Tile by tile, in the memory of one tile."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from portrayer.image.tiles import SIDE, tiled, tiles
from portrayer.types import Image, Matte

OVERLAP = 32  # pixels around a tile: more than any of these looks away, and a multiple of eight

# Noise is looked for in this many windows a side, of so many pixels, in blocks of so many.
WINDOWS, WINDOW, BLOCK = 6, 256, 16
LAPLACIAN = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
GRID = 8  # JPEG's blocks
BLOCKY = 3.0  # levels of what compression left, for one level of step at its blocks' edges

DENOISE = 0.03  # of the noise, for one of the amount: half of it is best by PSNR
TEMPLATE, SEARCH = 3, 5  # non-local means
COLOUR_DENOISE, CORING = 0.6, 1.6  # of that: colour at half size, and what is finer
# dRGB of (dY, dCr, dCb)
FROM_YCRCB = np.array([[1, 1.403, 0], [1, -0.714, -0.344], [1, 0, 1.773]], np.float32)

RADIUS = 1.2  # sigma in pixels of what is sharpened
HALO = 6.0  # levels that sharpening may go beyond what is near
FAINT = 2.5  # levels: contrast below this is left as it is, also where nothing is noisy

TONE = 15  # pixels: what is coarser is tone, what is finer is texture
TEXTURE = 0.4  # of the original's texture comes back with its tone
LOGS = np.log(np.arange(256) + 16.0).astype(np.float32)  # 16: nearly black has no hue to trust
SKIN_HUE, SKIN_SPREAD = 30.0, (28.0, 44.0)  # degrees: all of it up to the first, none after
SKIN_CHROMA = 0.06, 0.12, 0.75, 1.05  # none up to the first, all of it between the middle two


def noise(image: Image) -> float:
    """The noise of a photo (H, W, 3): sigma of its luma in levels 0..255.

    Grain: the mean of a noise-sensitive Laplacian (Immerkaer, 1996) over each block, of which the
    flattest quarter speaks, burnt out and black ones aside. What JPEG left: by how much steps on
    an eight-pixel grid stand out. Looked for in a few windows of a large photo.
    """
    sigmas, steps = [], []
    for luma in _windows(image):
        sigmas.append(_grain(luma))
        steps.append([_steps(luma), _steps(luma.T)])
    blocks = np.concatenate(sigmas) if sigmas else np.empty(0)
    if not blocks.size:
        return 0.0
    excess = np.mean(steps, 0)
    blocky = (excess.max(1) - np.median(excess, 1)).min()
    return float(np.hypot(np.percentile(blocks, 25), BLOCKY * blocky))


def denoise(image: Image, amount: float, *, sigma: float | None = None) -> Image:
    """``image`` (H, W, 3) without its noise: 0 leaves it as it is, 50 suits it, 100 is strong.

    ``sigma``: what :func:`noise` says of the whole photo; measured where it is not given. A clean
    photo is hardly touched. Non-local means (Buades et al., 2005) with small windows; colour more
    than lightness, at half size, where its noise is coarse.
    """
    strength = DENOISE * amount * (noise(image) if sigma is None else sigma)
    if strength <= 0:
        return image
    return tiled(image, partial(_denoised, strength=strength), overlap=OVERLAP)


def sharpen(image: Image, amount: float, *, sigma: float | None = None) -> Image:
    """``image`` (H, W, 3) with stronger fine contrast: 0 leaves it as it is, 100 is strong.

    Unsharp mask on lightness alone, where there is more than noise (``sigma``, as in
    :func:`denoise`); no pixel goes far beyond the darkest and the lightest next to it, so that
    edges get no halo.
    """
    if amount <= 0:
        return image
    level = noise(image) if sigma is None else sigma
    return tiled(image, partial(_sharpened, gain=amount / 50, sigma=level), overlap=OVERLAP)


def adjust(image: Image, brightness: float, contrast: float) -> Image:
    """``image`` (H, W, 3) brighter and with more contrast, each -0.5..0.5; 0, 0 leaves it.

    Brightness bends the middle, black and white stay. More contrast is an S through them; less
    draws all to the middle grey.
    """
    if brightness == 0 and contrast == 0:
        return image
    x = np.linspace(0, 1, 256) ** (4.0**-brightness)
    steep = 4.0 ** max(contrast, 0)
    x = x**steep / (x**steep + (1 - x) ** steep)
    x = 0.5 + (x - 0.5) * (1 + min(contrast, 0))
    return cv2.LUT(image, np.rint(255 * x).astype(np.uint8))


def skin(image: Image) -> Matte:
    """How much each pixel of ``image`` (H, W, 3) has a colour of skin: (H, W) float32, 0..1.

    By ratios of red, green and blue alone (hue and chroma of their logarithms), which light and
    dark skin share; limits measured on cheeks and foreheads of 900 portraits of all tones.
    """
    return tiled(image, _skin, overlap=0)


def keep_skin(before: Image, after: Image, amount: float) -> Image:
    """``after`` with the skin of ``before`` (both (H, W, 3)): at 100 its tone and part of its
    texture, at 0 nothing of it.
    """
    if amount <= 0:
        return after
    result = np.empty_like(after)
    height, width = after.shape[:2]
    for tile in tiles(height, width, SIDE, OVERLAP):
        part = _with_skin(before[tile.padded], after[tile.padded], amount / 100)
        result[tile.inner] = part[tile.kept]
    return result


def _windows(image: Image) -> Iterator[NDArray[np.uint8]]:
    """Luma of windows spread over a photo; all of a small one. They start on JPEG's grid."""
    spans = []
    for length in image.shape[:2]:
        last = max(0, length - WINDOW)
        count = min(WINDOWS, -(-length // WINDOW))
        starts = np.unique(np.linspace(0, last, count).astype(int) // GRID * GRID)
        spans.append([slice(start, start + WINDOW) for start in starts])
    for rows in spans[0]:
        for columns in spans[1]:
            yield cv2.cvtColor(image[rows, columns], cv2.COLOR_RGB2GRAY)


def _grain(luma: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Sigma in each block of a window that is neither burnt out nor black."""
    h, w = (length // BLOCK for length in luma.shape)
    rough = np.abs(cv2.filter2D(luma, cv2.CV_32F, LAPLACIAN))
    means = [
        part[: h * BLOCK, : w * BLOCK].reshape(h, BLOCK, w, BLOCK).mean((1, 3)).ravel()
        for part in (rough, luma)
    ]
    return means[0][(means[1] > 12) & (means[1] < 243)] * np.float32(np.sqrt(np.pi / 2) / 6)


def _steps(luma: NDArray[np.uint8]) -> NDArray[np.float64]:
    """By how much steps between columns exceed their neighbours', for each place on the grid."""
    step = np.minimum(np.abs(np.diff(luma.astype(np.int16))), 12).astype(np.float32)
    excess = step[:, 1:-1] - (step[:, :-2] + step[:, 2:]) / 2
    return np.array([excess[:, k::GRID].mean() if excess.shape[1] > k else 0 for k in range(GRID)])


def _denoised(image: Image, strength: float) -> Image:
    y, cr, cb = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb))
    colour = cv2.merge([cr, cb])
    light = cv2.fastNlMeansDenoising(y, None, strength, TEMPLATE, SEARCH)
    small = cv2.pyrDown(colour)
    calm = cv2.fastNlMeansDenoising(small, None, COLOUR_DENOISE * strength, TEMPLATE, SEARCH)
    up = partial(cv2.pyrUp, dstsize=y.shape[::-1])
    limit = round(CORING * strength)
    fine = cv2.subtract(colour, up(small), dtype=cv2.CV_16S)
    fine -= np.clip(fine, -limit, limit)
    colour_change = cv2.subtract(up(calm), colour, dtype=cv2.CV_16S) + fine
    change = cv2.merge([cv2.subtract(light, y, dtype=cv2.CV_16S), *cv2.split(colour_change)])
    return cv2.add(image, cv2.transform(change, FROM_YCRCB), dtype=cv2.CV_8U)


def _sharpened(image: Image, gain: float, sigma: float) -> Image:
    y = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    light = y.astype(np.float32)
    fine = light - cv2.GaussianBlur(light, (0, 0), RADIUS)
    energy = cv2.blur(fine * fine, (5, 5))
    floor = np.float32((3 * sigma) ** 2 + FAINT**2)
    sharp = light + np.float32(gain) * fine * (energy / (energy + floor))
    near = np.ones((3, 3), np.uint8)
    low, high = cv2.erode(y, near) - np.float32(HALO), cv2.dilate(y, near) + np.float32(HALO)
    change = np.clip(sharp, low, high) - light
    return cv2.add(image, cv2.merge([change] * 3), dtype=cv2.CV_8U)


def _skin(image: Image) -> Matte:
    logs = cv2.LUT(image, LOGS)
    # (log R - log G, log G - log B), turned so that skin's hue is the x axis.
    c, s = np.cos(np.radians(SKIN_HUE)), np.sin(np.radians(SKIN_HUE))
    turned = cv2.transform(logs, np.array([[c, s - c, -s], [-s, s + c, -c]], np.float32))
    along, across = cv2.split(turned)
    chroma, angle = cv2.cartToPolar(along, np.abs(across), angleInDegrees=True)
    faint, clear, rich, garish = SKIN_CHROMA
    near, far = SKIN_SPREAD
    likely = _ramp(chroma, faint, clear)
    likely *= _ramp(chroma, garish, rich)
    likely *= _ramp(angle, far, near)
    return likely


def _with_skin(before: Image, after: Image, share: float) -> Image:
    lost = cv2.subtract(before, after, dtype=cv2.CV_16S)
    tone = lost * np.int16(16)  # means of whole numbers, to a sixteenth
    for _ in range(2):
        tone = cv2.blur(tone, (TONE, TONE))
    back = lost * np.float32(TEXTURE) + tone * np.float32((1 - TEXTURE) / 16)
    back *= (share * _skin(cv2.blur(before, (5, 5))))[..., None]
    return cv2.add(after, back, dtype=cv2.CV_8U)


def _ramp(x: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    """0 at ``low``, 1 at ``high``, straight between them; ``low`` may be the larger."""
    return np.clip((x - np.float32(low)) * np.float32(1 / (high - low)), 0, 1)
