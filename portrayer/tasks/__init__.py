"""The tasks: a fourth is one file here and one line in ``TASKS``."""

from __future__ import annotations

from collections.abc import Mapping

from portrayer.errors import UnknownTask
from portrayer.tasks import enhancement, fusion, matting
from portrayer.tasks.task import Task

TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
        Task(
            "matte",
            "Cut people out of photos",
            ("photo",),
            (matting.MODEL,),
            matting.Matting,
            matting.run,
            matting.memory,
        ),
        Task(
            "enhance",
            "Restore old, blurred, noisy or over-compressed portraits",
            ("photo",),
            enhancement.MODELS,
            enhancement.Enhancement,
            enhancement.run,
            enhancement.memory,
        ),
        Task(
            "fuse",
            "Fuse a source's face into target photos",
            ("source", "target"),
            fusion.MODELS,
            fusion.Fusion,
            fusion.run,
            fusion.memory,
        ),
    )
}


def task(name: str) -> Task:
    """The task of this name; :class:`UnknownTask` names the ones there are."""
    try:
        return TASKS[name]
    except KeyError:
        raise UnknownTask(f"no task is called {name!r} (there are: {', '.join(TASKS)})") from None
