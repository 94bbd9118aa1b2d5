"""What there is to choose from, as a page needs it to draw its controls."""

from __future__ import annotations

from portrayer.image import codec
from portrayer.tasks import TASKS

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


def test_portraits_to_try_things_on(server: Running) -> None:
    """Each is a picture; what is not there is not found."""
    names = server.client.get("/v1/samples").json()
    assert len(names) == 2
    for name in names:
        answer = server.client.get(f"/v1/samples/{name}")
        assert answer.headers["content-type"] == f"image/{codec.probe(answer.content).format}"
    assert refused(server.client.get("/v1/samples/mona"), 404)["code"] == "not-found"
