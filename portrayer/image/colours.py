"""Colours by the names that the web gives them."""

from __future__ import annotations

from PIL import ImageColor


def named(name: str) -> str | None:
    """``#rrggbb`` of a CSS colour's name, in any letter case; None for a name of no colour."""
    known = name.strip().lower()
    if known not in ImageColor.colormap:
        return None
    # Asked for, and not looked up: what the table holds of a colour changes with its first use.
    red, green, blue, *_ = ImageColor.getrgb(known)
    return f"#{red:02x}{green:02x}{blue:02x}"
