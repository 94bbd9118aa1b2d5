"""Laws of choosing models by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portrayer.errors import InvalidOption
from portrayer.models.catalog import CATALOG, spec
from portrayer.tasks import TASKS, describe, task
from portrayer.tasks.choosing import Names, needed, offered, row
from portrayer.tasks.cutting import CUTTERS
from portrayer.tasks.enhancement import RESTORERS
from portrayer.tasks.faces import DETECTORS, MESH
from portrayer.tasks.options import options, read, schema
from portrayer.tasks.presets import applied
from portrayer.tasks.swapping import SWAPPERS

from . import stubs

CHOICES = [
    (name, option)
    for name, each in TASKS.items()
    for option in options(each.options)
    if isinstance(option.choices, Names)
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a user's own models lie: one that cuts out, one that restores."""
    folder = tmp_path / "models"
    monkeypatch.setenv("PORTRAYER_MODELS", str(folder))
    stubs.own(folder, "hairy", "modnet")
    stubs.own(folder, "smooth", "gfpgan-1.4")
    return folder


def test_the_options_that_choose_models() -> None:
    """Each task has one for what does it, and where faces are looked for, one for that."""
    assert {(name, option.name) for name, option in CHOICES} == {
        ("matte", "model"),
        ("enhance", "model"),
        ("enhance", "detector"),
        ("fuse", "model"),
        ("fuse", "detector"),
    }


@pytest.mark.parametrize(("name", "option"), CHOICES, ids=lambda each: getattr(each, "name", each))
def test_every_row_is_in_the_catalogue(name: str, option: Any) -> None:
    """What can be chosen is there, is one of its own table, and the schema lists it."""
    table = option.choices.rows
    rules = schema(TASKS[name].options)["properties"][option.name]
    assert rules["enum"] == list(table)
    assert rules["default"] == next(iter(table))
    for each, chosen in table.items():
        assert chosen.models
        assert set(chosen.models) <= set(CATALOG)
        assert getattr(read(TASKS[name].options, {option.name: each}), option.field) == each
        assert row(option.name, table, each) is chosen


@pytest.mark.parametrize(("name", "option"), CHOICES, ids=lambda each: getattr(each, "name", each))
@pytest.mark.parametrize("wrong", ["no-such", "", "face-landmarks", "portrait-matting", "../x"])
def test_what_is_no_model_is_told(name: str, option: Any, wrong: str) -> None:
    """In one line that lists what there is; the catalogue's other models are none here."""
    for asked in (
        lambda: read(TASKS[name].options, {option.name: wrong}),
        lambda: row(option.name, option.choices.rows, wrong),
    ):
        with pytest.raises(InvalidOption) as caught:
            asked()
        assert all(each in str(caught.value) for each in option.choices.rows)
        assert "\n" not in str(caught.value)


def test_ones_own_takes_the_row_of_what_it_is_like(folder: Path) -> None:
    """All of the row but the name; for the task that it is for and no other."""
    mine = row("model", CUTTERS, "hairy")
    assert (mine.model, mine.fitted, mine.modest) == ("hairy", "squash", False)
    assert spec("hairy").side == spec("modnet").side
    assert row("model", RESTORERS, "smooth").template == RESTORERS["gfpgan-1.4"].template
    assert read(TASKS["matte"].options, {"model": "hairy"}).models == ("hairy",)
    assert "smooth" in read(TASKS["enhance"].options, {"model": "smooth"}).models
    for name, wrong in (("matte", "smooth"), ("enhance", "hairy"), ("fuse", "hairy")):
        with pytest.raises(InvalidOption, match="it can be"):
            read(TASKS[name].options, {"model": wrong})
    assert list(offered(CUTTERS, folder)) == [*CUTTERS, "hairy"]
    assert list(offered(SWAPPERS, folder)) == list(SWAPPERS)
    assert "hairy" not in describe()[0]["options"]["properties"]["model"]["enum"]


def test_ones_own_cuts_out(folder: Path) -> None:
    """It is what runs, and it cuts out as the one does that it is made like."""
    stubs.install(folder, "modnet", seed=0)
    pipeline = stubs.pipeline(folder)
    try:
        photo = np.random.default_rng(0).integers(0, 256, (60, 50, 3), np.uint8)
        made, same = (pipeline.run("matte", [photo], {"model": m}) for m in ("hairy", "modnet"))
    finally:
        pipeline.close()
    assert set(made.forwards) == {"hairy"}
    assert (made.image == same.image).all()


def test_what_options_need() -> None:
    """The models of a task or of every step of a chain, each once; and what a fusing network
    needs beside it.
    """
    lite = DETECTORS["lite"].models
    assert lite[-1] == MESH
    assert needed(read(TASKS["matte"].options, {})) == ("portrait-matting",)
    assert needed(read(TASKS["fuse"].options, {"consent": True})) == lite
    simple = needed(read(TASKS["fuse"].options, {"model": "inswapper-128", "detector": "yunet"}))
    assert simple == ("yunet", MESH, "inswapper-128", "arcface")
    ghost = needed(read(TASKS["fuse"].options, {"model": "ghost", "restore": True}))
    assert ghost == (*lite, "ghost", "arcface", "crossface-ghost", "portrait-restore")
    chain = task("fuse+enhance+matte")
    wish = {"enhance": {"model": "codeformer"}, "matte": {"model": "modnet"}}
    assert needed(read(chain.options, wish)) == (*lite, "codeformer", "modnet")


def test_a_preset_names_a_model() -> None:
    """One's own preset may, and what is said beside it wins."""
    own = {"fine": {"task": "matte", "options": {"model": "birefnet-portrait"}}}
    kind = TASKS["matte"].options
    assert read(kind, applied("fine", "matte", {}, own)).model == "birefnet-portrait"
    assert read(kind, applied("fine", "matte", {"model": "lite"}, own)).model == "lite"
    told = json.loads(json.dumps(describe(own)))[0]["presets"][-1]
    assert told["options"] == {"model": "birefnet-portrait"}
