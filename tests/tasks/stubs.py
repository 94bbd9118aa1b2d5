"""Published models as small graphs of chance, installed in a folder of their own, and a pipeline
that runs them.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from portrayer.engine.device import CpuDevice
from portrayer.engine.engine import Engine
from portrayer.engine.memory import Budget
from portrayer.models import installed
from portrayer.models.catalog import following, spec
from portrayer.pipeline import Pipeline
from tests.models import graphs

GIB = 2**30


def install(folder: Path, *names: str, seed: int = 0) -> None:
    """Graphs with the interfaces of these rows, which take any number of samples."""
    for name in names:
        row = spec(name, folder)
        file = graphs.write(folder / "made" / f"{name}.onnx", graphs.of(row, batch="n", seed=seed))
        unpinned = replace(row.weights, sha256="", md5="")
        installed.add(replace(row, weights=unpinned), file, consented=True)


def own(folder: Path, name: str, like: str, seed: int = 0) -> None:
    """A user's own model, which is called as ``like`` is."""
    row = spec(like)
    file = graphs.write(folder / "made" / f"{name}.onnx", graphs.of(row, batch="n", seed=seed))
    installed.add(following(row, name, file, folder), file, consented=True)


def pipeline(folder: Path) -> Pipeline:
    """One replica, with the models of ``folder`` beside the shipped ones."""
    device = CpuDevice("float32")
    engine = Engine([device], lambda _: Budget(2 * GIB, "cpu"), partial(spec, folder=folder))
    return Pipeline(engine, Budget(2 * GIB, "host memory"), workers=2, max_pixels=10**8)
