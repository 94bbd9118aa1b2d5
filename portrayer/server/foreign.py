"""The words of remove.bg in ours: from the fields of its form to a photo and its options."""

from __future__ import annotations

import asyncio
import base64
import binascii
import math
import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from portrayer.errors import InputError
from portrayer.image import codec
from portrayer.image.colours import named
from portrayer.server import remote
from portrayer.server.intake import Arrival
from portrayer.server.refusal import InvalidRequest
from portrayer.server.service import Service
from portrayer.server.upload import Upload, writing
from portrayer.server.wishes import Wish
from portrayer.tasks import task
from portrayer.tasks.options import read

LONG = 22 << 20  # bytes of a photo as text: that is held in memory
MEGAPIXELS: Mapping[str, float] = {
    "preview": 0.25,
    "small": 0.25,
    "regular": 0.25,
    "medium": 1.5,
    "hd": 4,
    "4k": 10,
    "full": math.inf,
    "50mp": 50,
    "auto": math.inf,
}
WRITTEN: Mapping[str, str] = {"png": "png", "jpg": "jpeg", "jpeg": "jpeg", "webp": "webp"}
SOURCES = ("image_file", "image_file_b64", "image_url")
GROUNDS = ("bg_color", "bg_image_file", "bg_image_url")
FIELDS: Mapping[str, str] = {
    "image_file_b64": f"the photo, as base64 (of {LONG >> 20} MiB at most)",
    "image_url": "where the photo is (off unless the operator switched it on)",
    "size": f"megapixels at most: {', '.join(MEGAPIXELS)}",
    "type": "what is in the foreground; people are looked for, whatever it says",
    "type_level": "taken, and answered by X-Type: person",
    "format": "auto (png if anything is transparent, else jpg), png, jpg, webp or zip",
    "channels": "rgba, or alpha for the matte",
    "bg_color": "behind the cut-out: hex with 3, 4, 6 or 8 digits, or a name",
    "bg_image_url": "where a picture to stand behind it is",
    "crop": "true: crop to the foreground",
    "crop_margin": "around it: 30px, 10%, or up to four of these",
    "roi": "x1 y1 x2 y2, px or %: where the foreground is",
    "scale": "original, or 10% to 100% of the picture",
    "position": "original, center, or one or two of 0% to 100%",
    "add_shadow": "taken; no shadow is made",
    "semitransparency": "taken; soft edges are always kept",
}
MISSING = "none of image_file, image_file_b64 and image_url was sent"


class Missing(InputError):
    """No photo was sent."""

    code = "missing_source"


class Multiple(InputError):
    """More than one photo was sent."""

    code = "multiple_sources"


async def asked(service: Service, arrival: Arrival) -> tuple[Wish, bool]:
    """What a form of remove.bg's asks for, in our words, and whether as a ZIP."""
    form = arrival.form
    for name, each in form.fields.items():
        if len(each) > 1:
            raise InvalidRequest(f"{name} was sent {len(each)} times: send it once")
    said = {name: each.strip() for name, [each] in form.fields.items() if each.strip()}
    uploads: dict[str, list[Upload]] = {}
    for upload in form.files:
        if upload.field not in ("image_file", "bg_image_file"):
            raise InvalidRequest(f"no file is called {upload.field[:80]!r}: send image_file")
        uploads.setdefault(upload.field, []).append(upload)
    for name in said:
        if name in ("image_file", "bg_image_file"):
            raise InvalidRequest(f"{name} came as text: send it as a file")
    sent = [*said, *(name for name, files in uploads.items() for _ in files)]
    sources = [name for name in sent if name in SOURCES]
    if len(sources) != 1:
        raise Multiple(f"send one of {', '.join(SOURCES)}") if sources else Missing(MISSING)
    if len([name for name in sent if name in GROUNDS]) > 1:
        raise InvalidRequest(f"send one of {', '.join(GROUNDS)}")
    photo = await _picture(service, arrival, sources[0], uploads, said)
    values = _options(said)
    for name in ("bg_image_file", "bg_image_url"):
        if name in sent:
            behind = await _picture(service, arrival, name, uploads, said)
            values["background"] = str(behind.path)
    zipped = said.get("format", "auto") == "zip"
    values |= await asyncio.to_thread(
        _limits, said, photo.path, values, service.settings.max_pixels
    )
    row = task("matte")
    wish = Wish(row, values, read(row.options, values), {}, [photo], "", 0)
    return wish, zipped and wish.chosen.output != "matte" and wish.chosen.transparent


async def _picture(
    service: Service,
    arrival: Arrival,
    name: str,
    uploads: Mapping[str, list[Upload]],
    said: Mapping[str, str],
) -> Upload:
    """A picture that came as a file, as text, or as an address."""
    server = service.settings.server
    if name in uploads:
        return uploads[name][0]
    path = service.shelf.incoming(arrival.id) / name
    if name == "image_file_b64":
        size, digest = await asyncio.to_thread(_decoded, said[name], path)
        return Upload(name, name, path, size, digest)
    if not server.image_url:
        raise InvalidRequest(f"{name} is switched off on this server: send the file itself")
    size = await remote.fetch(said[name], path, most=server.max_upload, seconds=server.deadline)
    return Upload(name, name, path, size, "")


def _decoded(text: str, path: Path) -> tuple[int, str]:
    """Write what base64 says, also as a data URL, to ``path``: how many bytes, and their sha256."""
    text = text.partition(",")[2] if text.startswith("data:") else text
    try:
        blob = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"image_file_b64 is not base64: {error}") from error
    with writing():
        path.write_bytes(blob)
    return len(blob), sha256(blob).hexdigest()


def _options(said: Mapping[str, str]) -> dict[str, Any]:
    """Fields to options of the matting task: all but the size and the format."""
    values: dict[str, Any] = {}
    channels = said.get("channels", "rgba")
    if channels not in ("rgba", "alpha"):
        raise InvalidRequest(f"channels is {channels[:40]!r}, it can be rgba or alpha")
    if channels == "alpha":
        values["output"] = "matte"
    if "bg_color" in said:
        values["background"] = _colour(said["bg_color"])
    for field, option in (
        ("crop", "crop"),
        ("crop_margin", "margin"),
        ("roi", "roi"),
        ("scale", "scale"),
        ("position", "position"),
    ):
        if field in said:
            values[option] = said[field]
    if values.get("crop") and "margin" not in values:
        values["margin"] = "0px"
    return values


def _colour(text: str) -> str:
    digits = text.removeprefix("#")
    if re.fullmatch(r"[0-9a-fA-F]{3,4}|[0-9a-fA-F]{6}|[0-9a-fA-F]{8}", digits):
        return f"#{digits}"
    found = named(text)
    if found is None:
        raise InvalidRequest(
            f"bg_color is {text[:40]!r}: say hex digits (81d4fa) or a name (green)"
        )
    return found


def _limits(
    said: Mapping[str, str], photo: Path, values: Mapping[str, Any], max_pixels: int
) -> dict[str, Any]:
    """The size and the format, which depend on the photo and on what stands behind it."""
    size = said.get("size", "preview").lower()
    if size not in MEGAPIXELS:
        raise InvalidRequest(f"size is {size[:40]!r}, it can be {', '.join(MEGAPIXELS)}")
    wanted = said.get("format", "auto").lower()
    if wanted not in (*WRITTEN, "auto", "zip"):
        raise InvalidRequest(f"format is {wanted[:40]!r}, it can be auto, png, jpg, webp or zip")
    header = codec.probe(photo.read_bytes(), max_pixels=max_pixels)
    share = math.sqrt(min(1.0, MEGAPIXELS[size] * 1e6 / header.pixels))
    side = max(1, int(share * max(header.width, header.height)))
    ground = values.get("background", "none")
    see_through = ground == "none" or (ground.startswith("#") and len(ground) in (5, 9))
    auto = "png" if see_through or values.get("output") == "matte" else "jpeg"
    format = WRITTEN.get(wanted, auto)
    if format == "jpeg" and see_through and "output" not in values:
        return {"max-side": side if share < 1 else 0, "format": format, "background": "white"}
    return {"max-side": side if share < 1 else 0, "format": format}
