"""Laws of who does the work of a command."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from portrayer.engine.cores import cores, counting
from portrayer.engine.device import Found
from portrayer.engine.memory import LARGE
from portrayer.engine.processes import ROOM, processes, shared
from portrayer.settings import Settings

from .terminal import photo, portrayer

SHIPPED = ("portrait-matting",)
MUCH = 2**50


@pytest.mark.parametrize(
    ("settings", "memory", "models", "photos", "expected"),
    [
        ({}, MUCH, SHIPPED, 1000, 8),
        ({}, MUCH, (), 1000, 8),
        ({}, MUCH, SHIPPED, 3, 3),
        ({}, MUCH, SHIPPED, 1, 1),
        ({}, 5 * ROOM, SHIPPED, 1000, 5),
        ({}, 3 * ROOM, SHIPPED, 1000, 1),
        ({}, 3 * ROOM, SHIPPED, 4, 3),
        ({}, ROOM // 2, SHIPPED, 1000, 1),
        ({"workers": 2}, MUCH, SHIPPED, 1000, 2),
        ({"workers": 1}, MUCH, SHIPPED, 1000, 1),
        ({"workers": 20}, MUCH, SHIPPED, 1000, 8),
        ({"device": "cuda"}, MUCH, SHIPPED, 1000, 1),
        ({"device": "mps"}, MUCH, SHIPPED, 1000, 1),
        ({"require_gpu": True}, MUCH, SHIPPED, 1000, 1),
        ({}, MUCH, (*SHIPPED, "gpen-512"), 1000, 1),
    ],
)
def test_how_many_processes(
    settings: dict[str, object],
    memory: int,
    models: tuple[str, ...],
    photos: int,
    expected: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One a core, and no more than photos; one in all for a GPU, large networks, little memory."""
    monkeypatch.setattr("portrayer.engine.processes.cores", lambda: 8)
    chosen = Settings(**{"device": "cpu", **settings})  # type: ignore[arg-type]
    assert processes(chosen, memory, models, photos) == expected


@pytest.mark.skipif(sys.platform != "linux", reason="device nodes are Linux'")
def test_where_there_may_be_a_gpu_torch_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the driver does not say how busy it is, as of one that is shared out (MIG)."""
    monkeypatch.setattr("portrayer.engine.processes.cores", lambda: 8)
    monkeypatch.setattr("portrayer.engine.processes.DEVICES", tmp_path)
    found = Found("cuda", "a GPU is here", "")
    monkeypatch.setattr("portrayer.engine.device.discover", lambda: found)
    assert processes(Settings(), MUCH, SHIPPED, 1000) == 8
    (tmp_path / "nvidiactl").touch()
    assert processes(Settings(), MUCH, SHIPPED, 1000) == 1


def test_two_have_room_for_the_largest_photo() -> None:
    """As one has that has their memory to itself."""
    _, host = shared(Settings(), 2 * ROOM, 2)
    assert host.total >= LARGE


def test_cores_are_counted_as_few_as_told() -> None:
    """While it lasts, and not beyond."""
    before = cores()
    with counting(1):
        assert cores() == 1
    assert cores() == before


@pytest.mark.skipif(cores() < 2, reason="one core, one process")
def test_processes_give_what_threads_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same files to the last bit, the bad one failed, and all their memory told."""
    for number in range(4):
        photo(tmp_path / "in" / f"{number}.jpg", shade=10 * number)
    (tmp_path / "in" / "bad.jpg").write_text("a text that calls itself a photo")
    one = portrayer("matte", tmp_path / "in", "-o", tmp_path / "one", "--json", "--workers", 1)
    monkeypatch.delenv("PORTRAYER_MEMORY")
    more = portrayer("matte", tmp_path / "in", "-o", tmp_path / "more", "--json")
    for run in (one, more):
        assert (run.code, run.report["done"]) == (1, 4)
        [failed] = run.report["failed"]
        assert failed["code"] == "decode"
    assert more.report["stage_seconds"].keys() == one.report["stage_seconds"].keys()
    assert more.report["device_memory_bytes"]["peak"] > 0
    assert more.report["peak_memory_bytes"] > one.report["peak_memory_bytes"]
    for number in range(4):
        name = f"{number}.png"
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "more" / name).read_bytes()


@pytest.mark.skipif(cores() < 2, reason="one core, one process")
def test_what_processes_cannot_work_with_is_told_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line, and no folder is begun."""
    monkeypatch.delenv("PORTRAYER_MEMORY")
    photo(tmp_path / "in" / "a.jpg")
    photo(tmp_path / "in" / "b.jpg")
    told = portrayer("matte", tmp_path / "in", "-o", tmp_path / "out", "--precision", "float8")
    assert told.code == 2
    assert "no precision is called 'float8'" in told.err
    assert not (tmp_path / "out").exists()
