"""Restore portraits: the whole frame gently, every face by a network that knows faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from portrayer.image import tone
from portrayer.image.faces import paste
from portrayer.image.geometry import limit
from portrayer.image.sheet import side_by_side
from portrayer.models.catalog import spec
from portrayer.tasks import faces as finding
from portrayer.tasks.choosing import Names, Row, row
from portrayer.tasks.faces import FACES, aligned, portions
from portrayer.tasks.options import option
from portrayer.tasks.task import Encoding, Infer, Product
from portrayer.types import Face, Image


@dataclass(frozen=True, slots=True)
class Restorer(Row):
    """A network that restores aligned faces, and the template it wants them aligned to.

    ``adds``: it gives what is to be added to a face, in half its range, not a new one in 0..1.
    """

    template: str
    adds: bool = False


@dataclass(frozen=True, slots=True)
class Mode:
    """How far a restored face goes: ``push`` times what the network changed, then ``detail``
    (sharpening, 0..100) within the face.
    """

    push: float
    detail: int


RESTORERS: Mapping[str, Restorer] = {
    "lite": Restorer("portrait-restore", "ffhq", adds=True),
    "gpen-256": Restorer("gpen-256", "gpen"),
    "gpen-512": Restorer("gpen-512", "gpen"),
    "gpen-1024": Restorer("gpen-1024", "gpen"),
    "gfpgan-1.4": Restorer("gfpgan-1.4", "ffhq"),
    "restoreformer-plus-plus": Restorer("restoreformer-plus-plus", "ffhq"),
    "codeformer": Restorer("codeformer", "ffhq"),
}
MODES: Mapping[str, Mode] = {
    "natural": Mode(push=1.0, detail=0),
    "strong": Mode(push=1.25, detail=20),
    "detail": Mode(push=1.0, detail=50),
}
MODELS = (*finding.MODELS, *(r.model for r in RESTORERS.values()))
QUIET, NOISY = 1.6, 2.8  # levels of noise: left alone below, taken as it is from there on
FIXED = 80 * 2**20  # bytes for tiles and a portion of faces, whatever the photo's size
WORKED = 36  # bytes for each pixel of the one crop that is being pasted
SKIN = 48 * 2**20  # and for tiles in which skin is looked for


@dataclass(frozen=True)
class Enhancement(Encoding):
    """Options of the restoring task."""

    format: str = option("jpeg", "file format of the result", choices=("png", "webp", "jpeg"))
    quality: int = option(95, "of lossy formats; 100 makes webp lossless", ge=1, le=100)
    model: str = option("lite", "the network that restores faces", choices=Names(RESTORERS))
    mode: str = option("natural", "how far a restored face goes", choices=tuple(MODES))
    strength: int = option(100, "of the restored face over the photo's own", ge=0, le=100, unit="%")
    denoise: int = option(30, "of the whole frame, as far as it is noisy", ge=0, le=100, unit="%")
    sharpen: int = option(0, "of the whole frame", ge=0, le=100, unit="%")
    brightness: float = option(0.0, "of the result", ge=-0.5, le=0.5)
    contrast: float = option(0.0, "of the result", ge=-0.5, le=0.5)
    skin_protect: int = option(0, "keeps the skin's own tone and texture", ge=0, le=100, unit="%")
    faces: str = option(
        "all",
        "which are restored: all, largest, or how many of the largest",
        words=("all", "largest", "2"),
    )
    min_face: int = option(
        20, "faces narrower than this are left alone", ge=8, le=10_000, unit="px"
    )
    min_score: float = option(0.4, "how sure a face must be", ge=0.05, le=1)
    detector: str = option("lite", "the network that finds faces", choices=Names(finding.DETECTORS))
    compare: bool = option(False, "before and after, side by side")

    def __post_init__(self) -> None:
        finding.chosen(self.faces)  # a wrong word is told before anything is loaded

    @property
    def restorer(self) -> Restorer:
        """What restores faces."""
        return row("model", RESTORERS, self.model)

    @property
    def models(self) -> tuple[str, ...]:
        """See :func:`portrayer.tasks.choosing.needed`."""
        finder = row("detector", finding.DETECTORS, self.detector)
        return (*finder.models, *self.restorer.models)

    @property
    def final(self) -> str:
        """See :attr:`Encoding.final`."""
        return "compare is on" if self.compare else ""


def memory(options: Enhancement, pixels: int) -> int:
    """Host bytes that :func:`run` holds at its peak for a photo of so many pixels, itself included.

    Measured: the photo and two more of its size, four with both side by side; what tiles take; and
    the crops of :data:`FACES` faces.
    """
    skin = SKIN if options.skin_protect else 0
    crops = (6 * FACES + WORKED) * spec(options.restorer.model).side ** 2
    return FIXED + skin + crops + (15 if options.compare else 9) * pixels


def run(images: Sequence[Image], options: Enhancement, infer: Infer) -> Product:
    """The portrait ``images[0]`` (H, W, 3), restored as ``options`` say."""
    photo = limit(images[0], options.max_side)
    found = finding.find(
        photo,
        infer,
        which=options.faces,
        min_size=options.min_face,
        min_score=options.min_score,
        detector=options.detector,
    )
    noise = tone.noise(photo)
    image = tone.denoise(photo, options.denoise, sigma=noise * heard(noise))
    image = restore(photo, image, found, options, infer)
    image = tone.sharpen(image, options.sharpen, sigma=noise)
    image = tone.keep_skin(photo, image, options.skin_protect)
    image = tone.adjust(image, options.brightness, options.contrast)
    if options.compare:
        image = side_by_side(photo, image)
    return Product(image, faces=tuple(found))


def heard(noise: float) -> float:
    """How much of its noise a photo is taken to have, 0..1: good ones have some, and keep it."""
    return min(max((noise - QUIET) / (NOISY - QUIET), 0.0), 1.0)


def restore(
    photo: Image, image: Image, found: Sequence[Face], options: Enhancement, infer: Infer
) -> Image:
    """``image`` with its faces restored from ``photo``, in as few requests as memory allows."""
    if not found or not options.strength:
        return image
    restorer, mode = options.restorer, MODES[options.mode]
    side = spec(restorer.model).side
    crops, matrices = aligned(photo, found, restorer.template, side)
    restored: list[Image] = []
    for before in portions(crops):
        made = infer(restorer.model, before)
        restored += [
            tone.sharpen(
                pushed(crop, 127.5 * one if restorer.adds else 255 * one - crop, mode.push),
                mode.detail,
                sigma=0,
            )
            for crop, one in zip(before, made, strict=True)
        ]
    strengths = [options.strength / 100] * len(found)
    return paste(image, crops, restored, matrices, strengths)


def pushed(face: Image, change: NDArray[np.float32], push: float) -> Image:
    """``face`` (S, S, 3) with ``push`` times a change in levels added."""
    return np.clip(face + push * change + 0.5, 0, 255).astype(np.uint8)
