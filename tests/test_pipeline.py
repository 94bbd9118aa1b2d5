"""Laws of the pipeline, with the real engine and the shipped weights on the CPU."""

from __future__ import annotations

import dataclasses
import io
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from portrayer.engine.memory import Budget
from portrayer.errors import (
    Canceled,
    DeadlineExceeded,
    DecodeError,
    ImageTooLarge,
    InputError,
    InvalidOption,
    OutOfMemory,
    PortrayerError,
    UnknownTask,
)
from portrayer.image import codec, thumbnail
from portrayer.image.given import open_source
from portrayer.pipeline import Pipeline
from portrayer.settings import Settings
from portrayer.studio import Studio
from portrayer.tasks import task as find_task
from portrayer.tasks.matting import Matting
from portrayer.types import Image
from tests.engine.fakes import eventually
from tests.portraits import admiral, astronaut

SMALL = {"max-side": 300}


@pytest.fixture(scope="module")
def studio() -> Iterator[Studio]:
    with Studio(Settings(device="cpu", memory="1GiB", workers=2)) as studio:
        yield studio


def told(error: PortrayerError) -> str:
    """The one line a user reads."""
    assert "\n" not in str(error)
    return str(error)


def test_people_are_cut_out(studio: Studio) -> None:
    """Of two well-known portraits, the faces stay and the plain walls beside them go."""
    for photo, wall in ((astronaut(), np.s_[20:80, 168:180]), (admiral(), np.s_[20:280, 440:500])):
        alpha = studio.matte(photo).image[..., 3]
        height, width = alpha.shape
        face = alpha[height // 4 : height * 3 // 10, width * 4 // 10 : width * 48 // 100]
        assert face.mean() > 230
        assert alpha[wall].mean() < 60


def test_every_kind_of_source_gives_the_same(studio: Studio, tmp_path: Path) -> None:
    """A path as text or Path, bytes, a bytearray, a Pillow image, an open Pillow file, an array."""
    file = tmp_path / "a.jpg"
    file.write_bytes(admiral())
    first = studio.matte(file)
    array = codec.decode(admiral()).image
    with Pillow.open(io.BytesIO(admiral())) as opened:
        sources = [
            str(file),
            admiral(),
            bytearray(admiral()),
            memoryview(admiral()),
            array,
            np.asfortranarray(array),
            Pillow.fromarray(array),
            opened,
        ]
        for source in sources:
            result = studio.matte(source)
            assert np.abs(result.image.astype(int) - first.image).max() <= 1


def test_a_result_says_how_it_came_about(studio: Studio) -> None:
    """Device, precision, batch, seconds by stage, the options it was made with."""
    result = studio.matte(astronaut(), background="white", erode="1")
    assert (result.device, result.precision) == ("cpu", studio_precision(studio))
    assert result.batch >= 1
    assert set(result.timings) == {"decode", "task", "infer"}
    assert all(seconds >= 0 for seconds in result.timings.values())
    assert result.options == Matting(background="white", erode=1.0)
    assert result.matte is not None
    assert result.matte.shape == result.image.shape[:2] == (256, 256)


def studio_precision(studio: Studio) -> str:
    return studio.pipeline.engine.replicas[0].device.precision


def test_options_come_in_every_form(studio: Studio) -> None:
    """Names and values, the dataclass, a preset; what is said beside a preset wins."""
    run = studio.pipeline.run
    one = run("matte", [astronaut()], {"background": "white", "max-side": "64"})
    other = run("matte", [astronaut()], Matting(background="white", max_side=64))
    assert (one.image == other.image).all()
    assert studio.matte(astronaut(), preset="id-photo", max_side=64).options.background == "white"
    assert studio.matte(astronaut(), preset="id-photo", background="red").options.erode == 2


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (b"", DecodeError),
        (b"not a picture", DecodeError),
        ("gone.jpg", InputError),
        ("a\0b.jpg", InputError),
        ("new\nline.jpg", InputError),
        (Path("/"), InputError),
        (None, DecodeError),
        (3, DecodeError),
        (np.zeros((4, 4, 3)), DecodeError),
        (np.zeros((4, 4, 2), np.uint8), DecodeError),
        (np.zeros((0, 4, 3), np.uint8), DecodeError),
        (np.zeros(9, np.uint8), DecodeError),
        (Pillow.new("F", (4, 4)), DecodeError),
    ],
)
def test_what_is_no_photo_is_told(studio: Studio, source: Any, error: type[InputError]) -> None:
    """One line that the caller can act on, and nothing stays reserved."""
    with pytest.raises(error) as caught:
        studio.matte(source)
    told(caught.value)
    assert studio.pipeline.host.reserved == 0


def test_a_wrong_wish_is_told_at_once(studio: Studio) -> None:
    """An unknown task, option, or number of inputs, also by `map` before any photo is taken."""
    never: Iterator[Any] = iter(lambda: pytest.fail("a photo was taken"), None)
    with pytest.raises(UnknownTask):
        studio.map("juggle", never)
    with pytest.raises(InvalidOption):
        studio.map("matte", never, erode=99)
    for inputs in ([], [astronaut()] * 2):
        with pytest.raises(InputError, match="photo"):
            studio.pipeline.run("matte", inputs)


def test_map_keeps_the_order(studio: Studio) -> None:
    """Results come as the inputs went, however long each one takes."""
    sizes = [(40, 30), (700, 500), (9, 64), (300, 300), (1, 1), (64, 9), (31, 32)]
    results = studio.map("matte", (np.zeros((*size, 3), np.uint8) for size in sizes))
    assert [r.image.shape[:2] for r in results] == sizes


def test_map_takes_inputs_as_they_are_needed(studio: Studio) -> None:
    """No more than are worked on and one; a consumer that stops early leaves the rest untouched."""
    taken = 0

    def endless() -> Iterator[Image]:
        nonlocal taken
        while True:
            taken += 1
            yield np.zeros((8, 8, 3), np.uint8)

    results = studio.map("matte", endless())
    assert taken == 0
    for done in range(1, 6):
        next(results)
        assert taken <= done + studio.pipeline.workers
    results.close()  # type: ignore[attr-defined]
    before = taken
    studio.matte(astronaut(), max_side=32)
    assert taken == before


def test_an_error_is_raised_at_its_place(studio: Studio) -> None:
    """What came before a bad photo is given out first."""
    good = np.zeros((16, 16, 3), np.uint8)
    results = studio.map("matte", [good, good, b"bad", good])
    assert next(results).image.shape == (16, 16, 4)
    assert next(results).image.shape == (16, 16, 4)
    with pytest.raises(DecodeError):
        next(results)
    assert settled(studio.pipeline)


def settled(pipeline: Pipeline) -> bool:
    """Whether, in a moment, nothing is reserved for photos any more."""
    end = time.monotonic() + 20
    while pipeline.host.reserved and time.monotonic() < end:
        time.sleep(0.01)
    return pipeline.host.reserved == 0


def test_saving_is_by_name(studio: Studio, tmp_path: Path) -> None:
    """The ending decides the format, without one the options do; 'both' writes the matte beside."""
    result = studio.matte(astronaut(), output="both", background="white", format="webp")
    for name, format in (("a.png", "png"), ("b.jpg", "jpeg"), ("c.webp", "webp"), ("d", "webp")):
        path = result.save(tmp_path / "made" / name)
        assert path == tmp_path / "made" / name
        header = codec.probe(path.read_bytes())
        assert (header.format, header.width, header.height) == (format, 256, 256)
    grey = codec.decode((tmp_path / "made" / "b.matte.png").read_bytes()).image
    assert result.matte is not None
    assert np.abs(grey[..., 0] - result.matte * 255.0).max() <= 0.51
    assert codec.probe(result.encode()).format == "webp"


def test_saving_is_whole_or_not_at_all(studio: Studio, tmp_path: Path) -> None:
    """What cannot be written leaves the old file, and nothing else, behind."""
    result = studio.matte(astronaut())
    old = tmp_path / "a.jpg"
    old.write_bytes(b"old")
    with pytest.raises(InvalidOption) as caught:
        result.save(old)  # a JPEG holds no transparency
    assert "JPEG" in told(caught.value)
    with pytest.raises(InvalidOption):
        result.save(tmp_path / "a.gif")
    with pytest.raises(InputError):
        result.save(old / "below.png")
    assert old.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.jpg"]


def test_a_file_to_a_file(studio: Studio, tmp_path: Path) -> None:
    """What the ledger does: the result is written while its memory is still reserved."""
    (tmp_path / "a.jpg").write_bytes(admiral())
    stages: dict[str, int] = {}

    def watch(stage: str) -> None:
        stages[stage] = studio.pipeline.host.reserved

    target = tmp_path / "a.png"
    row = studio.pipeline.process_file("matte", {}, tmp_path / "a.jpg", target, watch)
    assert list(stages) == list(row["seconds"]) == ["decode", "task", "infer", "encode"]
    assert min(stages.values()) > 0
    header = codec.probe(target.read_bytes())
    assert (row["format"], row["width"], row["height"]) == ("png", header.width, header.height)
    assert row["bytes"] == target.stat().st_size
    assert row["device"] == "cpu"
    assert set(row) == {
        *("device", "precision", "batch", "seconds"),
        *("width", "height", "bytes", "format"),
    }


def test_who_watches_hears_every_stage(studio: Studio) -> None:
    """In turn, as the task goes: a photo looked at twice is inferred twice."""
    heard: list[str] = []
    studio.pipeline.run("matte", [astronaut()], {"looks": 2}, watch=heard.append)
    assert heard == ["decode", "task", "infer", "task", "infer", "task"]


STAGES = ("decode", "task", "infer", "task", "encode")


@pytest.mark.parametrize("border", range(len(STAGES)))
def test_a_watch_ends_the_photo(studio: Studio, border: int, tmp_path: Path) -> None:
    """At whatever stage it raises: memory comes back, nothing waits, no file is there."""
    (tmp_path / "a.jpg").write_bytes(admiral())
    heard: list[str] = []

    def watch(stage: str) -> None:
        heard.append(stage)
        if len(heard) > border:
            raise Canceled("nobody wants it")

    with pytest.raises(Canceled):
        studio.pipeline.process_file("matte", {}, tmp_path / "a.jpg", tmp_path / "b.png", watch)
    assert tuple(heard) == STAGES[: border + 1]
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]
    assert studio.pipeline.host.reserved == 0
    assert studio.pipeline.engine.stats().waiting == 0
    assert not studio.pipeline._precedence._working


def test_a_result_is_encoded_in_its_place(studio: Studio) -> None:
    """In the block the photo still holds its memory; then it is given back, also by an error."""
    heard: list[str] = []
    with studio.pipeline.process("matte", [astronaut()], watch=heard.append) as result:
        assert studio.pipeline.host.reserved > 0
        assert codec.probe(result.encode("webp")).format == "webp"
    assert heard[-1] == "encode"
    assert result.timings["encode"] > 0
    assert studio.pipeline.host.reserved == 0
    with pytest.raises(KeyError), studio.pipeline.process("matte", [astronaut()]):
        raise KeyError
    assert studio.pipeline.host.reserved == 0


def test_the_higher_priority_goes_first(studio: Studio) -> None:
    """While a photo of a higher priority is worked on, one of a lower one does not begin."""
    began, done = threading.Event(), threading.Event()

    def watch(stage: str) -> None:
        began.set()

    def later() -> None:
        studio.pipeline.run("matte", [astronaut()], watch=watch)
        done.set()

    with studio.pipeline.process("matte", [astronaut()], priority=1):
        held = studio.pipeline.host.reserved
        thread = threading.Thread(target=later)
        thread.start()
        assert eventually(lambda: studio.pipeline.host.reserved > held)
        assert not began.wait(0.1)
    assert done.wait(20)
    thread.join()


def test_a_tight_budget_is_kept(studio: Studio) -> None:
    """Many photos in memory for two: all are done, the ledger never passes its total, and a photo
    that cannot fit alone is refused in one line."""
    small = np.zeros((120, 160, 3), np.uint8)
    need = find_task("matte").memory(Matting(), 120 * 160)
    tight = Pipeline(studio.pipeline.engine, Budget(2 * need, "host"), workers=4, max_pixels=10**8)
    try:
        results = list(tight.map("matte", [small] * 20))
        assert len(results) == 20
        assert need <= tight.host.peak <= tight.host.total
        assert tight.host.reserved == 0
        with pytest.raises(OutOfMemory) as caught:
            tight.run("matte", [np.zeros((2000, 2000, 3), np.uint8)])
        assert "host" in told(caught.value)
    finally:
        tight._pool.shutdown()  # the engine is shared with the other tests


@pytest.mark.parametrize("task", ["matte", "enhance", "matte+enhance"])
def test_no_more_is_read_than_is_wanted(studio: Studio, task: str) -> None:
    """Of a large photo that is to become a small picture, less is decoded and less memory taken,
    and the picture is what it would be.
    """
    large = codec.encode(np.kron(astronaut(), np.ones((5, 5, 1), np.uint8)), "jpeg")
    first = task.split("+")[0]
    wish = {f"{first}.max-side": 300, "matte.background": "white"} if "+" in task else SMALL
    read = studio.pipeline.run(task, [large], wish)
    whole = studio.pipeline.run(task, [codec.decode(large).image], wish)
    assert read.image.shape == whole.image.shape
    assert np.abs(read.image.astype(int) - whole.image).mean() < 3
    assert open_source(large, side=300).bytes < open_source(large).bytes


def test_pictures_that_options_name_are_counted(studio: Studio, tmp_path: Path) -> None:
    """Host memory is reserved for a background's file as it is for the photo."""
    ground = tmp_path / "ground.png"
    ground.write_bytes(codec.encode(np.zeros((400, 500, 3), np.uint8)))
    held: list[int] = []
    for background in ("white", str(ground)):
        wish = Matting(background=background)
        with studio.pipeline.process("matte", [astronaut()], wish):
            held.append(studio.pipeline.host.reserved)
    assert held[1] - held[0] >= 3 * 400 * 500


def test_the_time_allowed_is_kept(studio: Studio) -> None:
    """A photo that cannot be done in time is given up in one line."""
    with pytest.raises(PortrayerError) as caught:
        studio.pipeline.run("matte", [astronaut()], seconds=0)
    assert caught.value.code == "deadline"
    told(caught.value)


def test_the_time_allowed_bounds_the_wait_for_memory(studio: Studio) -> None:
    """A photo in line for host memory gives up its place in time, and says so in one line."""
    host = Budget(100 * 2**20, "host memory")
    full = Pipeline(studio.pipeline.engine, host, workers=1, max_pixels=10**8)
    with host.reserve(host.total), pytest.raises(DeadlineExceeded, match="host memory") as caught:
        full.run("matte", [astronaut()], seconds=0.05)
    told(caught.value)
    assert host.reserved == 0
    assert full.run("matte", [astronaut()], seconds=60).batch == 1


def test_the_time_allowed_is_looked_at_between_stages(studio: Studio) -> None:
    """The stage in which it ends is the last one."""
    heard: list[str] = []

    def watch(stage: str) -> None:
        heard.append(stage)
        while stage == "task" and time.monotonic() < end:
            pass

    end = time.monotonic() + 0.5
    with pytest.raises(DeadlineExceeded):
        studio.pipeline.run("matte", [astronaut()], seconds=0.5, watch=watch)
    assert "infer" not in heard
    assert studio.pipeline.host.reserved == 0


def test_a_thumbnail(studio: Studio, tmp_path: Path) -> None:
    """Small, upright, with the file's own alpha, under the host's budget; refused as photos are."""
    file = tmp_path / "a.png"
    studio.matte(admiral()).save(file)
    with Pillow.open(io.BytesIO(studio.pipeline.thumbnail(file, 64))) as small:
        assert (small.format, small.mode, max(small.size)) == ("WEBP", "RGBA", 64)
    file.write_bytes(b"not a picture")
    with pytest.raises(DecodeError):
        studio.pipeline.thumbnail(file, 64)
    with pytest.raises(InputError):
        studio.pipeline.thumbnail(tmp_path / "gone.png", 64)
    file.write_bytes(codec.encode(np.zeros((1000, 1000, 3), np.uint8)))
    engine = studio.pipeline.engine
    least = Pipeline(engine, Budget(2**20, "host memory"), workers=1, max_pixels=10**6)
    with pytest.raises(OutOfMemory, match="host memory"):
        least.thumbnail(file, 64)
    file.write_bytes(codec.encode(np.zeros((1000, 1001, 3), np.uint8)))
    with pytest.raises(ImageTooLarge):
        least.thumbnail(file, 64)


def test_a_thumbnail_waits_before_the_photos_and_not_for_ever(
    studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of memory that is full it gets the first that becomes free; in vain it waits for a time."""
    file = tmp_path / "a.png"
    file.write_bytes(codec.encode(np.zeros((1000, 1000, 3), np.uint8)))
    host = Budget(2**24, "host memory")
    pipeline = Pipeline(studio.pipeline.engine, host, workers=1, max_pixels=10**6)
    order: list[str] = []

    def photo() -> None:
        with host.reserve(2**24):
            order.append("photo")

    def made(*given: Any, **options: Any) -> bytes:
        order.append("small")  # while it has its memory
        return make(*given, **options)

    make = thumbnail.make
    monkeypatch.setattr(thumbnail, "make", made)
    with ThreadPoolExecutor(2) as pool:
        with host.reserve(2**24):
            waiting: list[Future[Any]] = [pool.submit(photo)]
            assert eventually(lambda: len(host._line) == 1)
            waiting.append(pool.submit(pipeline.thumbnail, file, 64))
            assert eventually(lambda: len(host._line) == 2)
        for each in waiting:
            each.result()
    assert order == ["small", "photo"]
    monkeypatch.setattr("portrayer.pipeline.GLANCE", 0.01)
    with host.reserve(2**24), pytest.raises(DeadlineExceeded):
        pipeline.thumbnail(file, 64)


def test_results_are_values(studio: Studio) -> None:
    """Two runs of the same photo agree; a result cannot be changed."""
    one, other = studio.matte(astronaut()), studio.matte(astronaut())
    assert np.abs(one.image.astype(int) - other.image).max() <= 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.device = "else"  # type: ignore[misc]
