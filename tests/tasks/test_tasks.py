"""Laws of the table of tasks."""

from __future__ import annotations

import dataclasses
import json

import pytest

from portrayer.errors import UnknownTask
from portrayer.models.catalog import CATALOG
from portrayer.tasks import TASKS, describe, task
from portrayer.tasks.options import schema
from portrayer.tasks.presets import PRESETS
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


def test_the_tasks_are_described_as_json() -> None:
    """Every task with what it takes and gives, every preset once, one's own in place of others; and
    no path of the machine.
    """
    behind = {"background": "/srv/garden.jpg", "erode": 1}
    own = {
        "garden": {"task": "matte", "options": behind, "help": "x"},
        "social": {"task": "enhance", "options": {"strength": 9}},
    }
    told = json.loads(json.dumps(describe(own)))
    assert [row["name"] for row in told] == list(TASKS)
    presets = {preset["name"]: preset for row in told for preset in row["presets"]}
    assert set(presets) == {*PRESETS, "garden"}
    assert presets["garden"] == {"name": "garden", "help": "x", "options": {"erode": 1}}
    assert presets["social"]["options"] == {"strength": 9}
    for row in told:
        known = TASKS[row["name"]]
        assert row["inputs"] == list(known.inputs)
        assert row["help"] == known.help
        assert row["options"] == json.loads(json.dumps(schema(known.options)))
        assert row["formats"] == row["options"]["properties"]["format"]["enum"]
        for preset in row["presets"]:
            assert own.get(preset["name"], {}).get("task", row["name"]) == row["name"]
            assert set(preset["options"]) <= set(row["options"]["properties"])
    assert describe()[0]["presets"][0]["name"] == "id-photo"
