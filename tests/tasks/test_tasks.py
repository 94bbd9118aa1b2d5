"""Laws of the table of tasks."""

from __future__ import annotations

import dataclasses

import pytest

from portrayer.errors import UnknownTask
from portrayer.models.catalog import CATALOG
from portrayer.tasks import TASKS, task
from portrayer.tasks.task import Encoding


@pytest.mark.parametrize("name", TASKS)
def test_every_row_is_whole(name: str) -> None:
    """A task is found by its name; its models are in the catalogue; its options are frozen and
    include those of every file that is written."""
    row = task(name)
    assert row.name == name
    assert row.help
    assert row.inputs
    assert set(row.models) <= set(CATALOG)
    assert issubclass(row.options, Encoding)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(row.options(), "quality", 3)  # noqa: B010, mypy knows that it cannot be set


@pytest.mark.parametrize("name", TASKS)
def test_memory_grows_with_the_photo(name: str) -> None:
    """More pixels never need less memory, and none need none."""
    row = task(name)
    needs = [row.memory(row.options(), n) for n in (1, 10**3, 10**6, 64 * 10**6)]
    assert needs == sorted(needs)
    assert needs[0] > 0
    assert needs[-1] >= 7 * 64 * 10**6  # the photo and a float matte at the very least


def test_an_unknown_task_is_told() -> None:
    """In one line, with the ones there are."""
    with pytest.raises(UnknownTask) as caught:
        task("juggle")
    assert "'juggle'" in str(caught.value)
    assert "matte" in str(caught.value)
