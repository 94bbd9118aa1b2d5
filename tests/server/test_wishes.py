"""Laws of what a form asks for: the ledger keeps it whole, and nothing in it is taken on trust."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from portrayer.errors import InvalidOption
from portrayer.server.refusal import InvalidRequest
from portrayer.server.upload import Form, Upload
from portrayer.server.wishes import wish
from portrayer.settings import Settings
from portrayer.tasks import TASKS, task
from portrayer.tasks.options import Option, essential, options, read

PHOTO = Upload("photo", "me.jpg", Path("/at/000000"), 1, "0" * 64)
DEEP = "[" * 900 + "]" * 900  # about as deep as JSON may be read


def form(*files: Upload, **fields: str) -> Form:
    return Form({name: (value,) for name, value in fields.items()}, files or (PHOTO,))


def value(option: Option) -> st.SearchStrategy[Any]:
    """What an option may be."""
    if option.choices:
        return st.sampled_from(option.choices)
    if option.type is bool:
        return st.booleans()
    if option.type is int:
        return st.integers(int(option.ge or 0), int(option.le or 1000))
    if option.type is float:
        return st.floats(option.ge or 0, option.le or 1)
    return st.sampled_from([option.default, *option.words])


@pytest.mark.parametrize("name", [*TASKS, "enhance+matte", "fuse+enhance+matte"])
@given(st.data())
def test_the_ledger_keeps_options_whole(name: str, drawn: st.DataObject) -> None:
    """What is kept as JSON is read as what was chosen, and says nothing that goes without."""
    cls = task(name).options
    given = {each.name: drawn.draw(value(each)) for each in options(cls)}
    try:
        chosen: Any = read(cls, given)
    except InvalidOption:  # two that do not go together
        assume(False)
    kept = essential(chosen)
    assert read(cls, json.loads(json.dumps(kept))) == chosen
    assert essential(cls()) == {}
    assert kept.keys() <= given.keys()


@pytest.mark.parametrize(
    "steps",
    [
        "[{}]",
        '[{"task": null}]',
        '[{"task": ' + DEEP + "}]",
        '[{"task": "matte", "preset": ' + DEEP + "}]",
        '[{"task": "matte", "options": {"feather": ' + DEEP + "}}]",
        '[{"task": "matte", "more": 1}]',
        "[1]",
        "[",
    ],
)
def test_steps_of_another_kind_are_refused(steps: str) -> None:
    """In one line, however deep they are."""
    with pytest.raises((InvalidRequest, InvalidOption)) as caught:
        wish(form(steps=steps), Settings())
    assert len(str(caught.value)) < 300


def test_a_jobs_name_is_one_line() -> None:
    """Nothing in it turns the text around it, or passes for another line."""
    asked = wish(form(task="matte", name="  a\nb\u202ec\x1b[31m" + "d" * 500), Settings())
    assert asked.name.startswith("abc[31md")
    assert len(asked.name) == 200


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"task": "matte", "steps": "enhance"},
        {"task": "matte", "priority": "10"},
        {"task": "matte", "priority": "1.5"},
        {"task": "matte", "options": "[]"},
    ],
)
def test_what_is_unclear_is_refused(fields: dict[str, str]) -> None:
    """Nothing is guessed."""
    with pytest.raises(InvalidRequest):
        wish(form(**fields), Settings())
