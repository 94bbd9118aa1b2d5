"""Laws of colours by name."""

from __future__ import annotations

import re

import pytest
from PIL import Image as Pillow
from PIL import ImageColor

from portrayer.image.colours import named


@pytest.mark.parametrize(
    ("name", "digits"),
    [("white", "#ffffff"), ("RebeccaPurple", "#663399"), (" red ", "#ff0000"), ("", None)],
)
def test_what_a_name_means(name: str, digits: str | None) -> None:
    """In any letter case; what names no colour is None."""
    assert named(name) == digits


@pytest.mark.parametrize("text", ["#fff", "rgb(1, 2, 3)", "hsl(0, 100%, 50%)", "mauvish"])
def test_what_is_no_name(text: str) -> None:
    """Pillow knows other ways to say a colour, which are no names."""
    assert named(text) is None


def test_a_name_means_the_same_whoever_has_used_it() -> None:
    """Pillow writes another form of a colour into its own table once it has read it."""
    for name in [*ImageColor.colormap]:
        before = named(name)
        Pillow.new("RGB", (1, 1), name)
        assert named(name) == before
        assert before is not None
        assert re.fullmatch("#[0-9a-f]{6}", before)
