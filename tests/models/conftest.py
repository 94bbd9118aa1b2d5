"""A network of the tests' own, for rows that are built by name, and where it comes from."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .origin import CONTENT, Huge, Origin, Small, published


@pytest.fixture
def nets(monkeypatch: pytest.MonkeyPatch) -> None:
    """``portrayer.nets.small`` can be built."""
    module: Any = ModuleType("portrayer.nets.small")
    module.Small, module.Huge = Small, Huge
    monkeypatch.setitem(sys.modules, "portrayer.nets.small", module)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "not" / "yet"


@pytest.fixture
def origin() -> Iterator[Origin]:
    with published(CONTENT) as server:
        yield server


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """A file of a user's own."""
    path = tmp_path / "given.pth"
    path.write_bytes(CONTENT)
    return path
