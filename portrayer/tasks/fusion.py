"""Fuse faces: the source's face in the target's photo, by degree, in the target's light."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from portrayer.errors import InvalidOption, NoFaceFound
from portrayer.image import harmony
from portrayer.image.composite import confined, over
from portrayer.image.faces import Matrix, align, paste, relaid
from portrayer.image.front import in_front
from portrayer.image.geometry import limit
from portrayer.image.label import corner
from portrayer.image.matte import bounds, erode, feather
from portrayer.image.mesh import Mesh, bend, complete, oval, posed, towards
from portrayer.image.pyramid import blend
from portrayer.tasks import enhancement, swapping
from portrayer.tasks import faces as finding
from portrayer.tasks.choosing import Names, Row, row
from portrayer.tasks.options import option
from portrayer.tasks.pictures import named
from portrayer.tasks.pictures import picture as opened
from portrayer.tasks.swapping import SWAPPERS, Swapper
from portrayer.tasks.task import Encoding, Infer, Product
from portrayer.types import Face, Image, Matte

TEMPLATE, SIDES = "ffhq", (256, 320, 384, 448, 512, 640, 768, 896, 1024)
ROOM = 0.12  # of a face's box, around it: outside of that the target is not touched
EDGE, SOFT = 0.02, 0.013  # of the crop's side: the border is drawn in, and made soft
FIXED = 220 * 2**20  # bytes that one face's crop takes
OUTPUTS = ("original", "512", "1024", "2048")


@dataclass(frozen=True, slots=True)
class Shaped(Row):
    """The way without a network of its own: the source's face, laid over the target's mesh."""

    model: str = ""

    @property
    def models(self) -> tuple[str, ...]:
        """See :attr:`Row.models`."""
        return (finding.MESH,)


ENGINES: Mapping[str, Row] = {"mesh": Shaped(), **SWAPPERS}
MODELS = tuple(
    dict.fromkeys(
        [
            *finding.MODELS,
            enhancement.RESTORERS["lite"].model,
            *(model for swapper in SWAPPERS.values() for model in swapper.models),
        ]
    )
)


@dataclass(frozen=True)
class Fusion(Encoding):
    """Options of the fusing task."""

    model: str = option("mesh", "mesh, or the network that draws the face", choices=Names(ENGINES))
    source_face: str = option(
        "largest",
        "which of the source's faces: largest, or its rank by size",
        words=("largest", "2"),
    )
    target_face: str = option(
        "largest",
        "which are replaced: largest, all, a rank by size, or like:FILE",
        words=("largest", "all", "2"),
        picture="like:",
    )
    blend: float = option(0.8, "how much of the source: 0 is the target, 1 the source", ge=0, le=1)
    mode: str = option("normal", "how colours meet", choices=tuple(harmony.MODES))
    skin_smooth: float = option(0.0, "smooths the skin of the face", ge=0, le=1)
    brightness: float = option(0.0, "of the face", ge=-0.5, le=0.5)
    contrast: float = option(0.0, "of the face", ge=-0.5, le=0.5)
    saturation: float = option(0.0, "of the face", ge=-0.5, le=0.5)
    output: str = option("original", "long side of the result", choices=OUTPUTS)
    min_score: float = option(0.5, "how sure a face must be", ge=0.05, le=1)
    detector: str = option("lite", "the network that finds faces", choices=Names(finding.DETECTORS))
    restore: bool = option(False, "restore the fused face at the end")
    label: bool = option(False, "a visible mark in the corner that says it is synthetic")
    consent: bool = option(False, "you have the right to use these faces")

    def __post_init__(self) -> None:
        rank(self.source_face, "source-face", ("largest",))
        if "target-face" not in named(self):
            rank(self.target_face, "target-face", ("largest", "all", "like:FILE"))

    @property
    def engine(self) -> Row:
        """What makes the face."""
        return row("model", ENGINES, self.model)

    @property
    def swapper(self) -> Swapper | None:
        """The network that draws the face, where one does."""
        engine = self.engine
        return engine if isinstance(engine, Swapper) else None

    @property
    def models(self) -> tuple[str, ...]:
        """See :func:`portrayer.tasks.choosing.needed`."""
        finder = row("detector", finding.DETECTORS, self.detector)
        restored = enhancement.Enhancement().restorer.models if self.restore else ()
        return (*finder.models, *self.engine.models, *restored)


def rank(text: str, name: str, words: Sequence[str]) -> int | None:
    """Which face a word means, the largest is 0; None for all of them."""
    if text in ("all", "largest") and text in words:
        return None if text == "all" else 0
    if text.isdecimal() and text.isascii() and int(text) > 0:
        return int(text) - 1
    raise InvalidOption(f"{name} is {text!r}: say {', '.join(words)}, or a number from 1")


def memory(options: Fusion, pixels: int) -> int:
    """Host bytes that :func:`run` holds at its peak for a target of so many pixels, itself included
    and the source not.

    Measured: the target and one more of its size, two where what was made is changed once more;
    what one face's crop takes; and what a network makes of the faces.
    """
    drawn = swapping.memory(options.swapper) if options.swapper else 0
    again = options.target_face == "all" or options.restore or options.label
    return FIXED + drawn + (9 if again else 6) * pixels


def run(images: Sequence[Image], options: Fusion, infer: Infer) -> Product:
    """The face of ``images[0]`` (H, W, 3) in ``images[1]``, as ``options`` say."""
    if not options.consent:
        what = "say that you have the right to use these faces (consent=True, or --yes)"
        raise InvalidOption(f"consent is missing: {what}")
    source, target = images[0], limit(images[1], options.max_side)
    if options.output != "original":
        target = limit(target, int(options.output))
    [giver] = chosen("source", source, options.source_face, options, infer)
    takers = chosen("target", target, options.target_face, options, infer)
    image, swapper = target, options.swapper
    if swapper:
        drawn = swapping.swapped(source, giver, target, takers, swapper, infer)
        for taker, (crop, matrix) in zip(takers, drawn, strict=True):
            image = replaced(crop, matrix, image, taker, options)
    else:
        for taker in takers:
            image = fused(source, giver, image, taker, options)
    if options.restore:
        image = enhancement.restore(image, image, takers, enhancement.Enhancement(), infer)
    touched = [around(taker) for taker in takers]
    image = confined(image, target, [face.box for face in touched])
    if options.label:
        image = corner(image)
    told = {
        "model": options.model,
        "blend": f"{options.blend:g}",
        "mode": options.mode,
        "faces": str(len(takers)),
    }
    return Product(image, faces=tuple(touched), mark=told)


def chosen(role: str, photo: Image, which: str, options: Fusion, infer: Infer) -> list[Face]:
    """The faces of a photo that are meant; :class:`NoFaceFound` says which photo has none."""
    found = finding.find(photo, infer, min_score=options.min_score, detector=options.detector)
    if not found:
        raise NoFaceFound(f"no face was found in the {role} photo")
    like = named(options).get("target-face") if role == "target" else None
    if like is not None:
        return [most_like(opened("target-face", like), photo, found, options, infer)]
    at = rank(which, f"{role}-face", ("largest", "all"))
    if at is None:
        return found
    if at >= len(found):
        raise InvalidOption(f"{role}-face is {which!r}: the {role} photo has {len(found)} faces")
    return [found[at]]


def most_like(
    model: Image, photo: Image, found: Sequence[Face], options: Fusion, infer: Infer
) -> Face:
    """The face of ``photo`` that is most like the largest one of the picture ``model``: who it is,
    by the recogniser of the network that is used, else by geometry alone, each laid over the other.
    """
    [wanted] = chosen("like:", model, "largest", options, infer)
    if options.swapper:
        seen = [(model, wanted), *((photo, face) for face in found)]
        sought, *there = swapping.identities(seen, options.swapper, infer)
        return found[int(np.argmax(swapping.likeness(sought, np.stack(there))))]

    def apart(face: Face) -> float:
        over = posed(wanted.mesh, face.mesh)
        scale = np.ptp(face.mesh[:, :2], axis=0).max()
        return float(np.linalg.norm(over - face.mesh, axis=1).mean() / scale)

    return min(found, key=apart)


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """What a source gives, whatever the target: the ``crop`` (S, S, 3) of a face, the ``mesh``
    (468, 3) in it, and how much of each pixel is ``hidden`` (S, S) by what is in front.
    """

    crop: Image
    mesh: Mesh
    hidden: Matte

    def laid(self, shape: Mesh) -> tuple[Image, Matte]:
        """The face where a mesh (468, 3) lies, (S, S, 3), and how much of it is shown, (S, S)."""
        way = complete(self.mesh, shape, len(self.crop))
        return way.picture(self.crop), way.covered * (1 - way.picture(self.hidden))


def given(source: Image, giver: Face, side: int) -> Given:
    """One of its faces, in a square of that side."""
    crop, inward = align(source, giver.points, TEMPLATE, side)
    mesh = moved(giver.mesh, inward)
    return Given(crop, mesh, in_front(crop, oval(mesh, side), mesh))


def fused(source: Image, giver: Face, target: Image, taker: Face, options: Fusion) -> Image:
    """``target`` with one face fused, all in one square around it."""
    side = side_for(taker)
    there, outward = align(target, taker.points, TEMPLATE, side)
    here, own = given(source, giver, side), moved(taker.mesh, outward)
    shape = towards(own, here.mesh, options.blend)
    front, shown = here.laid(shape)
    made = joined(front, shown, bend(there, own, shape), shape, options)
    return paste(target, [there], [made], [outward], [1.0], colour=0)


def replaced(crop: Image, matrix: Matrix, target: Image, taker: Face, options: Fusion) -> Image:
    """``target`` with one face as a network has drawn it: ``crop`` (S, S, 3), and the ``matrix``
    (2, 3) from the photo to that.
    """
    side = side_for(taker)
    there, outward = align(target, taker.points, TEMPLATE, side)
    front, covered = relaid(crop, matrix, outward, side)
    made = joined(front, covered, there, moved(taker.mesh, outward), options)
    return paste(target, [there], [made], [outward], [1.0], colour=0)


def joined(front: Image, shown: Matte, back: Image, shape: Mesh, options: Fusion) -> Image:
    """One face over another of the same ``shape`` (468, 3), both (S, S, 3), as far as it is
    ``shown`` (S, S) and nothing is in front of the face behind.
    """
    side = len(back)
    inside = oval(shape, side)
    mask = bordered(inside * shown * (1 - in_front(back, inside, shape)))
    front = harmony.match(front, back, mask)
    front = harmony.MODES[options.mode](front, back)
    front = harmony.grain(front, back, mask)
    made = blend(harmony.mixed(front, back, options.blend), back, mask)
    made = harmony.smooth(made, mask, options.skin_smooth)
    looked = harmony.look(made, options.brightness, options.contrast, options.saturation)
    return made if looked is made else over(looked, mask, made)


def bordered(mask: Matte) -> Matte:
    """A mask (S, S) whose border is drawn in and made soft."""
    side = len(mask)
    result = np.zeros_like(mask)
    box = bounds(mask, level=0)
    if box is None:
        return result
    room = round(3 * SOFT * side)
    rows, columns = (slice(max(0, part.start - room), part.stop + room) for part in box)
    # In levels it is drawn in four times as fast.
    levels: NDArray[Any] = np.rint(255 * np.clip(mask[rows, columns], 0, 1)).astype(np.uint8)
    inner: Matte = erode(levels, EDGE * side).astype(np.float32) / np.float32(255)
    result[rows, columns] = feather(inner, SOFT * side)
    return result


def side_for(face: Face) -> int:
    """A crop's side that loses nothing of a face, within bounds."""
    needed = float(np.linalg.norm(face.points[0] - face.points[1])) / 0.246
    return next((side for side in SIDES if side >= needed), SIDES[-1])


def moved(mesh: Mesh, matrix: Matrix) -> Mesh:
    """A mesh (468, 3) of a photo in the pixels of a crop, its depth in the same unit."""
    scale = np.sqrt(np.linalg.det(matrix[:, :2]))
    flat = mesh[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    return np.column_stack([flat, mesh[:, 2] * scale])


def around(face: Face) -> Face:
    """A face whose box has room around it for what blends into its surroundings."""
    x, y, w, h = face.box
    return replace(face, box=(x - ROOM * w, y - ROOM * h, (1 + 2 * ROOM) * w, (1 + 2 * ROOM) * h))
