"""The only reader of the environment and of TOML files. What it gives out is frozen."""

from __future__ import annotations

import os
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)

from portrayer.errors import InvalidOption

PREFIX = "PORTRAYER_"


def _own() -> Path:
    """The platform's place for what belongs to a user and is not settings."""
    places = {"win32": os.environ.get("LOCALAPPDATA") or "~/AppData/Local"}
    places["darwin"] = "~/Library/Application Support"
    place = os.environ.get("XDG_DATA_HOME") or places.get(sys.platform, "~/.local/share")
    return Path(os.path.expanduser(place)) / "portrayer"


def _at_home(folder: object) -> object:
    if folder == "":
        raise ValueError("a folder is needed")
    return os.path.expanduser(folder) if isinstance(folder, str) else folder


def _address(address: str, usual: str, schemes: Sequence[str]) -> str:
    """An address without a last slash; a bare host gets the ``usual`` scheme."""
    if not address:
        return ""
    whole = (address if "://" in address else f"{usual}://{address}").rstrip("/")
    if not re.fullmatch(rf"(?:{'|'.join(schemes)})://\S+", whole):
        raise ValueError("an address is needed, such as https://hf-mirror.com")
    return whole


class Server(BaseModel):
    """How ``portrayer serve`` runs: section ``[server]``, or ``PORTRAYER_SERVER_<FIELD>``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=7860, ge=0, le=65_535, description="port, 0 for any free one")
    data: Path = Field(
        default_factory=lambda: _own() / "server", description="folder of uploads and results"
    )
    token: SecretStr = Field(
        default=SecretStr(""), description="what clients must send; any but a loopback address asks"
    )
    hosts: str = Field(
        default="", description="names it is reached by without a token, beside localhost, by comma"
    )
    max_upload: ByteSize = Field(default=ByteSize(64 << 20), description="bytes of one photo")
    max_request: ByteSize = Field(default=ByteSize(8 << 30), description="bytes of one request")
    max_files: int = Field(default=2000, ge=1, description="photos in one job")
    max_queue: int = Field(default=20_000, ge=1, description="photos that may wait in all jobs")
    max_waiting: int = Field(
        default=32,
        ge=1,
        description="requests for one photo that are received, wait or are worked on; and uploads "
        "of jobs",
    )
    deadline: float = Field(
        default=60, gt=0, le=86_400, description="seconds for a photo answered at once"
    )
    keep_days: float = Field(default=7, gt=0, description="finished jobs older than this go")
    keep: ByteSize = Field(
        default=ByteSize(20 << 30), description="bytes of finished jobs beyond which the oldest go"
    )
    spare_disk: ByteSize = Field(
        default=ByteSize(512 << 20), description="bytes left free on the disk"
    )
    image_url: bool = Field(default=False, description="fetch photos from public addresses")
    logs: Literal["auto", "json", "plain"] = Field(
        default="auto", description="json, plain, or plain on a terminal alone"
    )

    @field_validator("data", mode="before")
    @classmethod
    def _folder(cls, folder: object) -> object:
        return _at_home(folder)


class Settings(BaseModel):
    """How this installation runs.

    Every field can be set in ``config.toml``, all but ``presets`` as ``PORTRAYER_<FIELD>``, and
    those of ``server`` as ``PORTRAYER_SERVER_<FIELD>``.
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
    models: Path = Field(
        default_factory=lambda: _own() / "models", description="folder of the models that you bring"
    )
    mirror: str = Field(
        default="", description="address asked for models first, in place of https://HOST"
    )
    proxy: str = Field(
        default="", description="proxy to fetch models by, beside what HTTPS_PROXY says"
    )
    offline: bool = Field(default=False, description="never fetch a model")
    presets: Mapping[str, Mapping[str, Any]] = Field(
        default={}, description="presets of one's own, by name"
    )
    server: Server = Field(default_factory=Server, description="how the server runs")

    @field_validator("models", mode="before")
    @classmethod
    def _folder(cls, folder: object) -> object:
        return _at_home(folder)

    @field_validator("mirror")
    @classmethod
    def _mirror(cls, address: str) -> str:
        return _address(address, "https", ("https", "http", "file"))

    @field_validator("proxy")
    @classmethod
    def _proxy(cls, address: str) -> str:
        return _address(address, "http", ("http", "https"))


def _home() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "portrayer"


def consent_file() -> Path:
    """Where it is kept what this user has agreed to: lines of a statement and its date."""
    return _home() / "consent.toml"


def ledgers() -> Path:
    """Where the ledgers lie of runs whose results go to a URL."""
    return _own() / "ledgers"


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

    Those of a section, ``server``, are told apart one by one. Raises :class:`InvalidOption` naming
    the setting and its source.
    """
    named = config or os.environ.get(PREFIX + "CONFIG")
    path = Path(named or _home() / "config.toml")
    file = read_toml(path) if named or path.is_file() else {}
    source: dict[tuple[str, ...], str] = {}
    table: dict[str, Any] = {}
    layers: Sequence[tuple[Mapping[str, Any], Callable[[Sequence[str]], str]]] = (
        (file, lambda _: f" in {path}"),
        (_variables(), lambda place: f" in {_variable(place)}"),
        (overrides, lambda _: ""),
    )
    for values, told in layers:
        for place, value in _leaves(values):
            _set(table, place, value)
            source[place] = told(place)
    try:
        return Settings(**table)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        said = [source[place] for place in source if place == first["loc"][: len(place)]]
        there = Server if first["loc"][0] == "server" else Settings
        wrong = f"unknown (there are: {', '.join(there.model_fields)})"
        what = wrong if first["type"] == "extra_forbidden" else first["msg"].lower()
        raise InvalidOption(f"setting {name!r}{''.join(said[:1])}: {what}") from error


def _variables() -> Mapping[str, Any]:
    """What the environment says, nested as settings are."""
    found: dict[str, Any] = {}
    plain = [(name,) for name in Settings.model_fields if name not in ("presets", "server")]
    for place in (*plain, *(("server", name) for name in Server.model_fields)):
        if _variable(place) in os.environ:
            _set(found, place, os.environ[_variable(place)])
    return found


def _variable(place: Sequence[str]) -> str:
    return PREFIX + "_".join(place).upper()


def _leaves(values: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Where each value stands, and the value; what is None says nothing."""
    for name, value in values.items():
        if isinstance(value, BaseModel):
            value = dict(value)
        if name == "server" and isinstance(value, Mapping):
            yield from (((name, *place), each) for place, each in _leaves(value))
        elif value is not None:
            yield (name,), value


def _set(table: dict[str, Any], place: tuple[str, ...], value: Any) -> None:
    *sections, name = place
    inner: Any = table
    for section in sections:
        inner = inner.setdefault(section, {})
    if isinstance(inner, dict):  # else what was said of the section as a whole is wrong already
        inner[name] = value
