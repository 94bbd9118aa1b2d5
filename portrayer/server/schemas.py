"""What requests are made of, for the OpenAPI document: derived from the table of tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from portrayer.server.refusal import STATUS
from portrayer.server.views import Errors
from portrayer.server.wishes import PHOTO, file_fields
from portrayer.tasks import TASKS
from portrayer.tasks.options import schema
from portrayer.tasks.task import Task

FILE = {"type": "string", "contentMediaType": "application/octet-stream", "format": "binary"}
KEY = "Idempotency-Key"
HEADERS: Mapping[str, str] = {
    "Prefer": "respond-async for a job; wait=5 for an answer within so many seconds",
    KEY: "1 to 255 characters: the same request sent again makes no second job",
}
READABLE = ("jpeg", "png", "webp", "bmp", "tiff")
MEANING: Mapping[int, str] = {
    400: "The request is wrong; `errors` say what and what to do",
    401: "The token is missing or is another",
    403: "From another site",
    404: "There is no such thing",
    408: "The client was too slow",
    409: "Not there yet, or not any more; a model that is not installed",
    413: "Too many bytes, files or pixels",
    415: "Not a photo that can be read",
    422: "No face in the photo, or a key that was used for another request",
    429: "Too much is waiting; Retry-After says when to come again",
    503: "Not now: the models are being loaded, or memory is short",
    504: "Not done in the time that it may take",
    507: "The server's disk is full",
}
assert set(MEANING) == set(STATUS.values()) - {500}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route that may refuse with these; 401 and 403 always may."""
    return {
        code: {"model": Errors, "description": MEANING[code]}
        for code in sorted({401, 403, *statuses})
    }


UPLOAD = (400, 408, 409, 413, 415, 422, 429, 503, 504, 507)


def body(row: Task | None, *, chain: bool = False, several: bool = False) -> dict[str, Any]:
    """``openapi_extra`` of a route that takes a form: of one task, of a chain, or (None) of any.

    ``several``: whether it takes many photos.
    """
    rows = [row] if row else list(TASKS.values())
    files = dict.fromkeys(name for each in rows for name in file_fields(each))
    properties: dict[str, Any] = {}
    if several:
        properties["files"] = {
            "type": "array",
            "items": FILE,
            "description": "the photos, many times",
        }
    for name in files:
        if several and name in _last(rows):
            continue
        properties[name] = FILE | {"description": f"{name}: one picture"}
    if row is None and not chain:
        properties["task"] = {"type": "string", "description": f"one of {', '.join(TASKS)}"}
    if row is None:
        properties["steps"] = {
            "type": "string",
            "description": "tasks one after the other, nothing encoded in between: "
            'fuse,enhance,matte or JSON: [{"task": ..., "options": {}, "preset": ...}]',
        }
    if several:
        properties["priority"] = {"type": "integer", "minimum": -9, "maximum": 9, "default": 0}
        properties["name"] = {"type": "string", "maxLength": 200, "description": "of the job"}
    properties["preset"] = {"type": "string", "description": "a named set of options"}
    properties["options"] = {
        "type": "string",
        "contentMediaType": "application/json",
        "description": "a JSON object of options, as GET /v1/tasks lists them",
    }
    if row is not None:
        own = schema(row.options)["properties"]
        properties |= {name: rule for name, rule in own.items() if name not in properties}
    form = {"type": "object", "properties": properties, "additionalProperties": row is None}
    required = ["files"] if several else ["steps"] if row is None else list(row.inputs)
    form["required"] = [*required, *(["consent"] if "consent" in properties else [])]
    example: dict[str, Any] = {name: f"{name}.jpg" for name in required if name in files}
    example |= {"files": ["one.jpg", "two.jpg"], "task": "matte"} if several else {}
    example |= {"steps": "enhance,matte", "photo": "photo.jpg"} if chain else {}
    example |= {"consent": True} if "consent" in properties else {}
    content: dict[str, Any] = {"multipart/form-data": {"schema": form, "example": example}}
    if row is not None and len(row.inputs) == 1:
        content |= {f"image/{kind}": {"schema": FILE} for kind in READABLE}
    headers = [_header(name, said) for name, said in HEADERS.items() if several or name != KEY]
    return {"requestBody": {"required": True, "content": content}, "parameters": headers}


def _header(name: str, said: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "description": said, "schema": {"type": "string"}}


def _last(rows: Iterable[Task]) -> set[str]:
    return {row.inputs[-1] for row in rows} | set(PHOTO)
