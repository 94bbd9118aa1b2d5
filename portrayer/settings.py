"""The only reader of the environment and of TOML files. What it gives out is frozen."""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from portrayer.errors import InvalidOption

PREFIX = "PORTRAYER_"


def _models() -> Path:
    """The platform's place for what belongs to a user and is not settings."""
    places = {"win32": os.environ.get("LOCALAPPDATA") or "~/AppData/Local"}
    places["darwin"] = "~/Library/Application Support"
    place = os.environ.get("XDG_DATA_HOME") or places.get(sys.platform, "~/.local/share")
    return Path(os.path.expanduser(place)) / "portrayer" / "models"


class Settings(BaseModel):
    """How this installation runs.

    Every field can be set in ``config.toml``, all but ``presets`` as ``PORTRAYER_<FIELD>``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:0,1 or mps")
    precision: str = Field(default="auto", description="auto, float32, bfloat16 or float16")
    memory: str = Field(default="80%", description="host memory that may be used: 4GiB, 60%")
    gpu_memory: str = Field(
        default="100%", description="memory of each GPU that may be used, of what is free"
    )
    require_gpu: bool = Field(default=False, description="fail instead of running on the CPU")
    workers: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="photos worked on at once, 0 for as many as the device takes",
    )
    max_batch: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="samples in one forward at most, 0 for as many as pay on the device",
    )
    max_pixels: int = Field(
        default=64_000_000, ge=1, description="larger photos are refused before decoding"
    )
    models: Path = Field(default_factory=_models, description="folder of the models that you bring")
    presets: Mapping[str, Mapping[str, Any]] = Field(
        default={}, description="presets of one's own, by name"
    )

    @field_validator("models", mode="before")
    @classmethod
    def _at_home(cls, folder: object) -> object:
        if folder == "":
            raise ValueError("a folder is needed")
        return os.path.expanduser(folder) if isinstance(folder, str) else folder


def _home() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "portrayer"


def consent_file() -> Path:
    """Where it is kept what this user has agreed to: lines of a statement and its date."""
    return _home() / "consent.toml"


def agreed(statement: str) -> bool:
    """Whether this user has agreed to a statement, and it was kept. :class:`InvalidOption` where
    what was kept cannot be read.
    """
    path = consent_file()
    return path.is_file() and isinstance(read_toml(path).get(statement), date)


def read_toml(path: Path) -> Mapping[str, Any]:
    """A TOML file as nested mappings; :class:`InvalidOption` with the line where it is not TOML."""
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidOption(f"{path} is not valid TOML: {error}") from error
    except OSError as error:
        raise InvalidOption(f"{path} cannot be read: {error.strerror or error}") from error


def load(config: Path | None = None, **overrides: Any) -> Settings:
    """Settings from ``overrides`` that are not None, ``PORTRAYER_*``, the TOML file: first wins.

    Raises :class:`InvalidOption` naming the setting and its source.
    """
    named = config or os.environ.get(PREFIX + "CONFIG")
    path = Path(named or _home() / "config.toml")
    table = dict(read_toml(path)) if named or path.is_file() else {}
    source = dict.fromkeys(table, f" in {path}")
    for name in Settings.model_fields.keys() - {"presets"}:
        variable = PREFIX + name.upper()
        if variable in os.environ:
            table[name], source[name] = os.environ[variable], f" in {variable}"
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**table | given)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        top = str(first["loc"][0])
        place = "" if top in given else source[top]
        wrong = f"unknown (there are: {', '.join(Settings.model_fields)})"
        said = wrong if first["type"] == "extra_forbidden" else first["msg"].lower()
        raise InvalidOption(f"setting {name!r}{place}: {said}") from error
