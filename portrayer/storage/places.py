"""Places: paths on this machine and URLs, and what is told by their text alone."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

from portrayer.image import files

Place: TypeAlias = str | Path
"""Where a file lies: a URL, or a path."""

WEB = ("http", "https")  # photos only, one by one


def is_url(place: Place) -> bool:
    """Whether it is a URL, of whatever scheme."""
    return isinstance(place, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", place) is not None


def of_web(place: Place) -> bool:
    """Whether it is a photo of the web, which can be read and no more."""
    return scheme_of(place) in WEB


def place(typed: str) -> Place:
    """What a user or the ledger says: a URL as it is, else a path."""
    return typed if is_url(typed) else Path(typed)


def absolute(place: Place) -> Place:
    """The same wherever it is read from."""
    return place if is_url(place) else Path(os.path.abspath(place))


def said(place: Place) -> str:
    """As it is told: of the web without what may be a key to it, behind ``?`` or before ``@``."""
    if scheme_of(place) not in WEB:
        return str(place)
    return re.sub(r"(?<=://)[^/?#]*@", "", str(place)).partition("?")[0]


def name(place: Place) -> str:
    """The last part: a file's name."""
    if scheme_of(place) in WEB:
        parts = urlsplit(str(place))
        return unquote(parts.path).rstrip("/").rpartition("/")[2] or parts.netloc
    return str(place).rstrip("/").rpartition("/")[2] if is_url(place) else Path(place).name


def suffix(place: Place) -> str:
    """The ending of its name, with the dot; "" where it has none."""
    return Path(name(place)).suffix


def parent(place: Place) -> Place:
    """The folder it lies in."""
    if is_url(place):
        return said(place).rstrip("/").rpartition("/")[0]
    return Path(place).parent


def join(root: Place, relative: str) -> Place:
    """A place below ``root``, by its path from there, with ``/``.

    ``relative`` may be a key of a store, which may begin with ``/`` or, on Windows, be no name.
    """
    if is_url(root):
        return f"{str(root).rstrip('/')}/{relative}"
    if os.name == "nt":
        relative = re.sub(r'[<>:"\\|?*]', "_", relative)
    return Path(root) / relative.lstrip("/")


def within(place: Place, root: Place) -> bool:
    """Whether a URL lies below another, or is that; false where one is a path."""
    if not (is_url(place) and is_url(root)) or scheme_of(place) != scheme_of(root):
        return False
    return f"{key_of(place).rstrip('/')}/".startswith(f"{key_of(root).rstrip('/')}/")


def matte_of(place: Place) -> Place:
    """Where the matte lies that is written beside the picture at ``place``."""
    if not is_url(place):
        return files.matte_of(Path(place))
    return join(parent(place), files.matte_of(Path(name(place))).name)


def scheme_of(place: Place) -> str:
    """The scheme of a URL, in lower case; "" of a path."""
    return str(place).partition("://")[0].lower() if is_url(place) else ""


def key_of(place: Place) -> str:
    """Bucket and key, as the stores' packages take them: a URL would be searched for chains."""
    return str(place).partition("://")[2]
