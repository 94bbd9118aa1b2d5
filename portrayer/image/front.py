"""What lies in front of a face and is not of it: hair, hats, glasses, told by their colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

import cv2
import numpy as np
from numpy.typing import NDArray

from portrayer.image.geometry import resize
from portrayer.image.glasses import glasses
from portrayer.image.matte import Box, guide, refine
from portrayer.image.mesh import parts
from portrayer.image.oklab import oklab
from portrayer.image.tone import noise
from portrayer.types import Image, Matte

Floats = NDArray[np.float32]

SIDE = 256  # pixels a side at which a face is looked at
MARGIN = 3  # of these, beyond the oval, that may be covered as well
RING = SIDE // 12  # of these around the oval: what is seen there may cover it
REACH = RING + 3  # of these around the oval: nothing further away has a say

BETWEEN_EYES, CHIN = 168, 152  # vertices of the mesh
FEATURES = ("right-brow", "left-brow", "right-eye", "left-eye", "lips")

# Colours are counted in so many bins an axis; OKLab's two colour axes from -SPAN to +SPAN.
BINS, SPAN = 16, 0.16
# How far apart colours of one skin are at least: as they are, and in proportion to lightness.
LEAST, LEAST_SHADED = (0.04, 0.012, 0.012), (0.15, 0.012, 0.012)
LEAST_CHROMA, ALIEN = 0.015, (0.02, 0.05)  # OKLab: of a face; beyond its hues, that of no beard
SHINE = 1.0  # of those spreads counts at most: skin may be as bright as light makes it
SURE = 5.0  # the most that one pixel's colour says, as a logarithm of odds

# A forehead may be covered; a cheek seldom is, a mouth hardly ever, and a beard belongs to a face.
DOUBT, FEATURE_DOUBT, CHEEK_DOUBT = 0.5, 1.0, 3.5
MOUTH_DOUBT = 3.0, 6.0  # without a beard, with one
WEAK, STRONG = 0.4, 0.7  # hysteresis
SEEN = 1e-3  # less than that is nothing
RADIUS, EPS, FINE_EPS = 4, 1e-4, 2e-4  # of the guided filters


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Where on the face each pixel of the small crop lies. ``near``: (h, w), 1 on the oval and a
    little beyond. ``down``: (h, w), 0 between the eyes,
    1 at the chin; ``depth``: (h, w), how far from the oval's rim, in the same unit; ``features``:
    (h, w) 0..1, brows, eyes and lips.
    """

    oval: Floats
    near: Floats
    down: Floats
    depth: Floats
    features: Floats

    def within(self, box: Box) -> Frame:
        """A part of it."""
        whole = (self.oval, self.near, self.down, self.depth, self.features)
        return Frame(*(field[box] for field in whole))


def in_front(image: Image, oval: Matte, mesh: NDArray[np.floating]) -> Matte:
    """How much of each pixel of a crop ``image`` (S, S, 3) is in front of the face: (S, S) float32,
    0..1, zero away from the ``oval`` (S, S), 0..1, of the face.

    ``mesh``: (468, 2) or (468, 3), the face's vertices in pixels of the crop.

    Skin is what the middle of the face shows; what covers it, what is seen beyond the rim above
    the ears. A pixel that is more like the second, or like neither, counts if it is connected with
    the rim: hair over the forehead, hats, strands over the cheeks. Frames of glasses are thin dark
    lines below both eyes and across the nose. Brows, eyes, lips and beards are the face's own;
    what covers the mouth counts only where no hair has such a colour. Hands have the colour of a
    face: they are not told from it.
    """
    side = len(image)
    small = resize(image, SIDE, SIDE)
    vertices = (np.asarray(mesh, np.float32)[:, :2] + 0.5) * np.float32(SIDE / side) - 0.5
    frame = _frame(resize(oval, SIDE, SIDE), vertices)
    full: Matte = np.zeros((side, side), np.float32)
    boxes = _boxes(frame.oval, side)
    if boxes is None:
        return full
    box, full_box = boxes
    lab = oklab(small)
    lines = glasses(lab[..., 0], vertices)[box]
    grain = (2 * noise(small) / 255) ** 2  # no edges are drawn along it
    small, frame = small[box], frame.within(box)
    covered = np.maximum(_covered(small, lab[box], frame, EPS + grain), lines)
    part = refine(image[full_box], small, covered * frame.near, eps=FINE_EPS + grain)
    part[part < SEEN] = 0
    full[full_box] = part
    return full


def _boxes(oval: Floats, side: int) -> tuple[Box, Box] | None:
    """What is looked at of the small crop, and the same of one of (side, side): the oval and the
    ring around it, from where pixels of both begin to where they end. None without an oval.
    """
    step = SIDE // gcd(SIDE, side)
    x, y, w, h = cv2.boundingRect((oval > 0).astype(np.uint8))
    if not w:
        return None
    spans = []
    for start, length in ((y, h), (x, w)):
        low, high = max(0, start - REACH) // step, -(-min(SIDE, start + length + REACH) // step)
        spans.append([slice(low * k, high * k) for k in (step, step * side // SIDE)])
    (rows, full_rows), (columns, full_columns) = spans
    return (rows, columns), (full_rows, full_columns)


def _frame(oval: Floats, vertices: Floats) -> Frame:
    origin, axis = vertices[BETWEEN_EYES], vertices[CHIN] - vertices[BETWEEN_EYES]
    unit = max(1.0, float(np.hypot(*axis)))
    x, y = (np.arange(SIDE, dtype=np.float32) - origin[:, None]) * (axis / unit**2)[:, None]
    down = x + y[:, None]
    depth = cv2.distanceTransform((oval > 0.5).astype(np.uint8), cv2.DIST_L2, 3)
    features = cv2.dilate(parts(vertices, SIDE, *FEATURES), np.ones((7, 7), np.uint8))
    features = cv2.GaussianBlur(features, (0, 0), 1.5)
    near = cv2.dilate(oval, np.ones((2 * MARGIN + 1,) * 2, np.uint8))
    return Frame(oval, near, down, depth / np.float32(unit), features)


def _covered(small: Image, lab: Floats, frame: Frame, eps: float) -> Floats:
    """What does not look like the skin and is connected with the oval's rim."""
    own = _ramp(frame.depth, 0.1, 0.2) * _ramp(frame.down, 0.0, 0.1) * _ramp(frame.down, 0.62, 0.5)
    own *= 1 - frame.features
    if not (own > 0.5).any():
        return np.zeros(own.shape, np.float32)
    unlike = _unlike(lab, own, frame)
    alien = _alien(lab, own > 0.5) * _ramp(unlike, 0.5, 2)  # a coloured light has shown on skin too
    features = frame.features * (1 - alien)
    doubt = CHEEK_DOUBT * _ramp(frame.down, -0.15, 0.1) * _ramp(frame.depth, 0.02, 0.2)
    chin = (frame.depth > 0.1) & (frame.down > 0.75)
    bearded = float(unlike[chin].mean()) > 0 if chin.any() else False
    doubt += MOUTH_DOUBT[bearded] * _ramp(frame.down, 0.3, 0.5)
    doubt = DOUBT + FEATURE_DOUBT * features + doubt * (1 - alien)
    odds = unlike * (1 - 0.8 * features) - doubt
    likely = 1 / (1 + cv2.exp(-odds))
    slopes, offset = guide(small, likely, RADIUS, eps)
    smooth = cv2.transform(small * slopes, np.ones((1, 3))) + offset
    return _ramp(smooth, 0.25, 0.75) * _connected(smooth, alien, frame)


def _alien(lab: Floats, own: NDArray[np.bool_]) -> Floats:
    """How far a pixel's hue is from that of the face, as neither that of skin nor of beards is."""
    hue = np.median(lab[own], 0)[1:]
    chroma = float(np.hypot(*hue))
    if chroma < LEAST_CHROMA:  # a photo in grey
        return np.zeros(own.shape, np.float32)
    a, b = hue / chroma
    along, across = cv2.split(cv2.transform(lab[..., 1:], np.array([[a, b], [-b, a]])))
    return _ramp(np.abs(across) - 1.5 * along, *ALIEN)


def _unlike(lab: Floats, own: Floats, frame: Frame) -> Floats:
    """The logarithm of the odds that a pixel is no skin, by its colour alone."""
    planes = light, *colour = cv2.split(lab)
    # In more or less light, a colour keeps its proportions.
    shaded = [np.log(np.maximum(light, 0.02)), *(one / (light + 0.06) for one in colour)]
    seen = own > 0.5
    far = np.minimum(_far(planes, seen, LEAST), _far(shaded, seen, LEAST_SHADED))

    around = cv2.dilate(frame.oval, np.ones((2 * RING + 1,) * 2, np.uint8))
    ring = (around > 0.5) & (frame.oval < 0.5) & (frame.down < 0.25)
    cells = _cells(planes)
    skin = _counted(cells[seen], own[seen] * np.exp(-far[seen] / 24))
    other = _counted(cells[ring], 1 - np.exp(-far[ring] / 16))
    # What is lighter and of the same hue is skin that shines, whatever is around the face.
    middle, upper = np.percentile(light[seen], (50, 75))
    shine = _ramp(light, middle, upper + 1e-3)
    for_skin = 0.8 * skin[cells] + 1.6 * np.exp(-far / 2) + 0.02
    against = 0.7 * other[cells] * (1 - shine * np.exp(-far / 4)) + 0.3
    return np.clip(np.log(against / for_skin), -SURE, SURE).astype(np.float32)


def _far(planes: Sequence[Floats], own: NDArray[np.bool_], least: Sequence[float]) -> Floats:
    """How far each colour, three (h, w), is from the middle of those in ``own``, squared and in
    their spread, a robust one; as light as can be is not far.
    """
    total = np.zeros(own.shape, np.float32)
    for plane, floor, most in zip(planes, least, (SHINE, np.inf, np.inf), strict=True):
        seen = plane[own]
        middle = np.median(seen)
        spread = 1.48 * np.median(np.abs(seen - middle)) + np.float32(floor)
        away = np.minimum((plane - middle) / spread, np.float32(most))
        total += away * away
    return total


def _cells(planes: Sequence[Floats]) -> NDArray[np.int32]:
    """(h, w) which of the BINS**3 cells of OKLab each colour is in."""
    light, *colour = planes
    numbers = [light * BINS, *((one + np.float32(SPAN)) * (BINS / SPAN / 2) for one in colour)]
    first, second, third = (np.clip(one, 0, BINS - 1).astype(np.int32) for one in numbers)
    return (first * BINS + second) * BINS + third


def _counted(cells: NDArray[np.int32], weights: Floats) -> Floats:
    """Density (BINS**3,) of weighted colours, 1 where they are spread evenly."""
    counts: Floats = np.bincount(cells, weights, BINS**3).astype(np.float32)
    counts = counts.reshape((BINS,) * 3)
    for axis in range(3):
        beside = np.pad(counts, [(int(k == axis),) * 2 for k in range(3)], mode="edge")
        before, after = (beside.take(range(k, k + BINS), axis) for k in (0, 2))
        counts = 0.5 * counts + 0.25 * (before + after)
    return counts.ravel() * (BINS**3 / max(1e-6, float(counts.sum())))


def _connected(likely: Floats, alien: Floats, frame: Frame) -> Floats:
    """1 on the parts that are likely, somewhere very, and reach the oval's rim, below the mouth
    only with a colour that no beard has.
    """
    inside = frame.near > 0.5
    rim = inside & (frame.depth < 0.03) & ((frame.down < 0.6) | (alien > 0.5))
    count, labels = cv2.connectedComponents(((likely > WEAK) & inside).astype(np.uint8), None, 4)
    reached, sure = (
        np.bincount(labels[where], minlength=count) for where in (rim, inside & (likely > STRONG))
    )
    kept = (reached > 4) & (sure > 8)
    kept[0] = False
    return cv2.dilate(kept[labels].astype(np.float32), np.ones((3, 3), np.uint8))


def _ramp(x: Floats, low: float, high: float) -> Floats:
    """0 at ``low``, 1 at ``high``, straight between them; ``low`` may be the larger."""
    return np.clip((x - np.float32(low)) * np.float32(1 / (high - low)), 0, 1)
