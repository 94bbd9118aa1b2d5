"""What an operator deploys with: it fits the package it is for."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from configparser import ConfigParser
from fnmatch import fnmatch
from pathlib import Path

import pytest

import portrayer
from portrayer.settings import Server, Settings

ROOT = Path(portrayer.__file__).parents[1]
DEPLOY = ROOT / "deploy"


def instructions(name: str) -> Iterator[tuple[str, str]]:
    """(INSTRUCTION, rest) of a Dockerfile, lines joined and comments left out."""
    text = re.sub(r"^\s*#.*\n", "", (DEPLOY / name).read_text("utf-8"), flags=re.M)
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word, rest


IMAGES = ("Dockerfile", "Dockerfile.cuda")


@pytest.mark.parametrize("name", IMAGES)
def test_what_an_image_copies_is_there(name: str) -> None:
    """Each source of COPY lies in the repository and reaches the build."""
    ignored = [
        line.rstrip("/")
        for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    copies = [shlex.split(rest) for word, rest in instructions(name) if word == "COPY"]
    sources = [s for words in copies if "--from" not in words[0] for s in words[:-1]]
    assert sources
    kept = [line[1:] for line in ignored if line.startswith("!")]
    for source in sources:
        assert (ROOT / source).exists(), source
        hidden = any(fnmatch(source.rstrip("/"), line) for line in ignored if line[0] != "!")
        assert not hidden or source.rstrip("/") in kept, source


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_runs_as_nobody_in_particular_and_hears_its_signals(name: str) -> None:
    """A user without rights, exec forms, a health check, one volume, no build tools at the end."""
    rows = list(instructions(name))
    last = rows[max(i for i, (word, _) in enumerate(rows) if word == "FROM") :]
    said = dict(last)
    assert said["USER"] not in ("root", "0")
    assert json.loads(said["ENTRYPOINT"])[-1] == "portrayer"
    assert json.loads(said["CMD"]) == ["serve"]
    assert "/readyz" in said["HEALTHCHECK"]
    assert [rest for word, rest in rows if word == "VOLUME"] == ["/data"]
    assert int(said["EXPOSE"]) == Server().port
    run = " ".join(rest for word, rest in last if word == "RUN")
    assert not re.search(r"\bpip\b|apt-get install|gcc|build-essential", run)


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_has_a_python_that_the_package_takes(name: str) -> None:
    """As pyproject.toml says, and with the pinned versions."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    least = tuple(map(int, project["requires-python"].removeprefix(">=").split(".")))
    versions = [
        m[1]
        for w, rest in instructions(name)
        if w == "FROM" and (m := re.search(r"python:([\d.]+)", rest))
    ]
    assert versions
    assert all(tuple(map(int, version.split("."))) >= least for version in versions)
    installs = [
        rest for word, rest in instructions(name) if word == "RUN" and "pip install" in rest
    ]
    assert installs
    assert all("-c constraints.txt" in rest for rest in installs)


@pytest.mark.parametrize(
    "path",
    [*sorted(p for p in DEPLOY.rglob("*") if p.is_file()), ROOT / "docs" / "server.md"],
    ids=lambda p: p.name,
)
def test_every_setting_that_is_named_exists(path: Path) -> None:
    """PORTRAYER_<FIELD> and PORTRAYER_SERVER_<FIELD>, and nothing that sounds like them."""
    known = {f"PORTRAYER_{name.upper()}" for name in [*Settings.model_fields, "config"]}
    known |= {f"PORTRAYER_SERVER_{name.upper()}" for name in Server.model_fields}
    assert set(re.findall(r"PORTRAYER_[A-Z_]+[A-Z]", path.read_text("utf-8"))) <= known


def test_the_unit_is_hardened_and_ends_in_time() -> None:
    """It sees nothing but its own folders, and is given longer to stop than it takes."""
    parser = ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string((DEPLOY / "portrayer.service").read_text("utf-8"))
    unit = parser["Service"]
    for key in ("DynamicUser", "NoNewPrivileges", "ProtectHome", "PrivateTmp"):
        assert unit.getboolean(key), key
    assert unit["ProtectSystem"] == "strict"
    assert unit["StateDirectory"] == "portrayer"
    assert (unit["KillSignal"], unit["KillMode"]) == ("SIGTERM", "mixed")
    assert unit["Restart"] == "on-failure"
    assert int(unit["TimeoutStopSec"]) > 10  # seconds that a graceful stop may take
    # Either would take the graphics cards away.
    assert "PrivateDevices" not in unit
    assert "ProtectClock" not in unit
