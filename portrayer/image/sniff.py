"""What a file is, by its first bytes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from portrayer.errors import DecodeError

_PICTURES: Sequence[tuple[re.Pattern[bytes], str]] = [
    (re.compile(pattern, re.DOTALL), name)
    for pattern, name in (
        (rb"\xff\xd8\xff", "jpeg"),
        (rb"\x89PNG\r\n\x1a\n", "png"),
        (rb"RIFF.{4}WEBP", "webp"),
        (rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", "bmp"),
        (rb"II[*+]\0|MM\0[*+]", "tiff"),
    )
]
_OTHERS: Sequence[tuple[re.Pattern[bytes], str]] = [
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), name)
    for pattern, name in (
        (rb"\Z", "the file is empty"),
        (rb"GIF8[79]a", "this is a GIF, which is animated"),
        (rb".{4}ftyp(hei|hev|mif1|msf1)", "this is a HEIC photo"),
        (rb".{4}ftypavi[fs]", "this is an AVIF picture"),
        (rb".{4}ftyp(crx )", "this is a camera's raw photo (CR3)"),
        (rb".{4}(ftyp|moov|mdat|wide)|\x1aE\xdf\xa3|RIFF.{4}AVI |\0\0\x01\xba", "this is a video"),
        (rb"RIFF.{4}WAVE|ID3|OggS|fLaC", "this is a sound file"),
        (rb"\xff\x0a|.{4}JXL ", "this is a JPEG XL picture"),
        (rb"\xff\x4f\xff\x51|.{4}jP  ", "this is a JPEG 2000 picture"),
        (rb"%PDF", "this is a PDF document"),
        (rb"%!PS|\xc5\xd0\xd3\xc6", "this is a PostScript document"),
        (rb"8BPS", "this is a Photoshop document"),
        (rb"\0\0[\x01\x02]\0", "this is an icon"),
        (rb"PK\x03\x04|PK\x05\x06", "this is a ZIP archive or an office document"),
        (rb"\x1f\x8b|BZh|7z\xbc\xaf|Rar!|\xfd7zXZ|\x28\xb5\x2f\xfd", "this is an archive"),
        (rb"\x7fELF|MZ", "this is a program"),
        (
            rb"(\xef\xbb\xbf)?\s*(<\?xml.{0,2000}?)?(<!--.{0,2000}?-->\s*)?(<!doctype svg|<svg)",
            "this is an SVG drawing",
        ),
        (rb"(\xef\xbb\xbf)?\s*(<!doctype html|<html|<head|<body)", "this is a web page (HTML)"),
        (rb"(\xef\xbb\xbf)?\s*<\?xml", "this is an XML document"),
        (rb"P[1-7]\s", "this is a Netpbm picture"),
        (rb"[\t\n\r\x20-\x7e]{4,}\Z", "this is text"),
    )
]
_HEAD = 4096  # bytes looked at


def sniff(blob: bytes) -> str:
    """ "jpeg", "png", "webp", "bmp" or "tiff".

    Raises :class:`DecodeError` that names what the file seems to be instead.
    """
    head = blob[:_HEAD]
    for pattern, name in _PICTURES:
        if pattern.match(head):
            return name
    for pattern, name in _OTHERS:
        if pattern.match(head):
            raise DecodeError(f"not a readable picture: {name}")
    raise DecodeError("not a picture: its first bytes belong to no known format")
