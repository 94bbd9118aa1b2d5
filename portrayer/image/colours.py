"""Colours by the names that the web gives them."""

from __future__ import annotations

from PIL import ImageColor


def named(name: str) -> str | None:
    """``#rrggbb`` of a CSS colour's name, in any letter case; None for a name of no colour."""
    found = ImageColor.colormap.get(name.strip().lower())
    return found if isinstance(found, str) else None
