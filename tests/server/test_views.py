"""Laws of what is shown: how a job stands in one word, and nothing of where files lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portrayer.jobs.record import Counts, Failure, Item, Job, State
from portrayer.server.views import item_view, job_view, state

FOLDER = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=12
).filter(lambda name: name not in (".", ".."))
FIELDS = ("total", "queued", "running", "done", "failed", "canceled")


def texts(value: Any) -> list[str]:
    """All text in a value made of JSON's kinds."""
    if isinstance(value, dict):
        return [text for pair in value.items() for each in pair for text in texts(each)]
    if isinstance(value, list):
        return [text for each in value for text in texts(each)]
    return [value] if isinstance(value, str) else []


@given(FOLDER, st.sampled_from(["{}", "{!r}", "{!r} cannot be read: no", "two: {} and {!r}"]))
@pytest.mark.parametrize("part", ["in/000000", "out/000000.png", "out/000000.matte.png", "in/1"])
def test_no_reason_says_where_a_file_lies(part: str, folder: str, form: str) -> None:
    """Whatever the folder is called; the photo is called what its client calls it."""
    root = Path("/srv") / f"portraits {folder}"
    place = root / "jobs" / "j"
    said = form.format(str(place / part), str(place / part))
    item = Item(
        id=1,
        job="j",
        source=str(place / "in/000000"),
        target=str(place / "out/000000.png"),
        signature="",
        state=State.FAILED,
        attempt=1,
        error=Failure("input", said),
        result=None,
        started=1.0,
        finished=2.0,
        label="me.jpg",
    )
    shown = texts(item_view(item).model_dump())
    for path in (str(root), repr(str(root))[1:-1]):
        assert not [text for text in shown if path in text]
    view = item_view(item)
    assert view.error is not None
    assert part != "in/000000" or "me.jpg" in view.error.reason


@given(FOLDER)
@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("matte", {"background": "{}", "feather": 2.0}),
        ("fuse", {"source": "{}", "target-face": "like:{}", "consent": True}),
        ("fuse+matte", {"source": "{}", "fuse.consent": True, "matte.background": "{}"}),
    ],
)
def test_no_option_says_where_a_picture_lies(
    task: str, options: dict[str, Any], folder: str
) -> None:
    """A picture among the options is "(uploaded)"; all else is as it was asked for."""
    path = f"/srv/{folder}/in/000001"

    filled = {
        name: each.format(path) if isinstance(each, str) else each for name, each in options.items()
    }
    job = Job("j", task, filled, 0, 1.0, 1.0)
    shown = job_view(job, Counts()).model_dump()
    assert not [text for text in texts(shown) if path in text]
    plain = {name: each for name, each in options.items() if not isinstance(each, str)}
    assert {name: shown["options"][name] for name in plain} == plain


@given(st.lists(st.sampled_from(list(State)), max_size=6))
def test_one_word_says_how_a_job_stands(states: list[State]) -> None:
    """Open while anything is; then canceled, failed or done by what became of its photos."""
    counts = Counts(len(states), **{each.value: states.count(each) for each in State})
    word = state(counts)
    still = {State.QUEUED, State.RUNNING} & set(states)
    assert (word in ("queued", "running")) == bool(still)
    assert (word == "queued") == (bool(states) and set(states) == {State.QUEUED})
    if states and not still:
        assert (word == "canceled") == (State.CANCELED in states)
        assert (word == "failed") == (set(states) == {State.FAILED})
