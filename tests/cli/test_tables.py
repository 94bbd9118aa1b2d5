"""doctor, presets and demo: what they print, and their exit codes."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from portrayer.models.catalog import CATALOG
from portrayer.tasks.presets import PRESETS

from .terminal import picture, portrayer, tree


def test_doctor_says_what_is_used_and_why() -> None:
    """A ready installation is exit code 0; a device that is not there is 3, and said."""
    ready = portrayer("doctor", "--json")
    assert (ready.code, ready.err) == (0, "")
    assert ready.report["ready"] is True
    assert ready.report["device"].endswith("cpu")
    assert ready.report["why"] == "asked for 'cpu'"
    shipped = sum(spec.weights.shipped for spec in CATALOG.values())
    assert f"{shipped} of {shipped} verified" in ready.report["models"]
    lines = portrayer("doctor").out.decode().splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["portrayer", "python", "torch"]
    assert portrayer("doctor", "--precision", "float32", "--json").report["precision"] == "float32"
    missing = portrayer("doctor", "--device", "cuda:99", "--json")
    assert (missing.code, missing.report["ready"]) == (3, False)
    assert missing.report["device"].startswith("none: ")


def test_presets_are_listed_and_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row for each, one's own among them; each prints as TOML that holds its options."""
    config = tmp_path / "config.toml"
    config.write_text('[presets.passport]\nhelp = "grey"\noptions = {background = "#ccc"}\n')
    monkeypatch.setenv("PORTRAYER_CONFIG", str(config))
    head, *rows = portrayer("presets").out.decode().splitlines()
    assert head.split() == ["name", "task", "help", "options"]
    assert [row.split()[0] for row in rows] == [*PRESETS, "passport"]
    assert rows[-1].endswith("background #ccc")
    for name, preset in PRESETS.items():
        printed = portrayer("presets", name)
        assert printed.code == 0
        assert tomllib.loads(printed.out.decode())["options"] == dict(preset.options)


def test_the_demo_writes_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two portraits cut out, one restored, both fused, a sheet, and the speed: a line each."""
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("portrayer.cli.demo.ROUNDS", 1)
    shown = portrayer("demo", "--out", tmp_path / "out")
    assert (shown.code, shown.err) == (0, "")
    *files, speed = shown.out.decode().splitlines()
    names = ["astronaut.png", "grace_hopper.png", "sheet.png", "restored.png", "fused.png"]
    assert files == [str(tmp_path / "out" / name) for name in names]
    assert tree(tmp_path / "out") == set(names)
    assert picture(tmp_path / "out" / "astronaut.png") == ("RGBA", (512, 512))
    assert picture(tmp_path / "out" / "grace_hopper.png")[0] == "RGBA"
    for name in names[2:]:
        assert picture(tmp_path / "out" / name)[0] == "RGB"
    assert "images per second on cpu" in speed
