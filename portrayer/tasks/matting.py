"""Cut people out: one forward, then the photo's own edges, clean colours, a background."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from os.path import isfile

import numpy as np

from portrayer.errors import InvalidOption
from portrayer.image import composite, placing
from portrayer.image import matte as mattes
from portrayer.image.geometry import crop, fit, limit, resize
from portrayer.image.placing import Length, Move
from portrayer.image.tiles import Box
from portrayer.models.catalog import spec
from portrayer.tasks.lengths import lengths
from portrayer.tasks.options import option
from portrayer.tasks.pictures import named, picture
from portrayer.tasks.task import Encoding, Infer, Product
from portrayer.types import Image, Matte

MODEL = "portrait-matting"
COLOUR = re.compile(r"#(?:[0-9a-f]{3,4}|[0-9a-f]{6}|[0-9a-f]{8})", re.IGNORECASE)
FIXED = 32 * 2**20  # bytes for what is done at the model's size, whatever the photo's
SOLVED = 1_000_000  # pixels at most that closed-form matting is solved on
WHOLE = "0% 0% 100% 100%"
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
        "none",
        "none, white, blue, red, black, #rgb[a], #rrggbb[aa], blur, or a picture's path",
        words=("none", "blur", *NAMED),
        picture="",
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
    roi: str = option(
        WHOLE, "where people are looked for: x1 y1 x2 y2, in % or px", words=("10% 0% 90% 100%",)
    )
    crop: bool = option(False, "crop to the subject")
    margin: str = option(
        "5%",
        "room left around a cropped subject, in % of its longer side or px; "
        "two for top and sides, or top right bottom left",
        words=("30px", "0 10%", "10% 10% 0 10%"),
    )
    scale: str = option(
        "original",
        "size of the subject: original, or the share of the picture that it fills, 10% to 100%",
        words=("original", "80%"),
    )
    position: str = option(
        "auto",
        "place of the subject: original, center, or x% y% of the room that it leaves; "
        "auto: center where a scale is given, else original",
        words=("auto", "original", "center", "50% 100%"),
    )

    def __post_init__(self) -> None:
        ground = self.background
        if ground.startswith("#") and not COLOUR.fullmatch(ground):
            ways = "#rgb, #rgba, #rrggbb or #rrggbbaa"
            raise InvalidOption(f"background is {ground!r}, a colour is {ways}")
        path = named(self).get("background")
        if path is not None and not isfile(path):
            what = "not a colour, and no picture lies there"
            raise InvalidOption(f"background is {ground!r}: {what}")
        # Wrong texts are told before anything is loaded.
        _ = self.corners, self.margins, self.share, self.place
        if self.format == "jpeg" and self.output != "matte" and self.transparent:
            ways = "choose --format png or webp, or a --background"
            raise InvalidOption(f"format is 'jpeg', which has no transparency: {ways}")

    @property
    def transparent(self) -> bool:
        """Whether the result lets something through."""
        if self.background.startswith("#"):
            return colour(self.background)[3] < 255
        return self.background == "none"

    @property
    def final(self) -> str:
        """See :attr:`Encoding.final`."""
        if self.output != "cutout":
            return f"output is {self.output!r}"
        if self.transparent:
            return f"background is {self.background!r}, which lets something through"
        return ""

    @property
    def corners(self) -> tuple[Length, ...]:
        """x1, y1, x2, y2 of the part that people are looked for in."""
        ways = "x1 y1 x2 y2, each in % or px, as in 10% 0% 90% 100%"
        return lengths("roi", self.roi, ways, counts={4}, units={"px", "%"})

    @property
    def margins(self) -> tuple[Length, ...]:
        """Top, right, bottom, left."""
        ways = "one, two or four of 10% and 30px"
        said = lengths("margin", self.margin, ways, counts={1, 2, 4}, units={"px", "%", ""})
        return said * (4 // len(said))

    @property
    def share(self) -> float | None:
        """How much of the picture the subject fills, 0.1..1; None for its own size."""
        if self.scale == "original":
            return None
        ways = "original, or 10% to 100%"
        [said] = lengths("scale", self.scale, ways, counts={1}, units={"%"})
        if said.value < 10:
            raise InvalidOption(f"scale is {self.scale!r}: say {ways}")
        return said.value / 100

    @property
    def moves(self) -> bool:
        """Whether the subject is brought to another size or place."""
        return self.share is not None or self.place is not None

    @property
    def place(self) -> tuple[float, float] | None:
        """The parts (x, y), 0..1, of the room beside the subject that lie left of it and above it;
        None for where it is.
        """
        if self.position in ("auto", "original", "center"):
            stays = self.position == "original" or (self.position == "auto" and not self.share)
            return None if stays else (0.5, 0.5)
        ways = "auto, original, center, one of 0% to 100% or two, x and y"
        said = lengths("position", self.position, ways, counts={1, 2}, units={"%"})
        return said[0].value / 100, said[-1].value / 100


def memory(options: Matting, pixels: int) -> int:
    """Host bytes that :func:`run` holds at its peak for a photo of so many pixels, itself included.

    Measured: 21 a pixel, 39 with a translucent background; up to 7 more where people are looked for
    in a part of it, 5 more where the subject is placed; 1100 for each that is solved.
    """
    translucent = options.transparent and options.background != "none"
    each = (40 if translucent else 24) + 8 * (options.roi != WHOLE) + 6 * options.moves
    solved = min(pixels, SOLVED) if options.refine == "closed-form" else 0
    return FIXED + each * pixels + 1200 * solved


def run(images: Sequence[Image], options: Matting, infer: Infer) -> Product:
    """The people of ``images[0]`` (H, W, 3), cut out as ``options`` say."""
    photo = limit(images[0], options.max_side)
    height, width = photo.shape[:2]
    part = placing.region(options.corners, height, width, images[0].shape[:2])
    if part is None:
        size = f"{images[0].shape[1]} x {images[0].shape[0]}"
        raise InvalidOption(f"roi is {options.roi!r}: nothing of a photo of {size} lies in it")
    image = np.ascontiguousarray(photo[part])
    seen, small = estimate(image, options, infer)
    if options.refine == "closed-form":
        seen = mattes.closed_form(image, seen, limit=SOLVED)
    seen = mattes.contract(seen, options.alpha_threshold / 100)
    seen = mattes.feather(mattes.erode(seen, options.erode), options.feather)
    matte = placing.spread(seen, part, height, width)
    box, move = standing(matte, options)
    if options.output == "matte":
        alpha = matte[box] if move is None else placing.moved(matte[box], move)
        return Product(composite.quantise(alpha), alpha)
    colours = placing.spread(composite.foreground(image, small, seen), part, height, width)[box]
    alpha = matte[box]
    if move is not None:
        colours, alpha = placing.straight(
            placing.moved(placing.premultiplied(colours, alpha), move)
        )
    return Product(on(options, colours, alpha, photo[box], matte[box]), alpha)


def standing(matte: Matte, options: Matting) -> tuple[Box, Move | None]:
    """The box of the photo that becomes the canvas, and what brings the subject to its place on it;
    None where it stays. Where nobody is, so does everything.
    """
    height, width = matte.shape
    whole = (slice(0, height), slice(0, width))
    subject = mattes.bounds(matte) if options.crop or options.moves else None
    if subject is None:
        return whole, None
    box = placing.around(subject, options.margins, height, width) if options.crop else whole
    return box, placing.move(subject, box, options.share, options.place) if options.moves else None


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


def on(options: Matting, colours: Image, matte: Matte, image: Image, where: Matte) -> Image:
    """The cut-out on what stands behind it: RGBA over nothing, RGB over something opaque.

    ``where`` the person was in ``image``, the photo: both of the cut-out's size.
    """
    background, path = options.background, named(options).get("background")
    if background == "none":
        return composite.cutout(colours, matte)
    if background == "blur":
        return composite.over(colours, matte, composite.blurred(image, where))
    if path is None:
        return composite.over_colour(colours, matte, colour(background))
    behind = composite.cover(picture("background", path), *matte.shape)
    return composite.over(colours, matte, behind)


def colour(text: str) -> tuple[int, int, int, int]:
    """(r, g, b, a) 0..255 of a name or ``#rgb``, ``#rgba``, ``#rrggbb``, ``#rrggbbaa``."""
    digits = NAMED.get(text, text)[1:]
    if len(digits) < 6:
        digits = "".join(2 * digit for digit in digits)
    r, g, b, *a = bytes.fromhex(digits)
    return r, g, b, a[0] if a else 255
