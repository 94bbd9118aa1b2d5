"""The tasks: a fourth is one file here and one line in ``TASKS``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from portrayer.errors import UnknownTask
from portrayer.tasks import enhancement, fusion, matting, options
from portrayer.tasks.chain import AND, chain
from portrayer.tasks.task import Task

TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
        Task(
            "matte",
            "Cut people out of photos",
            ("photo",),
            matting.MODELS,
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
    """The task of this name; of several names, ``fuse+enhance+matte``, the chain of them.

    :class:`UnknownTask` names the tasks there are; see :func:`chain` for what makes none.
    """
    return _chained(name) if AND in name else _row(name)


def describe(own_presets: Mapping[str, Mapping[str, Any]] | None = None) -> list[dict[str, Any]]:
    """Every task with its inputs, options, presets and formats, as JSON has it.

    ``own_presets``: beside the built-in ones; the paths of pictures that they name are left out.
    """
    from portrayer.tasks import presets  # here: it brings the settings, which --help does not need

    own = own_presets or {}
    sets = {name: presets.preset(name, own) for name in {**presets.PRESETS, **own}}

    def shown(row: Task, name: str) -> dict[str, Any]:
        preset = sets[name]
        hidden = options.pictures(row.options, preset.options)
        told = {name: value for name, value in preset.options.items() if name not in hidden}
        return {"name": name, "help": preset.help, "options": told}

    return [
        {
            "name": row.name,
            "help": row.help,
            "inputs": list(row.inputs),
            "options": options.schema(row.options),
            "presets": [shown(row, name) for name in sets if sets[name].task == row.name],
            "formats": [
                each
                for o in options.options(row.options)
                if o.name == "format"
                for each in o.choices
            ],
        }
        for row in TASKS.values()
    ]


@lru_cache(maxsize=64)
def _chained(name: str) -> Task:
    """Made once: its option dataclass is the same for all who ask."""
    return chain([_row(step) for step in name.split(AND)])


def _row(name: str) -> Task:
    try:
        return TASKS[name]
    except KeyError:
        raise UnknownTask(f"no task is called {name!r} (there are: {', '.join(TASKS)})") from None
