"""Laws of the studio: what it is put together from, within which memory, and how it ends."""

from __future__ import annotations

import threading

import fsspec
import numpy as np
import psutil
import pytest

from portrayer import studio as studios
from portrayer.engine.device import CpuDevice
from portrayer.errors import EngineClosed, InputError, InvalidOption, PortrayerError
from portrayer.image import codec
from portrayer.settings import Settings
from portrayer.studio import Studio
from tests.portraits import astronaut


def told(error: PortrayerError) -> str:
    """The one line a user reads."""
    assert "\n" not in str(error)
    return str(error)


def threads() -> set[threading.Thread]:
    """Those of pipelines and engines."""
    return {t for t in threading.enumerate() if t.name.startswith(("photo", "replica"))}


@pytest.mark.parametrize("memory", ["1KiB", "100%%", "0", "lots", "9999TiB", "120%", "-1GiB"])
def test_impossible_memory_is_told(memory: str) -> None:
    """In one line, and no thread is left behind."""
    before = threads()
    with pytest.raises(InvalidOption) as caught:
        Studio(Settings(device="cpu", memory=memory))
    told(caught.value)
    assert threads() == before


def test_the_least_memory_is_enough() -> None:
    """What is accepted works; nothing is reserved beyond it."""
    with Studio(Settings(device="cpu", memory="256MiB", workers=3)) as least:
        assert len(list(least.map("matte", [astronaut()] * 5))) == 5
        stats = least.pipeline.engine.stats()
        assert stats.peak <= stats.total
        assert stats.total + least.pipeline.host.total <= 256 * 2**20


@pytest.mark.parametrize("name", ["cpu", "mps"])
def test_a_device_without_memory_of_its_own_shares(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Photos and models together stay within the memory that may be used."""
    device = CpuDevice("float32")
    device.name = name
    monkeypatch.setattr(studios, "open_devices", lambda *_, **__: [device])
    with Studio(Settings(memory="2GiB", workers=1)) as shared:
        held = shared.pipeline.host.total + shared.pipeline.engine.stats().total
        assert held <= 2 * 2**30 <= psutil.virtual_memory().total


def test_words_beside_settings_win() -> None:
    """Settings that are given may be changed in passing, and are checked again."""
    given = Settings(device="cpu", workers=1, memory="1GiB")
    with Studio(given, workers=2) as two:
        assert two.settings == Settings(device="cpu", workers=2, memory="1GiB")
        assert two.pipeline.workers == 2
    with pytest.raises(InvalidOption):
        Studio(given, workers=-1)


def test_closing_ends_everything() -> None:
    """What comes after is refused in one line, twice is no matter, and no thread is left."""
    before = threads()
    with Studio(Settings(device="cpu", memory="1GiB", workers=2)) as brief:
        assert threads() - before
        pending = brief.map("matte", [astronaut()] * 8)
        next(pending)
    brief.close()
    assert threads() == before
    for late in (
        lambda: brief.matte(astronaut()),
        lambda: list(pending),
        lambda: list(brief.map("matte", [astronaut()])),
    ):
        with pytest.raises(EngineClosed) as caught:
            late()
        told(caught.value)


def test_a_photo_may_lie_at_a_url() -> None:
    """It is read as any other, and the result goes to one; what is not there is told in a line."""
    store = fsspec.filesystem("memory")
    store.pipe("/photos/a.png", codec.encode(astronaut(), "png"))
    with Studio(Settings(device="cpu", memory="256MiB", workers=1)) as studio:
        result = studio.matte("memory://photos/a.png")
        assert np.array_equal(result.image, studio.matte(astronaut()).image)
        assert result.save("memory://photos/cut.png") == "memory://photos/cut.png"
        assert store.cat("/photos/cut.png") == result.encode("png")
        with pytest.raises(InputError, match="gone") as missing:
            studio.matte("memory://photos/gone.png")
    told(missing.value)
