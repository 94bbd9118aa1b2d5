"""What engineers read: the guide's commands and programs work, its tables tell what is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import portrayer
from portrayer.image import codec
from portrayer.settings import Server, Settings
from tests.portraits import admiral, astronaut

from .running import TOKEN, Running

ROOT = Path(portrayer.__file__).parents[1]
GUIDE = (ROOT / "docs" / "server.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    """The fenced blocks of the guide."""
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, flags=re.M | re.S)


@pytest.fixture
def desk(tmp_path: Path, server: Running) -> Iterator[Path]:
    """A folder as the guide's reader has it; curl finds the server's token there. The server keeps
    no job of it."""
    (tmp_path / "photos").mkdir()
    for name in ("photo", "old", "me", "photos/one", "photos/two"):
        (tmp_path / f"{name}.jpg").write_bytes(codec.encode(astronaut(), "jpeg"))
    for name in ("costume", "beach", "photos/three"):
        (tmp_path / f"{name}.jpg").write_bytes(admiral())
    (tmp_path / ".curlrc").write_text(f'silent\nheader = "X-Api-Key: {TOKEN}"\n')

    def jobs() -> set[str]:
        return {job["id"] for job in server.client.get("/v1/jobs").json()["jobs"]}

    before = jobs()
    yield tmp_path
    for job in jobs() - before:
        server.client.delete(f"/v1/jobs/{job}?purge=true").raise_for_status()


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_every_command_of_the_guide_works_as_it_stands(desk: Path, server: Running) -> None:
    """All of them, one after the other, in one shell; what they say they write is there."""
    commands = [block for block in blocks("sh") if "curl" in block]
    assert len(commands) == 4
    environment = {**os.environ, "HOME": str(desk), "SERVER": server.address, "TOKEN": TOKEN}
    script = "\n".join(("set -euo pipefail", *commands))
    ran = subprocess.run(
        ["bash", "-c", script], cwd=desk, env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for name in re.findall(r"-o (\S+\.(?:png|jpg))", script):
        assert codec.probe((desk / name).read_bytes()).pixels
    with zipfile.ZipFile(desk / "results.zip") as archive:
        assert sorted(archive.namelist()) == ["one.png", "three.png", "two.png"]


def test_every_program_of_the_guide_works_as_it_stands(desk: Path, server: Running) -> None:
    """But for the server's address and its token."""
    for program in blocks("python"):
        own = program.replace("http://127.0.0.1:7860", server.address).replace(
            '"TOKEN"', repr(TOKEN)
        )
        subprocess.run([sys.executable, "-c", own], cwd=desk, check=True, capture_output=True)
    assert (desk / "photo.jpg_no_bg.png").is_file()
    assert zipfile.is_zipfile(desk / "results.zip")


def test_the_guide_tells_every_figure(server: Running) -> None:
    """The names of its table and those of /metrics are the same; a card is not always there."""
    text = server.client.get("/metrics").raise_for_status().text
    there = set(re.findall(r"^# HELP (portrayer_\w+)", text, flags=re.M))
    named = set(re.findall(r"portrayer_\w+", GUIDE))
    assert {name for name in named if "_gpu_" not in name} == there


def test_the_guide_tells_the_limits_as_they_are() -> None:
    """Setting and usual value of each row of its table."""
    rows = re.findall(r"^\| [^|]* \| `(\w+)`[^|]* \| ([\d,]+) ?([GM]iB)? \|", GUIDE, flags=re.M)
    assert len(rows) == 10
    values = Settings().model_dump() | Server().model_dump()
    for name, number, unit in rows:
        usual = int(number.replace(",", "")) << {"": 0, "MiB": 20, "GiB": 30}[unit]
        assert values[name] == usual, name
