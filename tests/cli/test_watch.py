"""--watch, and Ctrl-C with and without it."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .terminal import blob, photo, picture, portrayer, started, state, tree


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never happens"
        time.sleep(0.02)


def test_a_watched_photo_is_done_once_it_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that grows between looks is left alone; one that lies still is done, and only once."""
    inputs, out = tmp_path / "in", tmp_path / "out"
    photo(inputs / "early.jpg")
    content = blob("png")
    slow = inputs / "sub" / "slow.png"

    def steps() -> Iterator[None]:
        yield  # the photo that was there has been seen once
        assert tree(out) == {"early.png"}
        first = state(out)
        slow.parent.mkdir()
        for end in range(0, len(content), len(content) // 5):
            slow.write_bytes(content[:end])
            yield
            assert tree(out) == {"early.png"}
        slow.write_bytes(content)
        yield
        yield
        assert tree(out) == {"early.png", "sub/slow.png"}
        yield
        photo(inputs / "early.jpg", shade=30)
        yield
        yield
        assert state(out)["early.png"] != first["early.png"]

    script = steps()

    def look_away(seconds: float) -> None:
        if next(script, script) is script:
            raise KeyboardInterrupt

    monkeypatch.setattr("portrayer.cli.folder.time.sleep", look_away)
    watched = portrayer("matte", inputs, "-o", out, "--watch", "--json")
    assert (watched.code, watched.err) == (0, "")
    assert (watched.report["done"], watched.report["failed"]) == (2, [])
    assert tree(out) == {"early.png", "sub/slow.png"}


@pytest.mark.skipif(sys.platform == "win32", reason="another Ctrl-C")
def test_ctrl_c_ends_a_watch_with_its_summary(tmp_path: Path) -> None:
    """It is how a watch is meant to end: exit code 0, a summary, nothing left behind."""
    inputs, out = tmp_path / "in", tmp_path / "out"
    photo(inputs / "a.jpg")
    with started("matte", inputs, "-o", out, "--watch") as process:
        until((out / "a.png").exists)
        photo(inputs / "b.jpg")
        until((out / "b.png").exists)
        process.send_signal(signal.SIGINT)
        said, complained = process.communicate(timeout=60)
    assert (process.returncode, complained) == (0, "")
    assert said.startswith("2 of 2 done, ")
    assert tree(out) == {"a.png", "b.png"}


@pytest.mark.skipif(sys.platform == "win32", reason="another Ctrl-C")
def test_ctrl_c_stops_a_run_that_can_go_on(tmp_path: Path) -> None:
    """What is in flight is finished, the rest stays queued; the same command does just that."""
    inputs, out = tmp_path / "in", tmp_path / "out"
    names = {f"{number:02}" for number in range(40)}
    for name in names:
        photo(inputs / f"{name}.jpg")
    with started("matte", inputs, "-o", out, "--workers", "1") as process:
        until(lambda: out.is_dir() and any(out.glob("*.png")))
        process.send_signal(signal.SIGINT)
        said, complained = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "")
    assert complained == "portrayer: stopped; run the same command again to go on\n"
    before = state(out)
    assert 0 < len(before) < len(names)
    assert all(picture(out / name) == ("RGBA", (96, 96)) for name in before)
    again = portrayer("matte", inputs, "-o", out, "--json")
    assert again.code == 0
    assert again.report["done_before"] == len(before)
    after = state(out)
    assert set(after) == {f"{name}.png" for name in names}
    assert {name: after[name] for name in before} == before


def test_ctrl_c_while_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Imports take a while; an impatient hand sees the same line, and no traceback."""

    class Impatient:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "portrayer.cli.app":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "portrayer.cli.app", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Impatient(), *sys.meta_path])
    stopped = portrayer("models")
    assert stopped.code == 130
    assert stopped.complaint().startswith("stopped")
