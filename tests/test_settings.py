"""Laws of settings: who wins, what is refused, and that nothing changes afterwards."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from portrayer.errors import InvalidOption
from portrayer.settings import PREFIX, Settings, load, read_toml


@pytest.fixture(autouse=True)
def empty_house(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No setting from outside: an empty configuration folder, no variables."""
    for name in (*Settings.model_fields, "config"):
        monkeypatch.delenv(PREFIX + name.upper(), raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "own"))
    return tmp_path / "home" / "portrayer"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def refused(config: Path | None = None, **overrides: Any) -> str:
    """The one line that says no."""
    with pytest.raises(InvalidOption) as caught:
        load(config, **overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_nothing_said_is_the_defaults() -> None:
    """Without file, variables and arguments, the settings are as declared."""
    assert load() == Settings()


def test_the_nearest_word_wins(empty_house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments beat variables, variables beat the file, the file beats the defaults; an argument
    of None says nothing."""
    write(empty_house / "config.toml", 'device = "cpu"\nworkers = 1\nmemory = "1GiB"\n')
    monkeypatch.setenv("PORTRAYER_WORKERS", "2")
    monkeypatch.setenv("PORTRAYER_MEMORY", "2GiB")
    found = load(memory="3GiB", workers=None, device=None)
    assert (found.device, found.workers, found.memory) == ("cpu", 2, "3GiB")
    assert found.precision == "auto"


def test_every_setting_has_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text becomes what the field is; presets are for files alone."""
    said: dict[str, tuple[str, object]] = {
        "device": ("cuda:1", "cuda:1"),
        "precision": ("float32", "float32"),
        "memory": ("50%", "50%"),
        "gpu_memory": ("4GiB", "4GiB"),
        "require_gpu": ("true", True),
        "workers": ("3", 3),
        "max_batch": ("8", 8),
        "max_pixels": ("1000", 1000),
        "models": ("models", Path("models")),
        "mirror": ("https://m", "https://m"),
        "proxy": ("http://p", "http://p"),
        "offline": ("true", True),
    }
    assert {*said, "presets", "server"} == set(Settings.model_fields)
    for name, (text, _) in said.items():
        monkeypatch.setenv(PREFIX + name.upper(), text)
    monkeypatch.setenv("PORTRAYER_PRESETS", "nonsense")
    found = {name: value for name, (_, value) in said.items()}
    assert load().model_dump(exclude={"server"}) == found | {"presets": {}}


def test_the_servers_settings_are_told_apart_one_by_one(
    empty_house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File, variables and arguments each say some of a section, and the nearest word wins; a token
    is not shown."""
    write(empty_house / "config.toml", '[server]\nport = 1\nkeep = "2GiB"\nmax_files = 3\n')
    monkeypatch.setenv("PORTRAYER_SERVER_PORT", "2")
    monkeypatch.setenv("PORTRAYER_SERVER_TOKEN", "secret")
    found = load(server={"max_files": 4, "host": None}).server
    assert (found.port, found.keep, found.max_files, found.host) == (2, 2 << 30, 4, "127.0.0.1")
    assert found.token.get_secret_value() == "secret"
    assert "secret" not in repr(found)
    assert load(**dict(load(server={"port": 5}))).server.port == 5


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[server]\nport = 70000\n", "'server.port' in "),
        ("[server]\nporto = 1\n", "'server.porto' in .* port, data"),
        ("server = 1\n", "'server' in "),
        ("[server]\ndeadline = inf\n", "'server.deadline' in "),
    ],
)
def test_a_wrong_setting_of_the_server_is_named(empty_house: Path, text: str, told: str) -> None:
    """Where it stands and what there is."""
    write(empty_house / "config.toml", text)
    assert re.search(told, refused())


def test_a_wrong_section_is_named_whatever_a_variable_says(
    empty_house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is wrong, and the variable does not make up for it."""
    write(empty_house / "config.toml", "server = 1\n")
    monkeypatch.setenv("PORTRAYER_SERVER_PORT", "1")
    assert "'server'" in refused()


def test_models_lie_with_what_is_the_users(
    tmp_path: Path, empty_house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The platform's place unless a folder is named; ~ is the user's home."""
    assert load().models == tmp_path / "own" / "portrayer" / "models"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert load().models.parts[-2:] == ("portrayer", "models")
    write(empty_house / "config.toml", 'models = "~/mine"')
    assert load().models == Path.home() / "mine"
    assert load(models=tmp_path).models == tmp_path


def test_the_file_may_be_named(
    tmp_path: Path, empty_house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By argument before by variable; the usual one is not read then."""
    write(empty_house / "config.toml", "workers = 1\nmax_pixels = 5")
    monkeypatch.setenv("PORTRAYER_CONFIG", str(write(tmp_path / "a.toml", "workers = 2")))
    assert load() == Settings(workers=2)
    assert load(write(tmp_path / "b.toml", "workers = 3")) == Settings(workers=3)


def test_a_named_file_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the usual one may be missing."""
    assert "gone.toml" in refused(tmp_path / "gone.toml")
    monkeypatch.setenv("PORTRAYER_CONFIG", str(tmp_path / "lost.toml"))
    assert "lost.toml" in refused()


def test_presets_come_from_the_file(empty_house: Path) -> None:
    """Tables of one's own, as they were written."""
    write(empty_house / "config.toml", "[presets.mine.options]\nerode = 2\n")
    assert load().presets == {"mine": {"options": {"erode": 2}}}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("colour = 3", "colour"),
        ("workers = -1", "workers"),
        ("workers = 1025", "workers"),
        ("workers = 2.5", "workers"),
        ('workers = "many"', "workers"),
        ("max_pixels = 0", "max_pixels"),
        ("device = 3", "device"),
        ('models = ""', "models"),
        ('require_gpu = "perhaps"', "require_gpu"),
        ("presets = 3", "presets"),
        ("[presets]\nmine = 3", "presets.mine"),
    ],
)
def test_a_bad_setting_is_told(empty_house: Path, text: str, name: str) -> None:
    """One line with the setting's name and the file it stands in."""
    line = refused(write(empty_house / "config.toml", text))
    assert f"'{name}'" in line
    assert "config.toml" in line


def test_a_bad_variable_is_told(empty_house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the variable's own name, not by that of a file which says something else."""
    write(empty_house / "config.toml", "workers = 3")
    monkeypatch.setenv("PORTRAYER_WORKERS", "several")
    line = refused()
    assert "PORTRAYER_WORKERS" in line
    assert "config.toml" not in line
    assert "'workers'" in refused(workers=-1)
    assert "PORTRAYER" not in refused(workers=-1)


def test_an_unknown_argument_is_told() -> None:
    """A misspelled name is not passed over, and the right ones are listed."""
    line = refused(wrokers=3)
    assert "'wrokers'" in line
    assert "workers" in line.replace("wrokers", "")


@pytest.mark.parametrize("content", [b"a = ", b"[a\n", b"\xff\xfe", b"a = 1\na = 1"])
def test_bad_toml_is_told(tmp_path: Path, content: bytes) -> None:
    """One line with the file's name, for bytes that are no text as well."""
    file = tmp_path / "bad.toml"
    file.write_bytes(content)
    with pytest.raises(InvalidOption, match=r"bad\.toml is not valid TOML") as caught:
        read_toml(file)
    assert "\n" not in str(caught.value)


def test_settings_are_frozen() -> None:
    """Nothing can be set afterwards, and nothing else than what there is."""
    with pytest.raises(ValidationError):
        load().workers = 3
    with pytest.raises(ValidationError):
        Settings(colour="red")  # type: ignore[call-arg]
