"""What went wrong at a place, in this program's own errors: every store has a tree of its own."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from portrayer.errors import CapacityError, InputError, PortrayerError
from portrayer.storage.places import Place, key_of, said, scheme_of

CREDENTIALS = {
    "s3": "run `aws configure`, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "run `gcloud auth application-default login`",
    "az": "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}

# In the name of an error's class; the later ones are of an answer that broke off.
_PASSING = re.compile("Timeout|Connect|gaierror|Incomplete|Payload|Streaming|ServiceRe")
_ANONYMOUS = re.compile("Credential|Authentication")


@contextmanager
def told(place: Place, verb: str, family: type[InputError]) -> Iterator[None]:
    """Raise ``family`` for what says something of the place, CapacityError for what will pass."""
    try:
        yield
    except PortrayerError:
        raise
    except Exception as error:
        line = f"{said(place)!r} cannot be {verb}"
        if _passing(error):
            line = f"{line} now: {_line(error)}: check the network and try again"
            raise CapacityError(line) from error
        raise family(f"{line}: {_reason(place, error)}") from error


def _passing(error: Exception) -> bool:
    """Whether it says nothing of the place: the network, or a store that is busy."""
    code = getattr(error, "code", None)
    if isinstance(code, int):
        return code == 429 or code >= 500
    if getattr(error, "errno", None) in (errno.EBUSY, errno.ECONNRESET):
        return True
    reason = getattr(error, "reason", None)  # what urllib wraps
    kinds = {kind.__name__ for each in (error, reason) for kind in type(each).__mro__}
    return any(_PASSING.search(kind) for kind in kinds)


def _reason(place: Place, error: Exception) -> str:
    scheme = scheme_of(place)
    if not scheme:  # a file: the system says it well
        return _line(error)
    code = getattr(error, "code", None)
    if isinstance(error, FileNotFoundError) or code in (404, 410):
        said_of_it = str(error).replace(key_of(place).rstrip("/"), "")  # names may say anything
        bucket = re.search("bucket|container", said_of_it, re.IGNORECASE)
        return "there is no such bucket" if bucket else "it does not exist"
    if isinstance(error, PermissionError) or code in (401, 403):
        return f"no permission ({_line(error)})"
    if _ANONYMOUS.search(type(error).__name__):
        return f"no credentials: {CREDENTIALS.get(scheme, _line(error))}"
    return _line(error)


def _line(error: Exception) -> str:
    """What it says, in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0]
