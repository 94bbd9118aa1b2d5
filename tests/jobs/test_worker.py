"""What a node does with an errand, without a cluster around it."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from portrayer import storage
from portrayer.engine.cores import cores, counting
from portrayer.errors import CapacityError, DeviceUnavailable, InputError, OutputError
from portrayer.jobs.record import JSON
from portrayer.jobs.worker import FOLDER, Errand, Worker, moved
from portrayer.settings import Settings, load
from portrayer.storage import Place, matte_of

SETTINGS = {"device": "cpu", "memory": "2GiB"}


class Shouter:
    """Writes the source in capitals, and beside it what the options name."""

    workers = 1

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.places: list[Path] = []

    def process_file(
        self, task: str, options: Mapping[str, Any], source: Place, target: Place, *_: object
    ) -> Mapping[str, JSON]:
        if options.get("errno"):
            raise OutputError("no room") from OSError(options["errno"], "no room")
        named = [Path(options[name]) for name in ("background", "source") if name in options]
        self.places += named
        storage.write(matte_of(target), b"|".join(path.read_bytes() for path in named))
        storage.write(target, storage.read(source).upper())
        return {"task": task, "suffix": Path(str(target)).suffix}


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "node"))
    (tmp_path / "node").mkdir()
    there = Worker(Shouter, load(**SETTINGS), 1, 4)
    yield there
    there.leave()
    assert list((tmp_path / "node").iterdir()) == []


def test_bytes_travel_there_and_back(worker: Worker) -> None:
    """What lies on neither's disk for long: the results are in the answer, the picture last."""
    errand = Errand("matte", {}, "/driver/in.jpg", "/driver/out.x.png")
    answer = worker.work(errand, b"photo")
    assert answer.error is None
    assert answer.result == {"task": "matte", "suffix": ".png"}
    assert answer.files == ((".matte.png", b""), (".png", b"PHOTO"))


def test_other_files_are_found_where_the_node_has_them(worker: Worker) -> None:
    """In the order in which they come, the photo last; what many photos want is written once."""
    options: dict[str, JSON] = {"background": "/driver/b.png", "source": "/driver/s.png"}
    errand = Errand("t", options, "/driver/i", "/o.png", ("/driver/b.png",), ("/driver/s.png",))
    for _ in range(2):
        answer = worker.work(errand, b"back", b"side", b"pho", b"to")
        assert answer.files == ((".matte.png", b"back|side"), (".png", b"PHOTO"))
    back, side, again, other = worker._files.places  # type: ignore[attr-defined]
    assert back == again, "for the cache of pictures it is the same"
    assert side != other, "that of one photo goes with it"
    assert back.exists()
    assert not side.exists()


def test_of_the_pictures_the_one_longest_unused_goes(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that every photo of a job wants stays, however many others come."""
    monkeypatch.setattr("portrayer.jobs.worker.KEPT", 2)
    errand = Errand("t", {"background": "/driver/b.png"}, "/driver/i", "/o.png", ("/driver/b.png",))
    for blob in (b"often", b"once", b"often", b"other"):
        assert worker.work(errand, blob, b"photo").error is None
    often, once, again, other = worker._files.places  # type: ignore[attr-defined]
    assert often == again
    assert [path.exists() for path in (often, once, other)] == [True, False, True]


def test_a_picture_that_went_meanwhile_is_no_fault_of_the_photo(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is for another try."""

    def gone(_: object, options: Mapping[str, Any], *__: object) -> None:
        Path(options["background"]).unlink()
        storage.read(Path(options["background"]))

    monkeypatch.setattr(worker._files, "process_file", lambda task, *rest: gone(task, *rest))
    errand = Errand("t", {"background": "/driver/b.png"}, "/driver/i", "/o.png", ("/driver/b.png",))
    assert isinstance(worker.work(errand, b"back", b"photo").error, CapacityError)


def test_urls_are_read_and_written_from_the_node() -> None:
    """Nothing of them is in the answer."""
    worker = Worker(Shouter, load(**SETTINGS), 1, 1)
    storage.write("memory://in/a.jpg", b"photo")
    answer = worker.work(Errand("t", {}, "memory://in/a.jpg", "memory://out/a.png"))
    assert (answer.error, answer.files) == (None, ())
    assert storage.read("memory://out/a.png") == b"PHOTO"
    worker.leave()


def test_an_error_travels_with_its_number() -> None:
    """Of a URL the place's own; of a node's disk it is the node's, and another may do better."""
    worker = Worker(Shouter, load(**SETTINGS), 1, 1)
    far = worker.work(Errand("t", {"errno": errno.EISDIR}, "memory://in/a.jpg", "memory://b"))
    assert (type(far.error), far.number) == (OutputError, errno.EISDIR)
    near = worker.work(Errand("t", {"errno": errno.ENOSPC}, "memory://in/a.jpg", "/driver/b"))
    assert isinstance(near.error, CapacityError)
    gone = worker.work(Errand("t", {}, "memory://in/none.jpg", "/driver/b"))
    assert isinstance(gone.error, InputError)
    worker.leave()


def refused(_: Settings) -> Shouter:
    raise DeviceUnavailable("no GPU here")


def test_a_node_that_cannot_work_says_why() -> None:
    """It is there all the same, to be asked; and each process has a name of its own."""
    worker, other = (Worker(refused, load(**SETTINGS), 1, 1) for _ in range(2))
    assert isinstance(worker.birth().refusal, DeviceUnavailable)
    assert worker.birth().token != other.birth().token
    worker.leave()
    other.leave()


def test_memory_is_shared_by_those_who_sit_on_it(worker: Worker) -> None:
    """Four workers of one machine take a fourth of what may be used, each."""
    assert worker._files.settings.memory == str((2 << 30) // 4)  # type: ignore[attr-defined]


def test_what_the_dead_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the next who comes to the node; the living keep theirs."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead, living = tmp_path / f"{FOLDER}999999999-x", tmp_path / f"{FOLDER}{os.getpid()}-x"
    for folder in (dead, living):
        folder.mkdir()
    Worker(Shouter, load(**SETTINGS), 1, 1).leave()
    assert [path.name for path in tmp_path.iterdir()] == [living.name]


def test_only_paths_are_exchanged() -> None:
    """At any depth, also behind a word and a colon; all else stays what it is."""
    places = {"/a": "/x", "b.png": "/y"}
    options: JSON = {"one": "/a", "two": {"three": "like:b.png"}, "four": "/a/b.png", "five": 5}
    assert moved(options, places) == {
        "one": "/x",
        "two": {"three": "like:/y"},
        "four": "/a/b.png",
        "five": 5,
    }


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system does not tell")
def test_it_counts_its_share_and_runs_where_it_may() -> None:
    """Within, so many processors are found; afterwards all, and never none."""
    before = os.sched_getaffinity(0)
    for share, found in ((1, 1), (len(before), len(before)), (10_000, len(before)), (0, 1)):
        with counting(share):
            assert cores() == found
        assert os.sched_getaffinity(0) == before
