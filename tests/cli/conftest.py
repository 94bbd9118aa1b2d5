"""Nothing a person has set up at home reaches these tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _no_settings_of_ones_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("PORTRAYER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "own"))
    monkeypatch.setenv("PORTRAYER_DEVICE", "cpu")
    # Too little for several processes, each of which would load torch: test_backend has those.
    monkeypatch.setenv("PORTRAYER_MEMORY", "1200MiB")
