"""Laws of options: declared once, the same from flags, forms, TOML and Python."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portrayer.errors import InvalidOption
from portrayer.tasks import TASKS
from portrayer.tasks.options import Option, option, options, pictures, read, schema, values

RANGED = [
    pytest.param(task.options, o, id=f"{task.name}-{o.name}")
    for task in TASKS.values()
    for o in options(task.options)
    if o.ge is not None
]


@dataclass(frozen=True)
class Toy:
    """One option of each kind."""

    long_side: int = option(10, "a whole number", ge=0, le=100, unit="px")
    share: float = option(0.5, "a number", ge=0, le=1)
    free: float = option(1.0, "any number")
    colour: str = option("red", "one of a few", choices=("red", "green"))
    name: str = option("x", "any text")
    loud: bool = option(False, "yes or no")


@dataclass(frozen=True)
class Gallery:
    """Options that may name a picture, in both ways."""

    wall: str = option("plain", "behind", words=("plain", "brick"), picture="")
    meant: str = option("all", "who", words=("all",), picture="like:")
    size: int = option(3, "of all", ge=1, le=9)


@dataclass(frozen=True)
class Tour:
    """Options in steps."""

    first: Gallery = Gallery()
    second: Toy = Toy()
    loud: bool = option(False, "its own")


def refused(cls: type, values: dict[str, Any]) -> str:
    """The one line that says no."""
    with pytest.raises(InvalidOption) as caught:
        read(cls, values)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_nothing_given_is_the_defaults() -> None:
    """An empty reading is the dataclass as declared, for every task."""
    assert read(Toy, {}) == Toy()
    for task in TASKS.values():
        assert read(task.options, {}) == task.options()


@given(
    st.integers(0, 100),
    st.floats(0, 1),
    st.sampled_from(["red", "green"]),
    st.booleans(),
    st.text(),
)
def test_text_says_the_same_as_values(
    side: int, share: float, colour: str, loud: bool, name: str
) -> None:
    """Typed values, the text a form sends, hyphens and underscores: one meaning."""
    typed = {"long_side": side, "share": share, "colour": colour, "loud": loud, "name": name}
    text = {
        "long-side": str(side),
        "share": repr(share),
        "colour": colour,
        "loud": "yes" if loud else "off",
        "name": name,
    }
    assert read(Toy, typed) == read(Toy, text) == Toy(side, share, 1.0, colour, name, loud)


@pytest.mark.parametrize("text", ["1", "true", "True", "YES", "on", True, 1])
def test_ways_to_say_yes(text: object) -> None:
    """The usual words, in any case."""
    assert read(Toy, {"loud": text}).loud is True


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("loud", "maybe"),
        ("loud", None),
        ("loud", 2),
        ("long-side", "3.5"),
        ("long-side", 3.5),
        ("long-side", True),
        ("long-side", None),
        ("long-side", ""),
        ("long-side", math.inf),
        ("long-side", math.nan),
        ("long-side", [3]),
        ("name", ["x"]),
        ("name", {"x": 1}),
        ("name", b"x"),
        ("name", ()),
        ("loud", [True]),
        ("share", "half"),
        ("share", math.nan),
        ("share", "nan"),
        ("share", math.inf),
        ("share", "-inf"),
        ("share", True),
        ("share", 10**400),
        ("free", math.nan),
        ("free", math.inf),
        ("free", 10**400),
        ("colour", "blue"),
        ("colour", "Red"),
        ("colour", "red\ngreen"),
        ("colour", None),
    ],
)
def test_a_wrong_value_is_told_in_one_line(name: str, value: object) -> None:
    """The line names the option."""
    assert name in refused(Toy, {name: value})


def test_a_whole_number_may_be_written_as_a_float() -> None:
    """JSON has one kind of number: 3.0 is 3."""
    side = read(Toy, {"long-side": 3.0}).long_side
    assert side == 3
    assert isinstance(side, int)


@pytest.mark.parametrize("name", ["size", "long side", "", "LONG-SIDE", "a\nb", "__class__"])
def test_an_unknown_option_is_told(name: str) -> None:
    """The line names it, and the ones there are."""
    line = refused(Toy, {name: 1})
    assert repr(name) in line
    assert "long-side" in line


@pytest.mark.parametrize(("cls", "o"), RANGED)
def test_both_ends_of_every_range_hold(cls: type, o: Option) -> None:
    """The ends are allowed, the next value beyond either is not, as a number and as text."""
    assert o.ge is not None
    assert o.le is not None
    step = 1 if o.type is int else 1e-6
    for end, beyond in ((o.ge, o.ge - step), (o.le, o.le + step)):
        for shape in (o.type, lambda number: repr(o.type(number))):
            assert getattr(read(cls, {o.name: shape(end)}), o.field) == end
            line = refused(cls, {o.name: shape(beyond)})
            assert o.name in line
            assert f"{o.ge:g} to {o.le:g}" in line


@pytest.mark.parametrize("name", TASKS)
def test_declarations_are_sound(name: str) -> None:
    """Every option has help, a default of its own type within its range or choices."""
    for o in options(TASKS[name].options):
        assert o.help
        assert isinstance(o.default, o.type)
        if o.ge is not None and o.le is not None:
            assert o.ge <= float(str(o.default)) <= o.le
        assert not o.choices or o.default in o.choices
        assert read(TASKS[name].options, {o.name: o.default}) == TASKS[name].options()


def test_the_schema_is_derived() -> None:
    """Types, ranges, units, choices, defaults and help come from the dataclass; nothing else may be
    given."""
    derived = schema(Toy)
    assert derived["type"] == "object"
    assert derived["additionalProperties"] is False
    assert derived["properties"] == {
        "long-side": {
            "type": "integer",
            "default": 10,
            "description": "a whole number",
            "minimum": 0,
            "maximum": 100,
            "unit": "px",
        },
        "share": {
            "type": "number",
            "default": 0.5,
            "description": "a number",
            "minimum": 0,
            "maximum": 1,
        },
        "free": {"type": "number", "default": 1.0, "description": "any number"},
        "colour": {
            "type": "string",
            "default": "red",
            "description": "one of a few",
            "enum": ["red", "green"],
        },
        "name": {"type": "string", "default": "x", "description": "any text"},
        "loud": {"type": "boolean", "default": False, "description": "yes or no"},
    }


def test_options_are_values() -> None:
    """Two equal readings are equal and hash alike; none can be changed."""
    for task in TASKS.values():
        one, other = read(task.options, {}), read(task.options, {})
        assert hash(one) == hash(other)
        with pytest.raises(AttributeError):
            one.format = "webp"


def test_what_was_read_can_be_read_again() -> None:
    """Every option by its name, steps and all, is the same dataclass once more."""
    given = {"first": {"size": 4, "wall": "x.png"}, "second.share": 0.25, "loud": True}
    for cls, own in ((Toy, {"loud": True}), (Gallery, {"size": 4}), (Tour, given)):
        chosen = read(cls, own)
        assert read(cls, values(chosen)) == chosen
        assert list(values(chosen)) == [o.name for o in options(cls)]


def test_steps_have_options_of_their_own() -> None:
    """As a mapping or with dots, the later word counts; hyphens or underscores."""
    meant = Tour(Gallery(size=4), Toy(long_side=7, loud=True))
    for said in (
        {"first": {"size": 4}, "second": {"long-side": 7, "loud": "yes"}},
        {"first.size": "4", "second.long_side": 7, "second.loud": True},
        {"first": {"size": 9}, "second": {"loud": 1}, "first.size": 4, "second.long-side": 7},
    ):
        assert read(Tour, said) == meant
    assert read(Tour, {"loud": True}) == Tour(loud=True)
    assert refused(Tour, {"second": {"share": 2}}) == "second: share is 2, it can be 0 to 1"
    assert refused(Tour, {"third": {}}).endswith("(there are: loud, first, second)")
    assert refused(Tour, {"first.second.size": 1}).startswith("first: no option")
    for wrong in (None, 3, "plain", ["size"]):
        assert refused(Tour, {"first": wrong}) == "first takes options by their names"


def test_the_schema_of_steps_is_nested() -> None:
    """Each step is an object of its own."""
    derived = schema(Tour)["properties"]
    assert derived["first"] == schema(Gallery)
    assert derived["second"] == schema(Toy)
    assert derived["loud"]["type"] == "boolean"


def test_the_schema_tells_where_a_picture_may_be() -> None:
    """``picture`` beside the words: true, or what stands before its path."""
    derived = schema(Gallery)["properties"]
    assert derived["wall"]["picture"] is True
    assert derived["wall"]["examples"] == ["plain", "brick"]
    assert derived["meant"]["picture"] == "like:"
    assert "picture" not in derived["size"]


PATHS = ["/etc/passwd", "a.png", "Plain", " plain", "", "..", "~/x", "5", "none\n", "\0", "like:x"]


@pytest.mark.parametrize("path", PATHS)
def test_whatever_is_no_word_is_a_path(path: str) -> None:
    """After the text that stands before it; the disk is not asked, so nothing is told of it."""
    wall, meant, size = options(Gallery)
    assert wall.path(path) == path
    assert meant.path(f"like:{path}") == path
    assert size.path(path) is None
    for word in ("plain", "brick", "#", "#/etc/passwd"):
        assert wall.path(word) is None
    for word in ("all", "2", "Like:x", " like:x", "#like:x"):
        assert meant.path(word) is None


@given(st.text(), st.sampled_from(["wall", "meant"]))
def test_what_is_read_is_what_was_asked_about(text: str, name: str) -> None:
    """Whether values name a picture is the same before they are read and after."""
    chosen = read(Gallery, {name: text})
    assert pictures(Gallery, {name: text}) == pictures(Gallery, values(chosen))
    assert pictures(Tour, {"first": {name: text}}) == {
        f"first.{option}": path for option, path in pictures(Gallery, {name: text}).items()
    }


def test_pictures_are_found_however_they_are_said() -> None:
    """Nested, dotted, as a number or a path object; under the option's own name."""
    assert pictures(Gallery, {"wall": 5, "meant": "like:b", "size": 2}) == {
        "wall": "5",
        "meant": "b",
    }
    assert pictures(Gallery, {"wall": Path("c")}) == {"wall": "c"}
    assert pictures(Tour, {"first.wall": "a", "second": {"name": "b"}}) == {"first.wall": "a"}
    assert pictures(Tour, {"first": {"wall": "brick"}, "first.wall": "a"}) == {"first.wall": "a"}
    assert pictures(Gallery, {"preset": "x", "walls": "y"}) == {}
    nested: Any = []
    for _ in range(5000):
        nested = [nested]
    for values_ in ({"wall": ["a"]}, {"wall": {"a": 1}}, {"wall": nested}):
        with pytest.raises(InvalidOption, match="wall takes one value"):
            pictures(Gallery, values_)
        with pytest.raises(InvalidOption, match="wall takes one value"):
            read(Gallery, values_)


def test_the_tasks_know_their_pictures() -> None:
    """A background and the face to look for are files that a caller may name; nothing else is."""
    found = {
        (task.name, o.name): o.picture
        for task in TASKS.values()
        for o in options(task.options)
        if o.picture is not None
    }
    assert found == {("matte", "background"): "", ("fuse", "target-face"): "like:"}
    for task in TASKS.values():
        assert pictures(task.options, values(task.options())) == {}
        for o in options(task.options):
            for word in o.words:
                assert o.path(word) is None
                read(task.options, {o.name: word})
