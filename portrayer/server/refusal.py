"""What the server refuses and why: errors of its own, their statuses, the JSON that tells them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

from portrayer import errors
from portrayer.errors import CapacityError, InputError, PortrayerError


class InvalidRequest(InputError):
    """The request is not what this address takes."""

    code = "request"


class UploadTooLarge(InputError):
    """More bytes or more files than one request may bring."""

    code = "upload-too-large"
    advice = "send less at once"


class TooSlow(InputError):
    """The client stopped sending, or stopped taking the answer."""

    code = "too-slow"
    advice = "send it again over a faster connection"


class Unauthorized(InputError):
    """The token is missing or is another."""

    code = "unauthorized"
    advice = "send the server's token as X-Api-Key or as Authorization: Bearer"


class Forbidden(InputError):
    """A page of another site, or another name of this machine, speaks to the server."""

    code = "forbidden"


class DiskFull(CapacityError):
    """The server keeps the rest of its disk for the ledger."""

    code = "disk-full"
    advice = "remove old jobs or give the server more room"


STATUS: Mapping[type[PortrayerError], int] = {
    Unauthorized: 401,
    Forbidden: 403,
    TooSlow: 408,
    UploadTooLarge: 413,
    errors.ImageTooLarge: 413,
    errors.DecodeError: 415,
    errors.NoFaceFound: 422,
    errors.KeyReused: 422,
    errors.NotReady: 409,
    errors.OutputError: 507,
    errors.InputError: 400,
    errors.NotFound: 404,
    errors.QueueFull: 429,
    DiskFull: 507,
    errors.DeadlineExceeded: 504,
    errors.CapacityError: 503,
    errors.ModelError: 503,
    errors.PortrayerError: 500,
}
"""The first family that fits decides."""

RETRY_AFTER = 5  # seconds, said with every status in AGAIN
AGAIN = frozenset({429, 503, 504, 507})


def status(error: PortrayerError) -> int:
    """The HTTP status of an error's family."""
    return next(code for family, code in STATUS.items() if isinstance(error, family))


def body(error: PortrayerError) -> dict[str, Any]:
    """``{"errors": [{"title", "code", "detail"}]}``: what happened, its code, what to do."""
    return {"errors": [{"title": error.reason, "code": error.code, "detail": error.advice}]}


def headers(error: PortrayerError) -> dict[str, str]:
    """The headers that go with an error's status."""
    code = status(error)
    again = {"Retry-After": str(RETRY_AFTER)} if code in AGAIN else {}
    return again | ({"WWW-Authenticate": "Bearer"} if code == 401 else {})


def answer(error: PortrayerError) -> JSONResponse:
    """An error as the client reads it."""
    return JSONResponse(body(error), status(error), headers(error))
