"""``portrayer bench``: what it prints, what it refuses, and what it leaves behind."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import pytest

from portrayer.bench import chart

from .terminal import LISTENING, blob, picture, portrayer, started

TINY = ("--images", 2, "--resolution", "160x120", "--batch", "1,2", "--workers", 2)


def test_it_prints_json_and_draws(tmp_path: Path) -> None:
    """One object with the machine named, and a chart beside it."""
    pytest.importorskip("matplotlib")
    file = tmp_path / "chart.png"
    done = portrayer("bench", *TINY, "--only", "throughput", "--json", "--plot", file)
    assert (done.code, done.err) == (0, "")
    report = done.report
    assert report["task"] == "matte"
    assert report["machine"]["devices"][0] == "cpu"
    assert report["machine"]["cores"] >= 1
    assert [row["batch"] for row in report["by_batch"]] == [1, 2]
    assert report["end_to_end"] is None
    assert picture(file)[1] > (200, 200)


def test_without_a_terminal_it_prints_markdown(tmp_path: Path) -> None:
    """Tables that can be pasted: a rule below each head, as many cells in every row. Photos of
    one's own will do.
    """
    (tmp_path / "a.jpg").write_bytes(blob())
    done = portrayer("bench", *TINY, "--only", "throughput", "--photos", tmp_path)
    assert (done.code, done.err) == (0, "")
    first, *lines = done.out.decode().splitlines()
    assert first.startswith("portrayer ")
    rows = [line for line in lines if line.startswith("|")]
    assert sum(line.startswith("**") for line in lines) == 2
    assert sum(set(row) <= set("|-: ") for row in rows) == 2
    assert {row.count("|") for row in rows} == {4}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--task", "paint"), "no task is called 'paint'"),
        (("--task", "matte+enhance"), "no task is called"),
        (("--batch", "1,two"), "batch is '1,two'"),
        (("--batch", "0"), "batch is '0'"),
        (("--batch", ""), "batch is ''"),
        (("--replicas", "1,,2"), "replicas is '1,,2'"),
        (("--resolution", "800"), "resolution is '800'"),
        (("--resolution", "800x800,9x9"), "WIDTHxHEIGHT of 64 to 16384"),
        (("--only", "speed"), "only is 'speed'"),
        (("--images", "1"), "--images"),
        (("--plot", "chart.svg"), "name a .png file"),
        (("--precision", "float8"), "no precision is called"),
        (("--photos", "nowhere"), "nowhere cannot be read"),
        (("--task", "fuse", "--photos", "."), "say --yes"),
    ],
)
def test_what_makes_no_sense_is_one_line(arguments: tuple[str, ...], words: str) -> None:
    """Before anything is measured, and exit code 2."""
    done = portrayer("bench", *arguments)
    assert done.code == 2
    assert words in done.complaint()


def test_a_chart_that_cannot_be_drawn_is_told_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In one line with what to install, before minutes are spent."""
    monkeypatch.setattr(chart, "find_spec", lambda name: None)
    done = portrayer("bench", "--plot", tmp_path / "chart.png")
    assert done.code == 2
    assert "pip install 'portrayer[demo]'" in done.complaint()


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process on Windows")
def test_stopped_it_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while photos are made or measured: exit code 130, an empty temporary folder."""
    assert "SIGINT" in LISTENING
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with started("bench", *TINY) as process:
        while process.poll() is None and not list(tmp_path.glob("portrayer-bench-*/*/*.jpg")):
            time.sleep(0.02)  # until it is at work; not how the law is held
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert list(tmp_path.glob("portrayer-bench-*")) == []
