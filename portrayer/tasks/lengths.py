"""Texts that say lengths: ``30px``, ``10%``, or several in a row."""

from __future__ import annotations

import re
from collections.abc import Container

from portrayer.errors import InvalidOption
from portrayer.image.placing import Length

_LENGTH = re.compile(r"([0-9]{1,5}(?:\.[0-9]{1,4})?)(px|%|)")


def lengths(
    option: str, text: str, ways: str, *, counts: Container[int], units: Container[str]
) -> tuple[Length, ...]:
    """The lengths in a text, as many as one of ``counts``, each in one of ``units``: px, %, or none
    for %.

    Raises :class:`InvalidOption` that names the option and the ways to say it.
    """
    found = [_LENGTH.fullmatch(word) for word in text.split()]
    said = [(float(each[1]), each[2]) for each in found if each]
    sound = all(unit in units and (unit == "px" or value <= 100) for value, unit in said)
    if len(said) < len(found) or len(found) not in counts or not sound:
        raise InvalidOption(f"{option} is {text!r}: say {ways}")
    return tuple(Length(value, unit != "px") for value, unit in said)
