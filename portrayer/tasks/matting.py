"""Cut people out: one forward, then the photo's own edges, clean colours, a background."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from os.path import isfile

import numpy as np

from portrayer.errors import InvalidOption
from portrayer.image import composite
from portrayer.image import matte as mattes
from portrayer.image.geometry import crop, fit, limit, resize
from portrayer.models.catalog import spec
from portrayer.tasks.options import option
from portrayer.tasks.pictures import picture
from portrayer.tasks.task import Encoding, Infer, Product
from portrayer.types import Image, Matte

MODEL = "portrait-matting"
COLOUR = re.compile(r"#(?:[0-9a-f]{3,4}|[0-9a-f]{6}|[0-9a-f]{8})", re.IGNORECASE)
FIXED = 32 * 2**20  # bytes for what is done at the model's size, whatever the photo's
SOLVED = 1_000_000  # pixels at most that closed-form matting is solved on
NAMED = {"white": "#ffffff", "black": "#000000", "blue": "#438edb", "red": "#d9001b"}


@dataclass(frozen=True)
class Matting(Encoding):
    """Options of the matting task."""

    output: str = option(
        "cutout",
        "what is written: the cut-out, its matte, or both",
        choices=("cutout", "matte", "both"),
    )
    background: str = option(
        "none", "none, white, blue, red, black, #rgb[a], #rrggbb[aa], blur, or a picture's path"
    )
    alpha_threshold: float = option(
        0.0, "softer values than this are decided", ge=0, le=50, unit="%"
    )
    erode: float = option(0.0, "moves the edge inwards", ge=0, le=5, unit="px")
    feather: float = option(0.0, "softens the edge", ge=0, le=20, unit="px")
    refine: str = option(
        "fast", "how edges are drawn at full size", choices=("fast", "closed-form", "none")
    )
    looks: int = option(
        1, "forwards a photo: a second looks closer, or at the mirror image", ge=1, le=2
    )
    crop: bool = option(False, "crop to the subject")
    margin: float = option(5.0, "room left around a cropped subject", ge=0, le=100, unit="%")

    def __post_init__(self) -> None:
        ground = self.background
        if ground.startswith("#") and not COLOUR.fullmatch(ground):
            ways = "#rgb, #rgba, #rrggbb or #rrggbbaa"
            raise InvalidOption(f"background is {ground!r}, a colour is {ways}")
        known = ground in ("none", "blur", *NAMED) or ground.startswith("#")
        if not known and not isfile(ground):
            what = "not a colour, and no picture lies there"
            raise InvalidOption(f"background is {ground!r}: {what}")
        if self.format == "jpeg" and self.output != "matte" and self.transparent:
            ways = "choose --format png or webp, or a --background"
            raise InvalidOption(f"format is 'jpeg', which has no transparency: {ways}")

    @property
    def transparent(self) -> bool:
        """Whether the result lets something through."""
        if self.background.startswith("#"):
            return colour(self.background)[3] < 255
        return self.background == "none"


def memory(options: Matting, pixels: int) -> int:
    """Host bytes that :func:`run` holds at its peak for a photo of so many pixels, itself included.

    Measured: 21 a pixel, 39 with a translucent background, 1100 for each that is solved.
    """
    translucent = options.transparent and options.background != "none"
    solved = min(pixels, SOLVED) if options.refine == "closed-form" else 0
    return FIXED + (40 if translucent else 24) * pixels + 1200 * solved


def run(images: Sequence[Image], options: Matting, infer: Infer) -> Product:
    """The people of ``images[0]`` (H, W, 3), cut out as ``options`` say."""
    image = limit(images[0], options.max_side)
    matte, small = estimate(image, options, infer)
    if options.refine == "closed-form":
        matte = mattes.closed_form(image, matte, limit=SOLVED)
    matte = mattes.contract(matte, options.alpha_threshold / 100)
    matte = mattes.feather(mattes.erode(matte, options.erode), options.feather)
    whole = (slice(None), slice(None))
    box = (options.crop and mattes.bounds(matte, options.margin / 100)) or whole
    if options.output == "matte":
        return Product(composite.quantise(matte[box]), matte[box])
    colours = composite.foreground(image, small, matte)
    return Product(on(options.background, colours[box], matte[box], image[box]), matte[box])


def estimate(image: Image, options: Matting, infer: Infer) -> tuple[Matte, Image]:
    """The matte (H, W) of a photo, and the photo at the model's size.

    The second look is at the subject alone, larger, where it leaves room in the frame; else at the
    mirror image. What both looks say is averaged.
    """
    small, first = look(image, infer)
    box = mattes.subject(first, *image.shape[:2]) if options.looks > 1 else None
    if options.looks > 1 and box is None:
        first = mean(first, look(image, infer, mirrored=True)[1])
    matte = drawn(image, small, first, options)
    if box is not None:
        part = np.ascontiguousarray(image[box])
        close, second = look(part, infer)
        again = resize(resize(first, *image.shape[:2])[box], *second.shape)
        matte[box] = drawn(part, close, mean(again, second), options)
    return matte, small


def look(image: Image, infer: Infer, *, mirrored: bool = False) -> tuple[Image, Matte]:
    """One forward: the photo at the model's size, without its bars, and its matte there."""
    square, where = fit(image, spec(MODEL).side)
    way = slice(None, None, -1 if mirrored else 1)
    answer = infer(MODEL, np.ascontiguousarray(square[None, :, way]))[0]
    return crop(square, where), crop(answer[:, way], where)


def mean(one: Matte, other: Matte) -> Matte:
    """Halfway between two mattes of the same photo."""
    return (one + other) * np.float32(0.5)


def drawn(image: Image, small: Image, rough: Matte, options: Matting) -> Matte:
    """A matte of the model's size at the photo's own, with the photo's edges."""
    settled = mattes.settle(mattes.fill_doubts(mattes.drop_islands(rough)))
    if options.refine == "none":
        return resize(settled, *image.shape[:2])
    return mattes.refine(image, small, settled)


def on(background: str, colours: Image, matte: Matte, image: Image) -> Image:
    """The cut-out on what stands behind it: RGBA over nothing, RGB over something opaque."""
    if background == "none":
        return composite.cutout(colours, matte)
    if background == "blur":
        return composite.over(colours, matte, composite.blurred(image, matte))
    if background in NAMED or background.startswith("#"):
        return composite.over_colour(colours, matte, colour(background))
    behind = composite.cover(picture("background", background), *matte.shape)
    return composite.over(colours, matte, behind)


def colour(text: str) -> tuple[int, int, int, int]:
    """(r, g, b, a) 0..255 of a name or ``#rgb``, ``#rgba``, ``#rrggbb``, ``#rrggbbaa``."""
    digits = NAMED.get(text, text)[1:]
    if len(digits) < 6:
        digits = "".join(2 * digit for digit in digits)
    r, g, b, *a = bytes.fromhex(digits)
    return r, g, b, a[0] if a else 255
