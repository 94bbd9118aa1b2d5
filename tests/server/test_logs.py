"""Laws of the log: one line for each thing said, one shape, whatever is in it."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from contextvars import copy_context
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portrayer.server.logs import ITEM, JOB, OWN, REQUEST, Lines, Plain


class Mute:
    """What cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


ROUND: list[Any] = []
ROUND.append(ROUND)

SURROGATES = st.text(st.characters(codec=None), max_size=20)
ODD = st.one_of(
    SURROGATES,
    st.binary(max_size=9),
    st.floats(),
    st.integers(),
    st.just(ROUND),
    st.builds(Mute),
    st.builds(ValueError, SURROGATES),
    st.dictionaries(st.tuples(st.integers()), st.none(), max_size=2),
)


def said(form: logging.Formatter, message: Any, *args: Any, **more: Any) -> str:
    """What a logger with this formatter writes; whatever it raises would be on stderr."""
    text = io.StringIO()
    target = logging.StreamHandler(text)
    target.setFormatter(form)
    logger = logging.Logger("room")
    logger.addHandler(target)
    logger.warning(message, *args, **more)
    return text.getvalue()


@given(
    st.one_of(SURROGATES, ODD),
    st.lists(ODD, max_size=3),
    st.dictionaries(SURROGATES.filter(lambda name: name not in OWN), ODD, max_size=3),
)
def test_whatever_is_said_is_one_line_of_json(
    message: Any, args: list[Any], extra: dict[str, Any]
) -> None:
    """No value, of a message, its arguments or an extra, breaks the line or raises."""
    text = said(Lines(), message, *args, extra=extra)
    assert text.isascii()
    assert text.count("\n") == 1
    line = json.loads(text, parse_constant=pytest.fail)
    json.dumps(line, ensure_ascii=False).encode()
    assert (line["level"], line["logger"]) == ("WARNING", "room")
    assert said(Plain(), message, *args, extra=extra).count("\n") >= 1


def test_a_line_says_when_what_and_for_whom() -> None:
    """Time in UTC with milliseconds, the ids of the context, the extras; what is not set is not
    there, and an extra does not hide what the line itself says."""

    def work() -> str:
        REQUEST.set("r1")
        JOB.set("j1")
        ITEM.set("7")
        return said(Lines(), "%s of %d", "one", 2, extra={"seconds": 0.5, "level": "x"})

    line = json.loads(copy_context().run(work))
    time = line.pop("time")
    assert len(time) == len("2026-01-01T00:00:00.000Z")
    assert time[10] == "T"
    assert time[-1] == "Z"
    expected = {"level": "WARNING", "logger": "room", "message": "one of 2", "seconds": 0.5}
    assert line == expected | {"request": "r1", "job": "j1", "item": "7"}
    assert json.loads(said(Lines(), "x")).keys() == {"time", "level", "logger", "message"}


def test_an_exception_is_told_whole() -> None:
    """With its traceback: within the line as JSON, indented below it for a person."""
    try:
        raise ValueError("wrong\nat all")
    except ValueError:
        line = json.loads(said(Lines(), "it broke", exc_info=True))
        plain = said(Plain(), "it broke", exc_info=True)
    assert line["message"] == "it broke"
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("ValueError: wrong\nat all")
    first, *rest = plain.splitlines()
    assert first.endswith(" WARNING it broke")
    assert all(each.startswith("  ") for each in rest)
    assert rest[-2:] == ["  ValueError: wrong", "  at all"]


@given(SURROGATES)
def test_no_text_passes_for_a_line_of_its_own(name: str) -> None:
    """At a terminal, a photo's name neither begins a line nor moves the cursor nor colours it."""
    first, *rest = said(Plain(), "photo %s", name).removesuffix("\n").split("\n")
    assert "WARNING photo " in first
    assert all(each.startswith("  ") for each in rest)
    assert all(c.isprintable() or c.isspace() for line in rest for c in line if ord(c) < 256)
    assert not {"\x1b", "\r", "\x9b", "\u2028"} & set(first)


def test_plain_names_its_ids() -> None:
    """Time, level, message, and pairs."""

    def work() -> str:
        JOB.set("j1")
        return said(Plain(), "done", extra={"item": 7})

    text = copy_context().run(work)
    assert text[2] == text[5] == ":"
    assert text[8:] == " WARNING done job=j1 item=7\n"


PROCESS = """
import logging, warnings
import uvicorn
from portrayer.server.logs import set_up

set_up({form!r}, "info")
uvicorn.Config(lambda: None, log_config=None)
logging.getLogger("uvicorn.error").info("Started %d", 1, extra={{"color_message": "X"}})
logging.getLogger("uvicorn.access").info("GET /")
logging.getLogger("portrayer.jobs").warning("hm")
logging.getLogger("portrayer.jobs").debug("unheard")
warnings.warn("old")
"""


@pytest.mark.parametrize("form", ["json", "auto", "plain"])
def test_every_line_of_the_process_has_one_shape(form: str) -> None:
    """Ours, uvicorn's and Python's warnings, each once; below the level nothing; and where stderr
    is no terminal, "auto" is JSON."""
    command = [sys.executable, "-c", PROCESS.format(form=form)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [line for line in done.stderr.splitlines() if not line.startswith(" ")]
    if form == "plain":
        assert [line[9:].split(" ", 1)[0] for line in lines] == ["INFO"] * 2 + ["WARNING"] * 2
    else:
        told = [json.loads(line) for line in lines]
        names = ["uvicorn.error", "uvicorn.access", "portrayer.jobs", "py.warnings"]
        assert [line["logger"] for line in told] == names
        assert told[0]["message"] == "Started 1"
        assert "color_message" not in told[0]
