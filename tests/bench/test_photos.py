"""Laws of the photos that a bench makes or is given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from portrayer.bench import photos
from portrayer.errors import InputError
from portrayer.image import codec


def test_made_photos_are_the_same_every_time(tmp_path: Path) -> None:
    """Bit for bit, as many files as were asked for, of the size that was asked for."""
    for name in ("one", "two"):
        photos.write(photos.scenes(None, faces=False), 96, 64, 10, tmp_path / name)
    one, two = (
        [path.read_bytes() for path in sorted((tmp_path / name).iterdir())]
        for name in ("one", "two")
    )
    assert one == two
    assert len(one) == 10
    assert len(set(one)) == photos.DISTINCT
    header = codec.probe(one[0])
    assert (header.format, header.width, header.height) == ("jpeg", 96, 64)


def test_without_sample_portraits_people_are_drawn_or_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A drawn head will do to be cut out; where a face must be found, one line says what to do."""

    def missing() -> dict[str, bytes]:
        raise InputError("the sample portraits are not here")

    monkeypatch.setattr(photos, "portraits", missing)
    drawn = photos.scenes(None, faces=False)
    assert len(drawn) == photos.DISTINCT
    assert all(picture.shape == (1080, 1920, 3) and picture.dtype == np.uint8 for picture in drawn)
    with pytest.raises(InputError, match=r"give --photos, or the sample portraits") as caught:
        photos.scenes(None, faces=True)
    assert "\n" not in str(caught.value)


def test_given_photos_are_those_of_the_folder(tmp_path: Path) -> None:
    """What is no photo is passed over; a folder of none, or that is not there, is told."""
    (tmp_path / "notes.txt").write_text("no photo")
    with pytest.raises(InputError, match="no photos in"):
        photos.scenes(tmp_path, faces=False)
    picture = np.full((20, 30, 3), 90, np.uint8)
    (tmp_path / "a.png").write_bytes(codec.encode(picture))
    [found] = photos.scenes(tmp_path, faces=False)
    assert np.array_equal(found, picture)
    with pytest.raises(InputError, match="cannot be read"):
        photos.scenes(tmp_path / "nowhere", faces=False)
