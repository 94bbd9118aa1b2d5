"""What there is to choose from, as a page needs it to draw its controls."""

from __future__ import annotations

from pathlib import Path

import pytest

from portrayer.image import codec
from portrayer.models.catalog import spec
from portrayer.server.catalogue import models
from portrayer.tasks import TASKS
from portrayer.tasks.cutting import CUTTERS
from tests.tasks import stubs

from .running import Running
from .test_photos import refused


def test_every_task_with_its_options_and_presets(server: Running) -> None:
    """What the answer says of a task can be sent back for it."""
    told = server.client.get("/v1/tasks").json()
    assert [each["name"] for each in told] == list(TASKS)
    for each in told:
        assert each["inputs"] == list(TASKS[each["name"]].inputs)
        assert "format" in each["options"]["properties"]
    assert "id-photo" in {preset["name"] for preset in told[0]["presets"]}


def test_every_task_tells_its_models(server: Running) -> None:
    """For each option that chooses one, all that the schema lists: licence, size, whether it may
    earn money, whether it is here, and what brings it where it is not.
    """
    for each in server.client.get("/v1/tasks").json():
        rules = each["options"]["properties"]
        told = {(model["option"], model["name"]): model for model in each["models"]}
        assert len(told) == len(each["models"])
        assert {option for option, _ in told} == {"model", "detector"} & set(rules)
        for option in {option for option, _ in told}:
            assert [name for of, name in told if of == option] == rules[option]["enum"]
            assert told[option, rules[option]["default"]]["installed"]
        for (_, name), model in told.items():
            assert model["licence"]
            assert model["bytes"] > 0
            assert (model["advice"] == "") is model["installed"]
            if not model["installed"]:
                assert f"`portrayer models pull {name}` brings it" in model["advice"]
    cutters = {model["name"]: model for model in told_of(server, "matte")}
    assert list(cutters) == list(CUTTERS)
    assert cutters["birefnet-portrait"]["licence"] == spec("birefnet-portrait").weights.licence
    restorers = {model["name"]: model for model in told_of(server, "enhance")}
    assert not restorers["gpen-512"]["commercial"]
    assert restorers["gfpgan-1.4"]["commercial"]


def told_of(server: Running, task: str) -> list[dict[str, object]]:
    """The models of one task."""
    listed = server.client.get("/v1/tasks").json()
    return next(each["models"] for each in listed if each["name"] == task)


@pytest.mark.parametrize(("task", "name"), [("matte", "u2net"), ("fuse", "ghost")])
def test_what_is_not_here_is_not_fetched(server: Running, task: str, name: str) -> None:
    """It is refused before anything is queued, in the line that says what brings it."""
    [model] = [each for each in told_of(server, task) if each["name"] == name]
    fields = {"model": name, "consent": "yes"} if task == "fuse" else {"model": name}
    files = dict.fromkeys(TASKS[task].inputs, b"any")
    answer = server.client.post(f"/v1/{task}", data=fields, files=files)
    refusal = refused(answer, 409)
    assert (refusal["code"], refusal["title"]) == ("not-ready", model["advice"])


def test_ones_own_models_are_told_too(tmp_path: Path) -> None:
    """Behind the published ones, for the task that they are for."""
    stubs.own(tmp_path, "hairy", "modnet")
    *_, mine = models(TASKS["matte"], tmp_path)
    assert (mine["name"], mine["installed"]) == ("hairy", True)
    assert mine["bytes"] == (tmp_path / "hairy.onnx").stat().st_size
    assert all(model["name"] != "hairy" for model in models(TASKS["enhance"], tmp_path))


def test_portraits_to_try_things_on(server: Running) -> None:
    """Each is a picture; what is not there is not found."""
    names = server.client.get("/v1/samples").json()
    assert len(names) == 2
    for name in names:
        answer = server.client.get(f"/v1/samples/{name}")
        assert answer.headers["content-type"] == f"image/{codec.probe(answer.content).format}"
    assert refused(server.client.get("/v1/samples/mona"), 404)["code"] == "not-found"
