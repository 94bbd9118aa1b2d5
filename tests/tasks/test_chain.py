"""Laws of chains: what the steps would do one after the other, with nothing lost in between."""

from __future__ import annotations

import dataclasses
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from portrayer.engine.device import CpuDevice, cpu_precision
from portrayer.engine.engine import Engine
from portrayer.engine.memory import Budget
from portrayer.errors import DecodeError, InputError, InvalidOption, UnknownTask
from portrayer.image import codec
from portrayer.image.geometry import limit
from portrayer.models.catalog import spec
from portrayer.pipeline import Pipeline
from portrayer.tasks import TASKS, task
from portrayer.tasks.chain import chain
from portrayer.tasks.options import option, options, read, schema
from portrayer.tasks.task import Encoding, Infer, Product, Task
from portrayer.types import Face, Image
from tests.portraits import admiral, astronaut
from tests.tasks.test_matting import RED, redness

GIB = 2**30
OPAQUE = {"matte": {"background": "white"}}
CHAINS = [
    "+".join(names)
    for count in (2, 3)
    for names in permutations(TASKS, count)
    if "fuse" not in names[1:]
]


@dataclass(frozen=True)
class Adding(Encoding):
    """Options of a toy."""

    level: int = option(1, "is added", ge=0, le=9)


def toy(name: str, *, faces: int | None = None, mark: str = "", inputs: int = 1) -> Task:
    """A task that adds to a photo, and finds so many faces."""

    def run(images: Sequence[Image], options: Any, infer: Infer) -> Product:
        flat = np.zeros((5, 2), np.float32), np.zeros((468, 3), np.float32)
        nobody = Face((0, 0, 1, 1), float(options.level), *flat)
        return Product(
            images[-1] + np.uint8(options.level),
            matte=np.full((1, 1), options.level, np.float32),
            faces=None if faces is None else (nobody,) * faces,
            mark={"by": mark} if mark else None,
        )

    return Task(name, f"Do {name}", ("photo",) * inputs, (name, "x"), Adding, run, lambda *_: 100)


def done(row: Task, values: dict[str, Any], images: int = 1) -> Product:
    photos = [np.zeros((2, 3, 3), np.uint8)] * images
    return row.run(photos, read(row.options, values), redness)


def test_steps_go_one_after_the_other() -> None:
    """Each on what the one before has made; image and matte are the last one's."""
    row = chain([toy("a"), toy("b"), toy("c")])
    product = done(row, {"a": {"level": 1}, "b.level": 3, "c": {"level": "5"}})
    assert (product.image == 9).all()
    assert product.matte is not None
    assert product.matte.item() == 5


def test_faces_and_mark_are_not_lost() -> None:
    """Faces are the last that were looked for, be they none; made synthetic once is for good."""
    row = chain([toy("a", faces=2), toy("b", faces=1, mark="b"), toy("c")])
    product = done(row, {"b": {"level": 7}})
    assert product.faces is not None
    assert [face.score for face in product.faces] == [7]
    assert product.mark == {"by": "b"}
    assert done(chain([toy("a", faces=2), toy("b", faces=0)]), {}).faces == ()
    assert done(chain([toy("a"), toy("b")]), {}).faces is None
    assert done(chain([toy("a", mark="a"), toy("b", mark="b")]), {}).mark == {"by": "b"}


def test_what_the_house_must_know_of_a_chain() -> None:
    """The first one's inputs, all the models once, the memory of the step that needs most beside
    the photo; one class of options a name.
    """
    big = dataclasses.replace(toy("b"), memory=lambda _, pixels: 7 * pixels)
    row = chain([toy("a", inputs=2), big])
    assert (row.name, row.inputs, row.models) == ("a+b", ("photo", "photo"), ("a", "x", "b"))
    assert row.help == "Do a, then do b"
    assert row.memory(read(row.options, {}), 1) == 100
    assert row.memory(read(row.options, {}), 1000) == 3000 + 7000
    for name in CHAINS:
        assert task(name) is task(name)
        assert task(name).name == name
        assert task(name).inputs == task(name.partition("+")[0]).inputs


@pytest.mark.parametrize("name", CHAINS)
def test_options_are_those_of_the_steps(name: str) -> None:
    """As they are alone, each in a field of its own: read, listed and shown alike; frozen."""
    row = task(name)
    names = name.split("+")
    given: dict[str, Any] = {
        "matte": {"background": "#abc", "quality": 3},
        "enhance": {"quality": 4},
    }
    given = {step: given.get(step, {}) for step in names}
    chosen = read(row.options, given)
    dotted = {f"{s}.{n}": value for s, each in given.items() for n, value in each.items()}
    assert chosen == read(row.options, dotted)
    assert hash(chosen) == hash(read(row.options, dotted))
    assert [field.name for field in dataclasses.fields(row.options)] == names
    for step in names:
        assert getattr(chosen, step) == read(task(step).options, given[step])
    listed = [o.name for o in options(row.options)]
    assert listed == [f"{step}.{o.name}" for step in names for o in options(task(step).options)]
    steps = schema(row.options)["properties"]
    assert steps == {step: schema(task(step).options) for step in names}
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(chosen, names[0], None)


@pytest.mark.parametrize("name", CHAINS)
def test_the_file_is_the_last_ones(name: str) -> None:
    """Format, quality, size and what is written: of the step that makes the result."""
    row, last = task(name), name.rpartition("+")[2]
    values: dict[str, Any] = OPAQUE if "matte" in name else {}
    given = {**values, last: {**values.get(last, {}), "format": "webp", "quality": 7}}
    chosen, own = (read(row.options, {**given, f"{last}.max-side": side}) for side in (0, 99))
    assert (chosen.format, chosen.quality, chosen.max_side, own.max_side) == ("webp", 7, 0, 99)
    assert chosen.output == getattr(getattr(chosen, last), "output", "")


@pytest.mark.parametrize(
    ("name", "error", "what"),
    [
        ("matte+matte", InvalidOption, "matte is there again"),
        ("enhance+matte+enhance", InvalidOption, "enhance is there again"),
        ("matte+fuse", InvalidOption, "fuse takes source, target: it can only come first"),
        ("matte+juggle", UnknownTask, "'juggle'"),
        ("+", UnknownTask, "''"),
        ("matte+", UnknownTask, "''"),
        ("matte +enhance", UnknownTask, "'matte '"),
        ("matte+" * 9999, UnknownTask, "''"),
    ],
)
def test_no_chain(name: str, error: type[Exception], what: str) -> None:
    """A task twice, a second photo in the middle, a name that is none: told in a line."""
    with pytest.raises(error) as caught:
        task(name)
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "values", "what"),
    [
        ("matte+enhance", {}, "matte: background is 'none', which lets something through"),
        ("matte+enhance", {"matte.background": "#fff8"}, "background is '#fff8'"),
        ("matte+enhance", {"matte": {"output": "matte"}}, "matte: output is 'matte'"),
        ("matte+enhance", OPAQUE | {"matte.output": "both"}, "output is 'both'"),
        ("enhance+matte", {"enhance": {"compare": True}}, "enhance: compare is on"),
        ("enhance+matte", {"enhance": {"strength": 101}}, "enhance: strength is 101, it can be"),
        ("enhance+matte", {"enhance.faces": "none"}, "enhance: faces is 'none'"),
        ("enhance+matte", {"matte": {"colour": "red"}}, "matte: no option is called 'colour'"),
        ("enhance+matte", {"colour": "red"}, "no option is called 'colour' (there are: enhance, "),
        ("enhance+matte", {"matte": "white"}, "matte takes options by their names"),
        ("enhance+matte", {"matte": None}, "matte takes options by their names"),
        ("enhance+matte", {"matte.matte.crop": True}, "matte: no option is called 'matte.crop'"),
    ],
)
def test_wrong_options_of_a_step(name: str, values: dict[str, Any], what: str) -> None:
    """Before a photo is opened; the step is named."""
    with pytest.raises(InvalidOption) as caught:
        read(task(name).options, values)
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


def test_errors_name_the_inputs() -> None:
    """Those of the first step."""
    row = task("fuse+matte")

    def broken(path: str) -> None:
        if path == "b":
            raise DecodeError("it is torn")

    with pytest.raises(InputError, match="target: it is torn"):
        row.each(broken, ["a", "b"])


def nobody(model: str, samples: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Networks that find people by their colour, and no faces."""
    if model.startswith("face-detector"):
        cells = samples.shape[1] // 8
        return np.full((len(samples), cells, cells, 15), -9, np.float32)
    return redness(model, samples)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("enhance+matte", {"enhance": {"denoise": 0}, "matte": {"background": "#fff8"}}),
        ("matte+enhance", OPAQUE | {"enhance": {"compare": True, "denoise": 0}}),
    ],
)
def test_no_more_memory_than_was_said(name: str, values: dict[str, Any]) -> None:
    """The arrays alive at the peak, the photo's own among them, stay within the estimate."""
    row = task(name)
    chosen = read(row.options, values)
    tracemalloc.start()
    try:
        photo = np.zeros((1500, 2000, 3), np.uint8)
        photo[300:1200, 500:1500] = RED
        row.run([photo], chosen, nobody)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert photo.nbytes < peak <= row.memory(chosen, 1500 * 2000)


@pytest.fixture(scope="module")
def pipeline() -> Iterator[Pipeline]:
    engine = Engine([CpuDevice(cpu_precision())], lambda _: Budget(GIB, "cpu"), spec)
    pipeline = Pipeline(engine, Budget(2 * GIB, "host memory"), workers=1, max_pixels=10**8)
    yield pipeline
    pipeline.close()


def test_a_chain_is_its_steps_without_files_in_between(pipeline: Pipeline) -> None:
    """Fused, restored and cut out in one go: bit by bit what three calls give that hand arrays on,
    marked as synthetic, in the format of the last.
    """
    values = {
        "fuse": {"consent": True, "blend": 0.9},
        "enhance": {"strength": 80, "quality": 1},
        "matte": {"feather": 1.5},
    }
    photos = [np.asarray(astronaut()), limit(codec.decode(admiral()).image, 300)]
    whole = pipeline.run("fuse+enhance+matte", photos, values)
    fused = pipeline.run("fuse", photos, values["fuse"])
    restored = pipeline.run("enhance", [fused.image], values["enhance"])
    cut = pipeline.run("matte", [restored.image], values["matte"])
    assert (whole.image == cut.image).all()
    assert whole.matte is not None
    assert whole.faces is not None
    assert restored.faces is not None
    assert [face.box for face in whole.faces] == [face.box for face in restored.faces]
    assert set(whole.forwards) == {*fused.forwards, *restored.forwards, *cut.forwards}
    decoded = codec.decode(whole.encode())
    assert decoded.header is not None
    assert decoded.header.format == "png"
    assert decoded.credits.mark is not None
    assert decoded.credits.mark.parameters["blend"] == "0.9"


def test_consent_is_asked_of_a_chain_too(pipeline: Pipeline) -> None:
    """Nobody is fused by way of a chain who may not be fused."""
    with pytest.raises(InvalidOption, match="consent"):
        pipeline.run("fuse+matte", [astronaut(), astronaut()])
