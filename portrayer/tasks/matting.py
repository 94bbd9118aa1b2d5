"""Cut people out: one forward, then the photo's own edges, clean colours, a background."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from os.path import isfile

from portrayer.errors import InvalidOption
from portrayer.image import composite, placing
from portrayer.image import matte as mattes
from portrayer.image.geometry import limit, resize
from portrayer.image.placing import Length, Move
from portrayer.image.tiles import Box
from portrayer.models.catalog import spec
from portrayer.tasks.choosing import Names, row
from portrayer.tasks.cutting import CUTTERS, Cutter, estimate
from portrayer.tasks.lengths import lengths
from portrayer.tasks.options import option
from portrayer.tasks.pictures import named, picture
from portrayer.tasks.task import Encoding, Infer, Product
from portrayer.types import Image, Matte

MODEL = CUTTERS["lite"].model
MODELS = tuple(cutter.model for cutter in CUTTERS.values())
COLOUR = re.compile(r"#(?:[0-9a-f]{3,4}|[0-9a-f]{6}|[0-9a-f]{8})", re.IGNORECASE)
FIXED = 18 * 2**20  # bytes for what is done at a small size, whatever the photo's
SEEN = 120  # and for each pixel of the model's square
COARSE = 352  # long side of the photo that colours are estimated on
SOLVED = 1_000_000  # pixels at most that closed-form matting is solved on
WHOLE = "0% 0% 100% 100%"
NAMED = {"white": "#ffffff", "black": "#000000", "blue": "#438edb", "red": "#d9001b"}


@dataclass(frozen=True)
class Matting(Encoding):
    """Options of the matting task."""

    model: str = option("lite", "the network that sees people", choices=Names(CUTTERS))
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
    def cutter(self) -> Cutter:
        """What cuts out."""
        return row("model", CUTTERS, self.model)

    @property
    def models(self) -> tuple[str, ...]:
        """See :func:`portrayer.tasks.choosing.needed`."""
        return self.cutter.models

    @property
    def enough(self) -> int:
        """See :attr:`Encoding.enough`; pixels that are named count as the photo has them."""
        return 0 if "px" in self.roi else self.max_side

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

    Measured: 11 a pixel, the photo's three, the matte's four and the cut-out's four; 15 with a
    second look or an edge moved by a pixel and a part, 23 where the subject is placed and 3 more
    where it is looked for in a part; 1100 for each that is solved, and a hundred for each of the
    model's square.
    """
    each = 16 if options.looks > 1 or options.erode > 1 else 12
    if options.moves:
        each = 25 if options.roi == WHOLE else 29
    solved = min(pixels, SOLVED) if options.refine == "closed-form" else 0
    side = spec(options.cutter.model).side
    return FIXED + SEEN * side**2 + each * pixels + 1200 * solved


def run(images: Sequence[Image], options: Matting, infer: Infer) -> Product:
    """The people of ``images[0]`` (H, W, 3), cut out as ``options`` say."""
    photo = limit(images[0], options.max_side)
    height, width = photo.shape[:2]
    part = placing.region(options.corners, height, width, images[0].shape[:2])
    if part is None:
        size = f"{images[0].shape[1]} x {images[0].shape[0]}"
        raise InvalidOption(f"roi is {options.roi!r}: nothing of a photo of {size} lies in it")
    image = photo[part]
    seen, small = estimate(
        image, options.cutter, infer, looks=options.looks, edges=options.refine != "none"
    )
    if options.refine == "closed-form":
        seen = mattes.closed_form(image, seen, limit=SOLVED)
    seen = mattes.contract(seen, options.alpha_threshold / 100)
    seen = mattes.erode(seen, options.erode)
    seen = mattes.feather(seen, options.feather)
    matte = placing.spread(seen, part, height, width)
    del seen  # nothing is held twice at the photo's size
    box, move = standing(matte, options)
    if options.output == "matte":
        alpha = matte[box] if move is None else placing.moved(matte[box], move)
        return Product(composite.quantise(alpha), alpha)
    clean = composite.foreground(image, coarse(small, *image.shape[:2]), matte[part])
    pieces, alpha = placing.framed(clean, part, box), matte[box]
    if move is not None:
        colours, alpha = placing.straight(placing.moved(placing.layered(pieces, alpha), move))
        pieces = placing.cut(colours)
    return Product(on(options, pieces, alpha, photo[box], matte[box]), alpha)


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


def coarse(small: Image, height: int, width: int) -> Image:
    """A photo of (height, width) that is shown at any size, in its own shape again, at
    :data:`COARSE`.
    """
    scale = COARSE / max(height, width)
    return resize(small, max(1, round(height * scale)), max(1, round(width * scale)))


def on(
    options: Matting,
    pieces: Iterable[tuple[Box, Image]],
    matte: Matte,
    image: Image,
    where: Matte,
) -> Image:
    """The cut-out on what stands behind it: RGBA over nothing, RGB over something opaque.

    ``pieces``: its colours, laid one by one; beside them the matte is 0. ``where`` the person was
    in ``image``, the photo: both of the cut-out's size.
    """
    background, path = options.background, named(options).get("background")
    if background != "blur" and path is None:
        lay = composite.cutout
        if background != "none":
            lay = partial(composite.over_colour, colour=colour(background))
        return composite.laid(pieces, matte, lay)
    if path is None:
        canvas = composite.blurred(image, where)
    else:
        canvas = composite.cover(picture("background", path), *matte.shape)
    for place, colours in pieces:
        canvas[place] = composite.over(colours, matte[place], canvas[place])
    return canvas


def colour(text: str) -> tuple[int, int, int, int]:
    """(r, g, b, a) 0..255 of a name or ``#rgb``, ``#rgba``, ``#rrggbb``, ``#rrggbbaa``."""
    digits = NAMED.get(text, text)[1:]
    if len(digits) < 6:
        digits = "".join(2 * digit for digit in digits)
    r, g, b, *a = bytes.fromhex(digits)
    return r, g, b, a[0] if a else 255
