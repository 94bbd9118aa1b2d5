"""What the process says of itself: lines on stderr, one shape for all of them, each with the ids
of the request, the job and the item that it is about.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime

REQUEST: ContextVar[str] = ContextVar("request", default="")
JOB: ContextVar[str] = ContextVar("job", default="")
ITEM: ContextVar[str] = ContextVar("item", default="")
"""What the work in this context is for; empty where it is for none."""

IDS = (REQUEST, JOB, ITEM)

# What every record has, or uvicorn gives it for a terminal: not what a caller wanted to add.
OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
OWN |= {"color_message"}

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
"""All but tab and line feed: a file's name may hold what turns a terminal's letters around."""


class Lines(logging.Formatter):
    """A record as JSON: one object, one line, ASCII.

    ``time`` (ISO 8601, UTC, milliseconds), ``level``, ``logger``, ``message``, then ``request``,
    ``job``, ``item`` and ``exception`` where there are such, then what was given as ``extra``.
    Never raises: what is no JSON is written as text.
    """

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
        }
        line |= _ids()
        if trace := _trace(self, record):
            line["exception"] = trace
        for name, value in _extra(record):
            line.setdefault(_text(name), _value(value))
        return json.dumps(line)


class Plain(logging.Formatter):
    """A record for a person at a terminal: ``17:03:01 INFO message job=1f3a item=7``.

    Local time. Further lines, such as a traceback's, are indented, so that no text in a message
    can pass for a line of its own. Never raises.
    """

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        pairs = _ids() | {name: _text(value) for name, value in _extra(record)}
        said = (f"{name}={value}" for name, value in pairs.items())
        line = " ".join((time, record.levelname, _message(record), *said))
        text = "\n".join(filter(None, (line, _trace(self, record))))
        return CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text).replace("\n", "\n  ")


FORMS: Mapping[str, type[logging.Formatter]] = {"json": Lines, "plain": Plain}


def set_up(form: str = "auto", level: str = "info") -> None:
    """Everything the process logs goes to stderr in this ``form``: "json", "plain", or "auto":
    plain where stderr is a terminal, else JSON.

    Also Python's warnings and what uvicorn says, which is to be started with ``log_config=None``.
    ``level``: the least that is written ("debug", "info", "warning", "error").
    """
    stderr = logging.StreamHandler()
    if form == "auto":
        form = "plain" if stderr.stream.isatty() else "json"
    stderr.setFormatter(FORMS[form]())
    logging.basicConfig(handlers=[stderr], level=level.upper(), force=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        theirs = logging.getLogger(name)
        theirs.handlers.clear()
        theirs.propagate = True
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # a broken body is the client's
    logging.captureWarnings(True)


def _ids() -> dict[str, str]:
    return {id.name: _text(id.get()) for id in IDS if id.get()}


def _extra(record: logging.LogRecord) -> Iterator[tuple[str, object]]:
    return ((name, value) for name, value in vars(record).items() if name not in OWN)


def _message(record: logging.LogRecord) -> str:
    try:
        return _text(record.getMessage())
    except Exception:  # the text and its arguments do not fit each other
        return f"{_text(record.msg)} {_text(record.args)}"


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    trace = formatter.formatException(record.exc_info) if record.exc_info else ""
    return _text("\n".join(filter(None, (trace, record.stack_info))))


def _value(value: object) -> object:
    """``value`` if it is JSON through and through, else its text."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except Exception:
        return _text(value)
    return value


def _text(value: object) -> str:
    """Any value as text that has a UTF-8 form; a file's name need not have one."""
    try:
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    except Exception as error:
        text = f"<{type(value).__name__}: {type(error).__name__}>"
    return text.encode("utf-8", "backslashreplace").decode()
