"""Laws of texts that say lengths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portrayer.errors import InvalidOption
from portrayer.image.placing import Length
from portrayer.tasks.lengths import lengths

WORDS = st.tuples(st.integers(0, 100), st.sampled_from(["px", "%", ""]))


@given(st.lists(WORDS, min_size=1, max_size=5), st.sampled_from([" ", "  ", "\t"]))
def test_what_is_written_is_what_is_read(said: list[tuple[int, str]], between: str) -> None:
    """Any number of them, each in its own unit; a bare number is a share."""
    text = between.join(f"{value}{unit}" for value, unit in said)
    found = lengths("room", text, "", counts={len(said)}, units={"px", "%", ""})
    assert found == tuple(Length(value, unit != "px") for value, unit in said)


def test_fractions() -> None:
    """Of pixels and of shares."""
    assert lengths("room", "0.5px 12.25%", "", counts={2}, units={"px", "%"}) == (
        Length(0.5, False),
        Length(12.25, True),
    )


WRONG = """5|5em|-5px|+5px|5 px|101%|1e3px|nan%|infpx|٣px|5px,5px|5px 5px|5.px|.5px|100.0001%
|123456px|5PX|5px\n5px|5px;||  |%|px"""


@pytest.mark.parametrize("text", [*WRONG.split("|"), "9" * 5000])
def test_anything_else_is_told(text: str) -> None:
    """In one line, with the option, what was said and how to say it."""
    with pytest.raises(InvalidOption) as caught:
        lengths("room", text, "one of 5px and 10%", counts={1}, units={"px", "%"})
    line = str(caught.value)
    assert line == f"room is {text!r}: say one of 5px and 10%"


@given(st.text(max_size=12))
def test_no_text_is_too_odd(text: str) -> None:
    """Read, or refused; nothing else."""
    try:
        lengths("room", text, "", counts={1, 2, 4}, units={"px", "%", ""})
    except InvalidOption:
        return
    assert text.split()
    assert set("".join(text.split())) <= set("0123456789.px%")
