"""What a request asks for: from the fields of a form to a task, its options and its photos."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from portrayer.errors import InvalidOption, ModelError, NotReady
from portrayer.models.catalog import spec
from portrayer.models.weights import locate
from portrayer.server.refusal import InvalidRequest
from portrayer.server.upload import UNSEEN, Form, Upload
from portrayer.settings import Settings
from portrayer.tasks import presets, task
from portrayer.tasks.chain import AND
from portrayer.tasks.choosing import needed
from portrayer.tasks.options import essential, options, pictures, read, values
from portrayer.tasks.task import Task

PHOTO = ("files", "file", "photo", "image", "")  # what the last input may be called as well
OWN = frozenset({"task", "steps", "options", "preset", "priority", "name"})


@dataclass(frozen=True, slots=True)
class Wish:
    """A task with options that have been checked, and what was uploaded for it.

    ``values``: the options as the ledger keeps them, ``chosen``: as the task's dataclass.
    ``beside``: the inputs before the last, by name. ``photos``: one for each result.
    """

    task: Task
    values: Mapping[str, Any]
    chosen: Any
    beside: Mapping[str, Upload]
    photos: Sequence[Upload]
    name: str
    priority: int

    @property
    def wish(self) -> dict[str, Any]:
        """The options of its job: the task's own, and where the inputs beside lie."""
        return {**self.values, **{name: str(file.path) for name, file in self.beside.items()}}


def wish(form: Form, settings: Settings, name: str = "") -> Wish:
    """What a form asks for; ``name``: the task, where the address says it.

    Raises :class:`InvalidRequest`, :class:`InvalidOption` and ``UnknownTask``. No value of a client
    is taken for a path: a picture comes as a file.
    """
    steps = list(_steps(form))
    if not name and bool(steps) == ("task" in form.fields):
        raise InvalidRequest("say task, or steps: one of them")
    if name and (steps or "task" in form.fields):
        raise InvalidRequest("the address says the task: send neither task nor steps")
    row = task(AND.join(step for step, _ in steps) or name or _one(form, "task"))
    given = _values(form, steps)
    for option in pictures(row.options, given):
        raise InvalidOption(f"{option} names no picture here: send it as the file field {option!r}")
    files = _files(form, row)
    full = presets.chosen(row.name, given, _one(form, "preset"), settings.presets)
    for option, before in _picture_options(row).items():
        if option in files:
            full[option] = before + str(_single(files, option).path)
    chosen = read(row.options, full)
    _ready(chosen, settings)
    *earlier, last = row.inputs
    beside = {each: _single(files, each) for each in earlier}
    photos = [upload for each in dict.fromkeys((last, *PHOTO)) for upload in files.get(each, ())]
    if not photos:
        raise InvalidRequest(f"no photo was sent: send it as the file field {last!r}")
    kept = essential(chosen)
    called = UNSEEN.sub("", _one(form, "name")).strip()[:200]
    return Wish(row, kept, chosen, beside, photos, called, _priority(form))


def file_fields(row: Task) -> list[str]:
    """The names under which a task takes files, the last input's own first."""
    *earlier, last = row.inputs
    return [last, *earlier, *_picture_options(row)]


def _one(form: Form, name: str) -> str:
    values = form.fields.get(name, ("",))
    if len(values) > 1:
        raise InvalidRequest(f"{name} was sent {len(values)} times: send it once")
    return values[0]


def _priority(form: Form) -> int:
    text = _one(form, "priority") or "0"
    try:
        priority = int(text)
    except ValueError:
        priority = 100
    if not -9 <= priority <= 9:
        raise InvalidRequest(f"priority is {text[:40]!r}: a whole number from -9 to 9, 0 is usual")
    return priority


def _steps(form: Form) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """``fuse,enhance``, or a JSON list of names and of {"task", "options", "preset"}."""
    said = form.fields.get("steps", ())
    listed: list[Any] = []
    for text in said:
        listed += _json(text, "steps") if text.lstrip().startswith("[") else text.split(",")
    for step in listed:
        row = {"task": step} if isinstance(step, str) else step
        known = isinstance(row, dict) and set(row) <= {"task", "options", "preset"}
        if not known or not isinstance(row.get("task"), str):
            raise InvalidRequest("a step is a task's name, or an object of task, options, preset")
        own = row.get("options", {})
        if not isinstance(own, dict):
            raise InvalidRequest("a step's options are a JSON object")
        preset = {"preset": row["preset"]} if "preset" in row else {}
        yield row["task"].strip(), {**own, **preset}


def _values(form: Form, steps: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """The options that a client gives: as JSON, by step, or each as a field of its own."""
    text = _one(form, "options")
    given = _json(text, "options") if text.strip() else {}
    if not isinstance(given, dict):
        raise InvalidRequest("options is a JSON object")
    found: dict[str, Any] = dict(given)
    for step, own in steps:
        before = f"{step}." if len(steps) > 1 else ""
        found |= {f"{before}{name}": value for name, value in own.items()}
    return found | {name: _one(form, name) for name in form.fields.keys() - OWN}


def _json(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"{name} is not valid JSON: {error}") from error


def _files(form: Form, row: Task) -> Mapping[str, Sequence[Upload]]:
    files: dict[str, list[Upload]] = {}
    known = {*file_fields(row), *PHOTO}
    for upload in form.files:
        field = upload.field.replace("_", "-")
        if field not in known:
            there = ", ".join(file_fields(row))
            raise InvalidRequest(f"no file is called {field[:80]!r} (there are: {there})")
        files.setdefault(field, []).append(upload)
    return files


def _single(files: Mapping[str, Sequence[Upload]], name: str) -> Upload:
    found = files.get(name, ())
    if len(found) != 1:
        raise InvalidRequest(f"send one {name} as the file field {name!r}, not {len(found)}")
    return found[0]


def _picture_options(row: Task) -> dict[str, str]:
    """The options that may be a picture, and what stands before its path in their value."""
    return {o.name: o.picture for o in options(row.options) if o.picture is not None}


def _ready(chosen: Any, settings: Settings) -> None:
    """Told before anything is queued: consent that is missing, a model that is not installed."""
    for name, value in values(chosen).items():
        if name.rpartition(".")[2] == "consent" and not value:
            what = "which says that you have the right to use these faces"
            raise InvalidOption(f"consent is missing: send {name}=true, {what}")
    for model in needed(chosen):
        try:
            locate(spec(model, settings.models).weights)
        except ModelError as error:
            raise NotReady(error.reason) from error
