"""One photo: file to file, stdin to stdout, presets and flags."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from portrayer.tasks.presets import PRESETS

from .terminal import PROGRAM, blob, photo, picture, portrayer, state, tree


def pixels(content: bytes | Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    with Pillow.open(io.BytesIO(content) if isinstance(content, bytes) else content) as image:
        return np.asarray(image)


@pytest.mark.parametrize(
    ("name", "options", "mode"),
    [
        ("cut.png", (), "RGBA"),
        ("new/folder/cut.webp", (), "RGBA"),
        ("cut.jpg", ("--background", "white"), "RGB"),
        ("matte.jpeg", ("--output", "matte"), "L"),
    ],
)
def test_a_file_to_a_file(name: str, options: tuple[str, ...], mode: str, tmp_path: Path) -> None:
    """The name's ending decides the format; nothing but that file is written."""
    source = photo(tmp_path / "a.jpg")
    before = state(tmp_path)
    done = portrayer("matte", source, "-o", tmp_path / name, *options)
    assert (done.code, done.err) == (0, "")
    assert done.out.decode().startswith(str(tmp_path / name))
    assert picture(tmp_path / name) == (mode, (96, 96))
    assert tree(tmp_path) == {"a.jpg", name}
    assert not (tmp_path / ".portrayer").exists()
    assert state(tmp_path)["a.jpg"] == before["a.jpg"]


def test_one_photo_as_json(tmp_path: Path) -> None:
    """The object for one photo has the keys of the object for a folder."""
    done = portrayer("matte", photo(tmp_path / "a.jpg"), "-o", tmp_path / "a.png", "--json")
    assert (done.code, done.err) == (0, "")
    report = done.report
    assert (report["done"], report["failed"], report["device"]) == (1, [], "cpu")
    assert report["images_per_second"] > 0
    assert report["peak_memory_bytes"] > 50 << 20
    assert {"decode", "task", "infer"} <= set(report["stage_seconds"])
    folder = portrayer("matte", tmp_path / "a.jpg", "-o", tmp_path / "out", "--json")
    assert set(report) <= set(folder.report)


def test_stdin_to_stdout_is_the_same_as_file_to_file(tmp_path: Path) -> None:
    """Through a pipe, and through every mixture of pipe and file, the result is the same."""
    source = photo(tmp_path / "a.jpg")
    assert portrayer("matte", source, "-o", tmp_path / "a.png").code == 0
    expected = pixels(tmp_path / "a.png")
    content = source.read_bytes()
    for arguments in (("-",), ("-", "-o", "-"), (source, "-o", "-")):
        piped = portrayer("matte", *arguments, stdin=content)
        assert (piped.code, piped.err) == (0, "")
        np.testing.assert_array_equal(pixels(piped.out), expected)
    filed = portrayer("matte", "-", "-o", tmp_path / "b.png", stdin=content)
    assert (filed.code, filed.out, filed.err) == (0, b"", "")
    np.testing.assert_array_equal(pixels(tmp_path / "b.png"), expected)
    assert tree(tmp_path) == {"a.jpg", "a.png", "b.png"}


def test_real_pipes_carry_only_the_picture() -> None:
    """In a shell's pipeline the bytes on stdout are a picture, and stderr stays empty."""
    done = subprocess.run([*PROGRAM, "matte", "-"], input=blob("png"), capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert picture(done.stdout) == ("RGBA", (96, 96))


def test_the_id_photo_preset_is_opaque_on_white(tmp_path: Path) -> None:
    """--preset id-photo: no transparency is left, and what lies behind the person is white."""
    source = photo(tmp_path / "a.jpg", side=256)
    done = portrayer("matte", source, "-o", tmp_path / "a.png", "--preset", "id-photo")
    assert done.code == 0
    image = pixels(tmp_path / "a.png")
    assert image.shape == (256, 256, 3)
    assert (image == 255).all(axis=2).mean() > 0.2
    matte = portrayer("matte", source, "-o", "-", "--preset", "id-photo", "--output", "matte")
    behind = pixels(matte.out) == 0
    assert behind.mean() > 0.2
    assert (image[behind] == 255).all()


def test_a_flag_beats_the_preset(tmp_path: Path) -> None:
    """What is said explicitly wins, however the preset spells it; the rest stays the preset's."""
    source = photo(tmp_path / "a.jpg")
    preset = tmp_path / "mine.toml"
    preset.write_text(
        'name = "mine"\ntask = "matte"\n[options]\n'
        'background = "#ff0000"\nalpha_threshold = 50\nmax-side = 48\n'
    )
    given = ("matte", source, "-o", "-", "--preset", preset)
    mine = portrayer(*given)
    assert picture(mine.out) == ("RGB", (48, 48))
    blue = portrayer(*given, "--background", "#0000ff", "--alpha-threshold", "0")
    corner = pixels(blue.out)[0, -1]
    assert list(corner[:2]) == [0, 0] or corner[2] > corner[0]
    assert not np.array_equal(pixels(mine.out), pixels(blue.out))
    plain = ("--background", "#0000ff", "--alpha-threshold", "0", "--max-side", "48")
    bare = portrayer("matte", source, "-o", "-", *plain)
    np.testing.assert_array_equal(pixels(blue.out), pixels(bare.out))


def test_a_preset_printed_is_a_preset_that_can_be_read(tmp_path: Path) -> None:
    """``presets NAME`` gives a file that does what the name does."""
    source = photo(tmp_path / "a.jpg")
    for name in PRESETS:
        file = tmp_path / f"{name}.toml"
        file.write_bytes(portrayer("presets", name).out)
    named = portrayer("matte", source, "-o", "-", "--preset", "id-photo-blue")
    read = portrayer("matte", source, "-o", "-", "--preset", tmp_path / "id-photo-blue.toml")
    assert named.out == read.out != b""
