"""A folder of photos, good and bad, through the command line."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from portrayer.cli.request import Request, find
from portrayer.errors import InputError

from .terminal import blob, photo, picture, portrayer, state, tree

NOBODY = 65534
GOOD = {"a.png", "a.png.png", "sub/b.png", "sub/deep/c.png"}


def vast_png(side: int) -> bytes:
    """A PNG that says it is ``side`` x ``side`` pixels, and holds none."""
    chunks = b""
    size = struct.pack(">II5B", side, side, 8, 2, 0, 0, 0)
    for kind, content in ((b"IHDR", size), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")):
        sum_ = zlib.crc32(kind + content)
        chunks += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", sum_)
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Four good photos, two of one stem, in a tree; six bad ones; and what is no photo at all."""
    folder = tmp_path / "in"
    for name in ("a.jpg", "a.png", "sub/b.JPG", "sub/deep/c.webp", ".hidden.jpg", ".h/d.jpg"):
        photo(folder / name)
    (folder / "text.jpg").write_text("a text that calls itself a photo")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "half.jpg").write_bytes(blob()[: len(blob()) // 2])
    (folder / "vast.png").write_bytes(vast_png(60_000))
    (folder / "cat.gif").write_bytes(b"GIF89a" + bytes(20))
    (folder / "gone.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "notes.txt").write_text("not asked for")
    os.mkfifo(folder / "pipe.jpg")
    return folder


def test_a_folder_is_done_reported_and_gone_on_with(mixed: Path, tmp_path: Path) -> None:
    """Good photos are done, bad ones told; a second run does only what has changed or is lost."""
    out, inputs = tmp_path / "out", state(mixed / "sub") | state(mixed / ".h")

    first = portrayer("matte", mixed, "-o", out, "--json")
    report = first.report
    assert first.code == 1
    assert first.err == ""
    assert first.failed == {
        "text.jpg": "decode",
        "empty.jpg": "decode",
        "half.jpg": "decode",
        "vast.png": "too-large",
        "cat.gif": "decode",
        "gone.jpg": "input",
    }
    assert all(row["reason"] and "\n" not in row["reason"] for row in report["failed"])
    assert (report["done"], report["done_before"], report["total"]) == (4, 0, 10)
    assert report["device"] == "cpu"
    assert report["precision"] in ("float32", "bfloat16")
    assert report["images_per_second"] > 0
    assert report["peak_memory_bytes"] > 50 << 20
    assert set(report["stage_seconds"]) == {"decode", "task", "infer", "encode"}
    assert tree(out) == GOOD
    assert {picture(out / name) for name in GOOD} == {("RGBA", (96, 96))}
    assert state(mixed / "sub") | state(mixed / ".h") == inputs

    before = state(out)
    second = portrayer("matte", mixed, "-o", out, "--json")
    assert second.code == 1
    assert second.report["done_before"] == 4
    assert second.report["images_per_second"] == 0
    assert second.failed == first.failed
    assert state(out) == before

    photo(mixed / "sub" / "b.JPG", shade=40)  # changed
    (out / "a.png").unlink()  # lost
    (mixed / "half.jpg").unlink()  # taken away: nobody's concern any more
    (mixed / "empty.jpg").write_bytes(blob())  # mended
    third = portrayer("matte", mixed, "-o", out, "--json")
    assert third.report["done_before"] == 2
    assert third.report["done"] == 5
    assert set(third.failed) == set(first.failed) - {"half.jpg", "empty.jpg"}
    after = state(out)
    kept = {name for name in before if after[name] == before[name]}
    assert kept == GOOD - {"sub/b.png", "a.png"}
    assert set(after) == GOOD | {"empty.png"}

    fourth = portrayer("matte", mixed, "-o", out, "--json", "--feather", "1")
    assert fourth.report["done_before"] == 0
    assert fourth.report["done"] == 5
    assert all(stamp != after[name] for name, stamp in state(out).items())
    assert tree(out) == set(after)


def test_one_wish_in_two_spellings_is_one_wish(tmp_path: Path) -> None:
    """A default that is written out, or a number spelt another way, redoes nothing."""
    photo(tmp_path / "in" / "a.jpg")
    out = tmp_path / "out"
    preset = tmp_path / "soft.toml"
    preset.write_text("[options]\nalpha_threshold = 10\n")
    assert portrayer("matte", tmp_path / "in", "-o", out, "--preset", preset).code == 0
    before = state(out)
    spelt = ("--alpha-threshold", "10.0", "--feather", "0", "--no-crop")
    again = portrayer("matte", tmp_path / "in", "-o", out, "--json", *spelt)
    assert again.report["done_before"] == 1
    assert state(out) == before


def test_failed_photos_are_tried_again_when_asked(tmp_path: Path) -> None:
    """--retry-failed tries what failed, though the file is as it was; without it, nothing is."""
    photo(tmp_path / "in" / "a.jpg")
    out, inputs = tmp_path / "out", tmp_path / "in"
    small = portrayer("matte", inputs, "-o", out, "--json", "--max-pixels", "100")
    assert (small.code, small.failed) == (1, {"a.jpg": "too-large"})
    again = portrayer("matte", inputs, "-o", out)
    assert again.code == 1
    assert "failed: " in again.err
    assert "a.jpg" in again.err
    retried = portrayer("matte", inputs, "-o", out, "--retry-failed")
    assert (retried.code, retried.err) == (0, "")
    assert retried.out.startswith(b"1 of 1 done")
    assert tree(out) == {"a.png"}


def test_what_a_killed_run_left_is_swept_in_every_folder(tmp_path: Path) -> None:
    """A temporary of a dead process goes, wherever in the tree it lies; other files stay."""
    photo(tmp_path / "in" / "sub" / "a.jpg")
    out = tmp_path / "out"
    assert portrayer("matte", tmp_path / "in", "-o", out).code == 0
    from portrayer.image.files import _HOST

    for folder in (out, out / "sub"):
        (folder / f".portrayer-{_HOST}-{2**22 + 1}-0123456789abcdef.part").write_bytes(b"half")
        (folder / "mine.part").write_bytes(b"")
    assert portrayer("matte", tmp_path / "in", "-o", out).code == 0
    assert tree(out) == {"sub/a.png", "mine.part", "sub/mine.part"}


def test_results_beside_the_photos_are_not_taken_for_photos(tmp_path: Path) -> None:
    """Into the very folder that is read: no photo is overwritten, no result is cut out again."""
    photo(tmp_path / "a.jpg")
    photo(tmp_path / "a.png")
    originals = state(tmp_path)
    for _ in range(2):
        assert portrayer("matte", tmp_path, "-o", tmp_path).code == 0
        assert tree(tmp_path) == {"a.jpg", "a.png", "a.jpg.png", "a.png.png"}
    after = state(tmp_path)
    assert {name: after[name] for name in originals} == originals


@pytest.mark.skipif(os.name == "nt", reason="permissions as on Unix")
def test_a_folder_that_cannot_be_read_is_told() -> None:
    """Photos nobody may look at are not silently left out."""
    root = os.geteuid() == 0
    with TemporaryDirectory() as folder:  # not tmp_path: that one is closed to all but its owner
        locked = Path(folder) / "locked"
        photo(locked / "a.jpg")
        locked.chmod(0)
        Path(folder).chmod(0o755)
        if root:
            os.seteuid(NOBODY)
        try:
            with pytest.raises(InputError, match="locked cannot be read"):
                list(find(Request("matte", {}, [Path(folder)], Path(folder) / "out")))
        finally:
            if root:
                os.seteuid(0)
            locked.chmod(0o700)
