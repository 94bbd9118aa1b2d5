"""What the server shows of jobs and items, and of itself: the JSON of its answers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from portrayer.jobs.record import Counts, Item, Job, State
from portrayer.tasks import task as find_task
from portrayer.tasks.options import pictures

UPLOADED = "(uploaded)"  # shown for a picture among the options: paths are nobody's business


class Error(BaseModel):
    """One thing that is wrong."""

    title: str = Field(description="what happened, in one line")
    code: str = Field(description="stable, machine-readable")
    detail: str = Field(default="", description="what to do about it")


class Errors(BaseModel):
    """The answer to whatever cannot be done."""

    errors: list[Error]


class JobView(BaseModel):
    """One request for many photos."""

    id: str
    name: str = Field(description="as the client called it")
    task: str
    options: dict[str, Any] = Field(description="those that differ from the defaults")
    priority: int
    state: str = Field(description="queued, running, done (some may have failed), failed, canceled")
    created: float = Field(description="seconds since the epoch")
    total: int
    queued: int
    running: int
    done: int
    failed: int
    canceled: int
    rate: float | None = Field(default=None, description="photos a second, lately")
    eta: float | None = Field(default=None, description="seconds until it is done, at this rate")


class JobList(BaseModel):
    """Jobs, the newest first."""

    jobs: list[JobView]
    next: str | None = Field(description="`before` of the next page; null at the end")


class Failure(BaseModel):
    """Why a photo failed, or was tried again."""

    code: str
    reason: str


class ItemView(BaseModel):
    """One photo of a job."""

    id: int
    job: str
    name: str = Field(description="the client's name of the photo")
    state: str = Field(description="queued, running, done, failed, canceled")
    stage: str | None = Field(default=None, description="of a running one: decode, infer, task ...")
    attempt: int
    error: Failure | None = None
    seconds: float | None = Field(default=None, description="that the last attempt took")
    result: dict[str, Any] | None = Field(
        default=None, description="size, format, faces, device, precision, batch, seconds by stage"
    )


class ItemList(BaseModel):
    """Photos of a job, in the order they came."""

    items: list[ItemView]
    next: int | None = Field(description="`cursor` of the next page; null at the end")


class Photo(BaseModel):
    """A finished photo as JSON, where a client wants JSON."""

    result_b64: str
    format: str
    width: int
    height: int
    device: str
    precision: str
    batch: int
    seconds: dict[str, float]
    faces: list[list[float]] | None = Field(description="boxes: x, y, width, height in pixels")


class ModelView(BaseModel):
    """One value of a task's option that says which network works."""

    option: str
    name: str = Field(description="the option's value")
    licence: str = Field(description="of everything that it takes")
    commercial: bool = Field(description="whether that may be used for money")
    bytes: int = Field(description="about, in all")
    installed: bool
    advice: str = Field(description="which command brings it; empty where it is installed")


class Moved(BaseModel):
    """How many photos a request has moved, and how the job stands now."""

    moved: int
    job: JobView


def state(counts: Counts) -> str:
    """One word for how a job stands."""
    if counts.settled < counts.total:
        return "running" if counts.running or counts.settled else "queued"
    if counts.canceled:
        return "canceled"
    return "failed" if counts.failed == counts.total else "done"


def job_view(
    job: Job, counts: Counts, rate: float | None = None, eta: float | None = None
) -> JobView:
    """A job with its counts; what was uploaded beside the photos is shown by that word alone."""
    row = find_task(job.task)
    own = {name: value for name, value in job.options.items() if name not in row.inputs}
    hidden = {*(job.options.keys() - own.keys()), *pictures(row.options, own)}
    return JobView(
        id=job.id,
        name=job.name,
        task=job.task,
        options={name: UPLOADED if name in hidden else job.options[name] for name in job.options},
        priority=job.priority,
        state=state(counts),
        created=job.created,
        **asdict(counts),
        rate=rate,
        eta=eta,
    )


def item_view(item: Item, stage: str | None = None) -> ItemView:
    """An item as clients see it: nothing of where it lies."""
    return ItemView(
        id=item.id,
        job=item.job,
        name=item.label,
        state=item.state,
        stage=stage if item.state is State.RUNNING else None,
        attempt=item.attempt,
        error=why(item) if item.state is not State.DONE else None,
        seconds=round(item.finished - item.started, 3) if item.finished and item.started else None,
        result=dict(item.result) if item.result else None,
    )


def why(item: Item) -> Failure | None:
    """Why it failed last. What lies where is said in the client's words, or not at all."""
    if item.error is None:
        return None
    source, target = Path(item.source), Path(item.target)
    words = {source: item.label or "photo", target: "result", source.parent: "", target.parent: ""}
    reason = item.error.reason
    for path, word in words.items():
        reason = unplaced(reason, path, word)
    return Failure(code=item.error.code, reason=reason)


def unplaced(text: str, path: Path, word: str = "") -> str:
    """A text that says ``word`` for an absolute path, as that is or as its ``repr`` is."""
    if path.is_absolute() and path.name:
        for said in (str(path), repr(str(path))[1:-1]):
            text = text.replace(said, word)
    return text
