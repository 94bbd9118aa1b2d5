"""Laws of the ZIP: names that are safe on any disk; an archive that is whole, or seen not to be."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portrayer.errors import NotReady
from portrayer.jobs.names import fold
from portrayer.server.archive import LONGEST, names, stream

WORDS = ["con", "NUL", "a", "A", "é", "e\u0301", "..", "/", "\\", ".", " ", "-2", "\0", "x" * 99]
LABELS = st.one_of(
    st.text(st.characters(codec=None), max_size=80),
    st.lists(st.sampled_from(WORDS), max_size=6).map("".join),
)
SUFFIXES = st.sampled_from([".png", ".matte.png", ".jpg"])
PLAIN = st.text(st.sampled_from("abcXYZ019_- éß你"), min_size=1, max_size=30)

WINDOWS = {"con", "prn", "aux", "nul"} | {f"{port}{n}" for port in ("com", "lpt") for n in "0123¹²"}


@given(st.lists(st.tuples(LABELS, SUFFIXES), max_size=12))
def test_every_name_is_safe_and_no_two_are_one(labels: list[tuple[str, str]]) -> None:
    """Whatever the client called it: one file, in no folder, on any system, with its suffix."""
    found = names(labels)
    assert len(found) == len(labels) == len({fold(name) for name in found})
    for name, (_, suffix) in zip(found, labels, strict=True):
        assert name.endswith(suffix)
        assert 0 < len(name.removesuffix(suffix).strip(". ")) <= len(name)
        assert len(name.encode("utf-8")) <= LONGEST
        assert not set('<>:"/\\|?*') & set(name)
        assert name.isprintable() or all(ord(c) > 0x9F for c in name if not c.isprintable())
        assert name[0] not in ". "
        assert name.split(".")[0].rstrip(" ").casefold() not in WINDOWS


@given(st.lists(PLAIN.map(str.strip).filter(bool), unique_by=fold, max_size=9), st.data())
def test_a_plain_name_is_kept(stems: list[str], draw: st.DataObject) -> None:
    """Others may come with the same name, and be numbered; the first of its kind is as it was, also
    where it looks like another's number."""
    again = draw.draw(st.lists(st.sampled_from(stems), max_size=5) if stems else st.just([]))
    found = names([(f"{stem}.jpg", ".png") for stem in [*stems, *again]])
    assert found[: len(stems)] == [f"{stem}.png" for stem in stems]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["a.jpg", "a.png", "A.JPG", "a"], ["a.png", "a-2.png", "A-3.png", "a-4.png"]),
        (["a", "a", "a-2"], ["a.png", "a-3.png", "a-2.png"]),
        (["é.jpg", "e\u0301.jpg"], ["é.png", "e\u0301-2.png"]),
        (["../../etc/passwd", "C:\\me\\b.jpg", "x/"], ["passwd.png", "b.png", "photo.png"]),
        (["", "..", ". .", "?"], ["photo.png", "photo-2.png", "photo-3.png", "_.png"]),
        (["con.jpg", "Com1.a.jpg", "nul  .jpg"], ["_con.png", "_Com1.a.png", "_nul.png"]),
        (["console", "com", "com10"], ["console.png", "com.png", "com10.png"]),
        (["cod\u202egnp.exe"], ["cod_gnp.png"]),
        (["me.tar.gz", ".hidden", "end. ."], ["me.tar.png", "hidden.png", "end.png"]),
        (["你" * 99], ["你" * 65 + ".png"]),
    ],
)
def test_what_a_name_becomes(labels: list[str], expected: list[str]) -> None:
    """The cases that people meet."""
    assert names([(label, ".png") for label in labels]) == expected


def test_a_thousand_of_one_name_are_numbered_at_once() -> None:
    """Phones call many photos alike."""
    found = names([("IMG_1.jpg", ".png")] * 1000)
    assert found == ["IMG_1.png", *(f"IMG_1-{n}.png" for n in range(2, 1001))]


@given(st.lists(st.binary(max_size=300), max_size=4), st.lists(st.text(max_size=20), max_size=2))
def test_what_goes_in_comes_out(
    tmp_path_factory: pytest.TempPathFactory, blobs: list[bytes], texts: list[str]
) -> None:
    """Files and notes, byte for byte, stored, under their names, in as many bytes as was said."""
    folder = tmp_path_factory.mktemp("out")
    entries = {f"ä {i}.png": blob for i, blob in enumerate(blobs)}
    for name, blob in entries.items():
        (folder / name).write_bytes(blob)
    notes = {f"note-{i}.txt": text for i, text in enumerate(texts)}
    size, chunks = stream([(name, folder / name) for name in entries], notes)
    whole = b"".join(chunks)
    assert len(whole) == size
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        assert archive.testzip() is None
        assert all(each.compress_type == zipfile.ZIP_STORED for each in archive.infolist())
        found = {name: archive.read(name) for name in archive.namelist()}
    assert found == entries | {name: text.encode() for name, text in notes.items()}


def shrink(path: Path) -> None:
    path.write_bytes(b"x")


def grow(path: Path) -> None:
    path.write_bytes(b"x" * 2000)


@pytest.mark.parametrize("harm", [Path.unlink, shrink, grow])
@pytest.mark.parametrize("which", ["0", "1"])
def test_a_file_that_changes_breaks_the_stream(
    tmp_path: Path, harm: Callable[[Path], None], which: str
) -> None:
    """What was sent until then cannot be taken for an archive, not even for a smaller one."""
    paths = [tmp_path / name for name in "01"]
    for path in paths:
        path.write_bytes(b"x" * 1000)
    _, chunks = stream([(path.name, path) for path in paths], {"note.txt": "n"})
    harm(tmp_path / which)
    sent = io.BytesIO()
    with pytest.raises((OSError, RuntimeError)):
        sent.writelines(chunks)
    assert not zipfile.is_zipfile(sent)


def test_a_file_that_is_gone_is_refused_before_a_byte_is_sent(tmp_path: Path) -> None:
    """There is still time for an answer that says so."""
    with pytest.raises(NotReady, match=r"a\.png"):
        stream([("a.png", tmp_path / "a")], {})


def test_memory_stays_flat(tmp_path: Path) -> None:
    """However much is sent, only a piece of it is held."""
    path = tmp_path / "big"
    with path.open("wb") as file:
        file.truncate(24 << 20)
    tracemalloc.start()
    try:
        size, chunks = stream([(f"{n}", path) for n in range(4)], {})
        assert sum(map(len, chunks)) == size > 96 << 20
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_what_an_old_zip_could_not_hold(tmp_path: Path) -> None:
    """More than 4 GiB, in one file and in all, and more than 65,535 files: the length is still what
    was said, and readers find everything."""
    big, small = tmp_path / "big", tmp_path / "small"
    with big.open("wb") as file:
        file.truncate((4 << 30) + 1)
    small.write_bytes(b"x")
    entries = [("first", big), ("second", small)]
    size, chunks = stream(entries, {f"{n}": "" for n in range(66_000)})
    target = tmp_path / "all.zip"
    with target.open("wb") as file:
        for chunk in chunks:  # what is all zeros takes no room on the disk
            file.seek(len(chunk), 1) if not chunk.strip(b"\0") else file.write(chunk)
    assert target.stat().st_size == size
    with zipfile.ZipFile(target) as archive:
        assert archive.getinfo("first").file_size == (4 << 30) + 1
        assert archive.read("second") == b"x"
        assert len(archive.namelist()) == 66_002
