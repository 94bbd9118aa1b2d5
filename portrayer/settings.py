"""The only reader of the environment and of TOML files. What it gives out is frozen."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from portrayer.errors import InvalidOption

PREFIX = "PORTRAYER_"


class Settings(BaseModel):
    """How this installation runs. Every field can be set in ``config.toml`` or as ``PORTRAYER_<FIELD>``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str = Field("auto", description="auto, cpu, cuda, cuda:0,1 or mps")
    precision: str = Field("auto", description="auto, float32, bfloat16 or float16")
    memory: str = Field("80%", description="host memory that may be used: 4GiB, 60%")
    gpu_memory: str = Field("100%", description="memory of each GPU that may be used, of what is free")
    require_gpu: bool = Field(False, description="fail instead of running on the CPU")
    workers: int = Field(0, ge=0, le=1024, description="photos worked on at once, 0 for as many as the device takes")
    max_pixels: int = Field(64_000_000, ge=1, description="larger photos are refused before decoding")
    presets: Mapping[str, Mapping[str, Any]] = Field({}, description="presets of one's own, by name")


def _home() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "portrayer"


def read_toml(path: Path) -> Mapping[str, Any]:
    """A TOML file as nested mappings; :class:`InvalidOption` with the line where it is not TOML."""
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except tomllib.TOMLDecodeError as error:
        raise InvalidOption(f"{path} is not valid TOML: {error}") from error
    except OSError as error:
        raise InvalidOption(f"{path} cannot be read: {error.strerror or error}") from error


def load(config: Path | None = None, **overrides: Any) -> Settings:
    """Settings from, strongest first: ``overrides`` that are not None, ``PORTRAYER_*``, the TOML file.

    Raises :class:`InvalidOption` naming the setting and its source.
    """
    path = config or Path(os.environ.get(PREFIX + "CONFIG") or _home() / "config.toml")
    table = dict(read_toml(path)) if config or path.is_file() else {}
    for name in Settings.model_fields:
        if (value := os.environ.get(PREFIX + name.upper())) is not None and name != "presets":
            table[name] = value
    table |= {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**table)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise InvalidOption(f"setting {name!r}: {first['msg'].lower()}") from error
