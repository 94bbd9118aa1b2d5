"""Laws of presets: every one reads, one's own win, a file says what was meant."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portrayer.errors import InvalidOption
from portrayer.tasks import TASKS, task
from portrayer.tasks.options import read
from portrayer.tasks.presets import PRESETS, Preset, applied, chosen, load, preset

TEXT = st.text(st.characters(codec="utf-8"))
VALUES = st.one_of(st.booleans(), st.integers(-(2**62), 2**62), st.floats(allow_nan=False), TEXT)


def one_line(run: Any, *arguments: Any) -> str:
    with pytest.raises(InvalidOption) as caught:
        run(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", PRESETS)
def test_built_in_presets_read(name: str) -> None:
    """Each one names a task there is and options that task accepts; it changes something."""
    row = PRESETS[name]
    assert row.name == name
    assert row.help
    task = TASKS[row.task]
    assert read(task.options, row.options) != task.options()


@pytest.mark.parametrize("name", PRESETS)
def test_built_in_presets_survive_a_file(name: str, tmp_path: Path) -> None:
    """Printed, saved and loaded again, a preset is the same."""
    file = tmp_path / "mine.toml"
    file.write_text(PRESETS[name].to_toml(), encoding="utf-8")
    assert load(file) == preset(str(file)) == PRESETS[name]


@given(TEXT, TEXT, TEXT, st.dictionaries(TEXT, VALUES, max_size=4))
def test_any_preset_survives_a_file(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    task: str,
    help: str,
    options: dict[str, Any],
) -> None:
    """Quotes, backslashes, line ends, any letters: what is written is what is read."""
    file = tmp_path_factory.getbasetemp() / "any.toml"
    made = Preset(name, task, options, help)
    file.write_bytes(made.to_toml().encode())
    assert dataclasses.astuple(load(file)) == dataclasses.astuple(made)


def test_ones_own_win() -> None:
    """A preset in the settings goes before a built-in one of the same name; others stay."""
    own = {"id-photo": {"task": "matte", "options": {"background": "red"}, "help": "mine"}}
    mine = preset("id-photo", own)
    assert mine == Preset("id-photo", "matte", {"background": "red"}, "mine")
    assert preset("social", own) is PRESETS["social"]


def test_options_given_beat_the_presets() -> None:
    """What is said beside a preset wins, however its name is spelled; without one, all stays."""
    plain = {"alpha_threshold": 3, "crop": True}
    assert applied("", "matte", plain) == {"alpha-threshold": 3, "crop": True}
    assert applied("id-photo", "matte", plain) == {
        **PRESETS["id-photo"].options,
        "alpha-threshold": 3,
        "crop": True,
    }
    own = {"mine": {"options": {"alpha_threshold": 9, "erode": 1}}}
    assert applied("mine", "matte", plain, own)["alpha-threshold"] == 3
    assert "mine" in one_line(applied, "mine", "enhance", {}, own)


def test_a_file_is_named_after_itself(tmp_path: Path) -> None:
    """Name, task and help may be left out."""
    file = tmp_path / "passport.toml"
    file.write_text("[options]\nerode = 1.5\n")
    assert load(file) == Preset("passport", "matte", {"erode": 1.5})


@pytest.mark.parametrize(
    "content",
    [
        b"name = ",
        b"[options\nerode = 1",
        b"a = 1\na = 2",
        b"\xff\xfe\x00",
        b"colour = 'red'",
        b"options = 3",
        b"[options.erode]\npixels = 2\n[extra]\n",
    ],
)
def test_a_bad_file_is_told_in_one_line(content: bytes, tmp_path: Path) -> None:
    """What is no TOML and what is no preset, with the file's name."""
    file = tmp_path / "bad.toml"
    file.write_bytes(content)
    assert "bad" in one_line(load, file)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """A missing file and a folder."""
    assert "gone.toml" in one_line(preset, str(tmp_path / "gone.toml"))
    (tmp_path / "folder.toml").mkdir()
    assert "folder.toml" in one_line(preset, str(tmp_path / "folder.toml"))


def test_an_unknown_preset_is_told() -> None:
    """With the ones there are, one's own among them."""
    line = one_line(preset, "passport", {"mine": {}})
    assert "'passport'" in line
    assert "id-photo" in line
    assert "mine" in line


OWN = {"mine": {"task": "enhance", "options": {"strength": 5, "min_face": 9}}}


def test_a_step_names_its_own_preset() -> None:
    """Beside its options, which win; with dots or nested; the others are left alone."""
    for values in (
        {"enhance": {"preset": "old-photo", "denoise": 1}, "matte": {"crop": True}},
        {"enhance.preset": "old-photo", "enhance.denoise": 1, "matte.crop": True},
    ):
        assert chosen("enhance+matte", values) == {
            "enhance": {**PRESETS["old-photo"].options, "denoise": 1},
            "matte": {"crop": True},
        }
    assert chosen("fuse+matte", {"source": "x"}) == {"source": "x"}
    both = chosen("enhance+matte", {"matte.preset": "id-photo", "enhance.preset": "mine"}, own=OWN)
    assert both == {
        "enhance": {"strength": 5, "min-face": 9},
        "matte": dict(PRESETS["id-photo"].options),
    }


def test_one_preset_for_all() -> None:
    """It goes to the step that it is for, unless that step names another."""
    assert chosen("enhance+matte", {}, "social") == {"matte": dict(PRESETS["social"].options)}
    other = chosen("enhance+matte", {"matte": {"preset": "product", "erode": 3}}, "social")
    assert other == {"matte": {**PRESETS["product"].options, "erode": 3}}
    assert chosen("matte", {"alpha_threshold": 3}, "social") == applied(
        "social", "matte", {"alpha_threshold": 3}
    )
    assert chosen("matte", {"preset": "product"}, "social") == dict(PRESETS["product"].options)


@pytest.mark.parametrize("name", ["enhance+matte", "matte+enhance", "enhance"])
def test_presets_of_chains_read(name: str) -> None:
    """What is chosen is what a chain takes."""
    values = {"enhance.preset": "retouch"} if "+" in name else {"preset": "retouch"}
    preset = "id-photo" if "matte" in name else "retouch"
    assert read(task(name).options, chosen(name, values, preset))


@pytest.mark.parametrize(
    ("name", "values", "preset", "what"),
    [
        (
            "enhance+matte",
            {"enhance": {"preset": "social"}},
            "",
            "'social' is for the task 'matte'",
        ),
        ("fuse+matte", {}, "fast", "'fast' is for the task 'enhance', not 'fuse+matte'"),
        ("enhance", {}, "social", "'social' is for the task 'matte'"),
        ("enhance", {"preset": ["fast"]}, "", "preset takes a name"),
        ("enhance+matte", {"enhance": "fast"}, "", "enhance takes options"),
        ("enhance+matte", {}, "passport", "no preset is called 'passport'"),
    ],
)
def test_a_preset_that_does_not_fit(
    name: str, values: dict[str, Any], preset: str, what: str
) -> None:
    """Nothing is chosen in silence."""
    assert what in one_line(chosen, name, values, preset)


def test_a_name_is_never_taken_for_a_file(tmp_path: Path) -> None:
    """Whoever chooses by name alone learns of no file whether it is there."""
    file = tmp_path / "mine.toml"
    lines = []
    for _ in range(2):
        for values in ({"preset": str(file)}, {}):
            lines.append(one_line(chosen, "matte", values, "" if values else str(file)))
        file.write_text("[options]\nerode = 1.5\n")
    assert len(set(lines)) == 1
    assert "toml file" not in lines[0]
    assert applied(str(file), "matte", {}) == {"erode": 1.5}


def test_nobodys_word_is_in_a_preset() -> None:
    """Consent is given by whoever asks, or not at all."""
    own = {"nice": {"task": "fuse", "options": {"consent": True, "blend": 0.5}}}
    assert chosen("fuse", {}, "nice", own) == applied("nice", "fuse", {}, own) == {"blend": 0.5}
    assert chosen("fuse", {"consent": True}, "nice", own) == {"blend": 0.5, "consent": True}
    assert chosen("fuse+matte", {"fuse.preset": "nice"}, "", own) == {"fuse": {"blend": 0.5}}
