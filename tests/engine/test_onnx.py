"""Published graphs in the engine: the border carries vectors too, and every law of batches and of
memory holds for them as it does for networks of torch's.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from portrayer.engine import cuda
from portrayer.engine.cuda import CudaDevice
from portrayer.engine.device import CpuDevice
from portrayer.engine.engine import Engine
from portrayer.engine.memory import Budget
from portrayer.engine.replica import Replica
from portrayer.errors import ModelError, PortrayerError, WeightsMismatch
from portrayer.models import catalog, onnx, weights
from portrayer.models.model import build, fold
from portrayer.models.onnx import OnnxModel
from portrayer.models.runtime import Place
from portrayer.models.spec import Graph, ModelSpec, Weights
from tests.engine.fakes import GIB, MIB, Memory
from tests.engine.graphics import Graphics
from tests.models import graphs
from tests.models.test_onnx import greedy

SIDE, WIDTH = 32, 16


def row(name: str, **wish: Any) -> ModelSpec:
    kept = Weights(f"{name}.onnx", "", 0, "MIT", "tests", ("https://example.org/stub.onnx",))
    return ModelSpec(name, "matte", "", kept, SIDE, **{"graph": Graph(), "output": "matte", **wish})


SWAP = Graph("target", "source", WIDTH, matrix="last")
ROWS = {
    "one": (row("one"), 1),
    "many": (row("many"), "n"),
    "swap": (row("swap", output="unit", graph=SWAP), "n"),
    "swap-one": (row("swap-one", output="unit", graph=SWAP), 1),
    "convert": (
        replace(row("convert", output="vector", graph=Graph(vector="v", width=WIDTH)), side=0),
        "n",
    ),
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def spec(tmp_path: Path) -> Callable[[str], ModelSpec]:
    """The rows above, installed."""
    rows: Mapping[str, ModelSpec] = {
        name: graphs.installed(plain, tmp_path, graphs.of(plain, batch=batch))
        for name, (plain, batch) in ROWS.items()
    }
    return rows.__getitem__


def given(name: str, count: int, seed: int = 0) -> list[NDArray[Any] | None]:
    """What a row's model takes."""
    rng, plain = np.random.default_rng(seed), ROWS[name][0]
    assert plain.graph is not None
    return [
        rng.integers(0, 256, (count, SIDE, SIDE, 3), np.uint8) if plain.side else None,
        rng.standard_normal((count, WIDTH), np.float32) if plain.graph.vector else None,
    ]


def cut(arrays: list[NDArray[Any] | None], at: int) -> list[NDArray[Any] | None]:
    return [None if array is None else array[at : at + 1] for array in arrays]


@pytest.mark.parametrize("name", ROWS)
def test_alone_is_as_in_a_batch(name: str, spec: Callable[[str], ModelSpec]) -> None:
    """Through many callers or one, on either replica: each sample its own answer, in order."""
    budget = Budget(GIB)
    one = Engine([CpuDevice("float32") for _ in range(2)], lambda _: budget, spec)
    arrays = given(name, 9)
    together = one.infer(name, *arrays)
    assert len(together.arrays) == 9
    assert (together.device, together.precision) == ("cpu", "float32")
    assert together.arrays.std() > 1e-3
    with ThreadPoolExecutor(6) as pool:
        alone = list(pool.map(lambda at: one.infer(name, *cut(arrays, at)).arrays[0], range(9)))
    np.testing.assert_allclose(np.stack(alone), together.arrays, rtol=1e-4, atol=1 / 255 / 10)
    one.close()
    assert budget.reserved == 0
    assert budget.peak <= budget.total


def test_a_graph_of_one_is_run_one_by_one(spec: Callable[[str], ModelSpec]) -> None:
    """Batches are of one, and the device says why; of one that takes many they are not."""
    budget = Budget(GIB)
    one = Engine([CpuDevice("float32")], lambda _: budget, spec)
    assert one.infer("one", *given("one", 5)).batch == 1
    (seen,) = one.stats().devices
    assert (seen.batch, seen.samples, seen.forwards) == (1, 5, 5)
    one.infer("one", *given("one", 2))
    assert one.infer("many", *given("many", 4)).batch == 4
    one.close()


def test_why_a_batch_is_no_larger(spec: Callable[[str], ModelSpec]) -> None:
    """A graph that takes one at a time is the reason that is told."""
    budget = Budget(GIB)
    replica = Replica(CpuDevice("float32"), budget, spec)
    for name, count, why in (("one", 1, "the graph takes one at a time"), ("many", 4, "best")):
        replica.prepare(name)
        assert replica.reserve(name, 9) == count
        assert why in replica.stats().why
        running = replica.launch(name, list(given(name, 1)[0]), count)  # type: ignore[arg-type]
        replica.finish(running)
    replica.close()
    assert budget.reserved == 0


def test_the_precision_told_is_the_graphs(spec: Callable[[str], ModelSpec]) -> None:
    """A graph runs in its own numbers, whatever the device runs in."""
    budget = Budget(GIB)
    one = Engine([CpuDevice("bfloat16")], lambda _: budget, spec)
    assert one.infer("many", *given("many", 1)).precision == "float32"
    one.close()


WRONG = [
    ("many", None, None),
    ("many", *given("swap", 2)),
    ("many", np.zeros((0, SIDE, SIDE, 3), np.uint8), None),
    ("many", np.zeros((1, SIDE, SIDE, 3), np.float32), None),
    ("swap", given("swap", 2)[0], None),
    ("swap", None, given("swap", 2)[1]),
    ("swap", given("swap", 2)[0], given("swap", 3)[1]),
    ("swap", given("swap", 1)[0], np.zeros((1, WIDTH + 1), np.float32)),
    ("swap", given("swap", 1)[0], np.zeros((1, WIDTH), np.float64)),
    ("convert", None, None),
    ("convert", *given("swap", 1)),
    ("convert", None, np.zeros((0, WIDTH), np.float32)),
]


def test_what_a_model_does_not_take(spec: Callable[[str], ModelSpec]) -> None:
    """It is refused before it is queued, by the model's name."""
    budget = Budget(GIB)
    one = Engine([CpuDevice("float32")], lambda _: budget, spec)
    for name, samples, vectors in WRONG:
        with pytest.raises(ValueError, match=f"^{name} takes "):
            one.infer(name, samples, vectors)
    one.close()


def test_replicas_of_the_cpu_share_one_session(
    spec: Callable[[str], ModelSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is opened once, whoever asks, and gone with the last of them."""
    opened: list[ModelSpec] = []
    load = onnx.load

    def counted(row: ModelSpec, *where: Any) -> OnnxModel:
        opened.append(row)
        return load(row, *where)

    monkeypatch.setattr(onnx, "load", counted)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: CpuDevice("float32").load(spec("many")), range(4)))
    assert len({id(model) for model, _ in found}) == len(opened) == 1
    assert {CpuDevice("float32").measure(model).of(2) for model, _ in found} == {
        found[0][0].peaks[1][1]
    }
    gc.disable()
    try:
        found.clear()
        assert all(key[0] != spec("many") for key in CpuDevice._shared)
    finally:
        gc.enable()


def test_a_provider_that_runs_one_at_a_time(
    spec: Callable[[str], ModelSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replicas that share its session take turns."""
    model, _ = CpuDevice("float32").load(spec("many"))
    assert isinstance(model, OnnxModel)
    model.where = Place("DmlExecutionProvider")
    inside, most, run = threading.Semaphore(1), [], OnnxModel.__call__

    def watched(model: OnnxModel, *arrays: Any) -> Any:
        most.append(inside.acquire(blocking=False))
        try:
            return run(model, *arrays)
        finally:
            inside.release()

    monkeypatch.setattr(OnnxModel, "__call__", watched)
    with ThreadPoolExecutor(4) as pool:
        arrays = given("many", 2)
        list(pool.map(lambda _: CpuDevice("float32").launch(model, *arrays), range(40)))
    assert most == [True] * 40


def test_out_of_memory_halves_the_batch(tmp_path: Path) -> None:
    """A graph of which only one sample fits answers every one of many."""
    plain = row("greedy", output="change")
    there = graphs.installed(plain, tmp_path, greedy(8, 5))
    budget = Budget(GIB)
    device = CpuDevice("float32")
    device.largest_batch = 2
    one = Engine([device], lambda _: budget, lambda _: there)
    samples, _ = given("many", 6)
    answer = one.infer("greedy", samples)
    assert answer.batch == 1
    assert one.stats().splits >= 1
    model = onnx.load(there)
    np.testing.assert_allclose(answer.arrays[3], model(samples[3:4])[0])  # type: ignore[index]
    one.close()
    assert budget.reserved == 0


def test_a_graph_that_does_not_fit_is_told(tmp_path: Path) -> None:
    """Its caller hears what is wrong with the file."""
    there = graphs.installed(row("other"), tmp_path, graphs.picture(2 * SIDE))
    budget = Budget(GIB)
    one = Engine([CpuDevice("float32")], lambda _: budget, lambda _: there)
    with pytest.raises(WeightsMismatch, match=r"other\.onnx .*'input'"):
        one.infer("other", *given("many", 1))
    one.close()


def test_a_device_is_told_its_budget(
    spec: Callable[[str], ModelSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runtime with an arena of its own is bounded by what the user allowed."""
    told: list[tuple[str, int]] = []

    def seen(row: ModelSpec, device: str, memory: int) -> OnnxModel:
        told.append((device, memory))
        raise ModelError("enough")

    monkeypatch.setattr(onnx, "load", seen)
    budget = Budget(GIB)
    one = Engine([CpuDevice("float32")], lambda _: budget, spec)
    with pytest.raises(ModelError, match="enough"):
        one.infer("many", *given("many", 1))
    one.close()
    assert told == [("cpu", GIB)]


def test_on_a_gpu_the_runtime_waits_itself(
    spec: Callable[[str], ModelSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streams, graphs and padding are torch's: what a graph gives is there when it is launched."""
    monkeypatch.setattr(cuda, "torch", Graphics(Memory(GIB)))
    load = onnx.load
    monkeypatch.setattr(onnx, "load", lambda row, _, memory: load(row, "cpu", memory))
    device = CudaDevice(0, "float16")
    budget = Budget(GIB)
    one = Engine([device], lambda _: budget, spec)
    assert one.infer("one", *given("one", 3)).batch == 1
    arrays = given("swap", 5)
    answer = one.infer("swap", *arrays)
    assert (answer.device, answer.precision) == ("cuda:0", "float32")
    expected = load(spec("swap"))(*arrays)
    np.testing.assert_allclose(answer.arrays, expected, atol=1e-5)
    one.close()
    assert budget.reserved == 0


def exported(path: Path, plain: ModelSpec) -> bytes:
    """The shipped network as a graph that takes any number: normalised planes in, logits out."""
    net = build(plain)
    net.load_state_dict(weights.load(plain.weights))
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own age
        torch.onnx.export(
            fold(net.eval()),
            (torch.zeros(1, 3, plain.side, plain.side),),
            str(path),
            input_names=["input"],
            output_names=["logits"],
            dynamic_axes={"input": {0: "n"}, "logits": {0: "n"}},
            dynamo=False,
        )
    return path.read_bytes()


def figures(count: int, side: int) -> NDArray[np.uint8]:
    """A head and shoulders in one colour before another, a little different each time."""
    y, x = np.mgrid[0:side, 0:side] / side
    made = []
    for at in range(count):
        middle = 0.45 + 0.02 * at
        head = ((x - middle) / 0.14) ** 2 + ((y - 0.35) / 0.19) ** 2 < 1
        body = ((x - middle) / 0.34) ** 2 + ((y - 1.0) / 0.45) ** 2 < 1
        picture = np.full((side, side, 3), (70, 110, 150), np.uint8)
        picture[body], picture[head] = (150, 40, 50), (225, 180, 150)
        made.append(picture)
    return np.stack(made)


@pytest.fixture
def both(tmp_path: Path) -> Mapping[str, ModelSpec]:
    """Our own matting network, by torch and by ONNX."""
    ours = catalog.spec("portrait-matting")
    try:
        weights.verify(ours.weights)
    except PortrayerError as error:
        pytest.skip(str(error))
    kept = replace(ROWS["many"][0].weights, file="exported.onnx", bytes=22_413_000)
    theirs = replace(ours, name="exported", build="", weights=kept, graph=Graph())
    blob = exported(tmp_path / "made.onnx", ours)
    return {"ours": ours, "exported": graphs.installed(theirs, tmp_path / "models", blob)}


@pytest.mark.weights
def test_our_own_network_is_the_same_by_either_runtime(both: Mapping[str, ModelSpec]) -> None:
    """Exported, its alpha is within 2/255 of torch's, and both run in turn under 512 MiB; in a
    budget too small for both the one that was used last makes room for the other.
    """
    samples = figures(5, both["ours"].side)
    needs = []
    for spec in both.values():
        device = CpuDevice("float32")
        model, size = device.load(spec)
        needs.append(max(size + device.measure(model).of(1), 2 * spec.weights.bytes))
    del model
    for total, kept in ((512 * MIB, 2), (max(needs) + MIB, 1)):
        assert (sum(needs) <= total) == (kept == 2)
        budget = Budget(total)
        one = Engine([CpuDevice("float32")], lambda _, b=budget: b, both.__getitem__)
        for _ in range(2):
            ours, theirs = (one.infer(name, samples).arrays for name in both)
            assert np.abs(ours - theirs).max() <= 2 / 255
            assert ours.std() > 0.05, "a constant would prove nothing"
            (seen,) = one.stats().devices
            assert seen.models == tuple(both)[-kept:]
        assert 0 < budget.peak <= budget.total
        one.close()
        assert budget.reserved == 0


def test_the_engine_loads_without_the_runtime() -> None:
    """It is an extra: nothing imports it before a graph is loaded."""
    code = "import sys, portrayer.studio; print('onnxruntime' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert told.stdout.strip() == "False", told.stderr
