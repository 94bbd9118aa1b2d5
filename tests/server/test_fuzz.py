"""The OpenAPI document, taken at its word by a machine: no request of 2,000 is an error of ours."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from .running import TOKEN, log, serving

CASES = 2000


@pytest.mark.stress
def test_no_request_is_an_error_of_ours(tmp_path: Path) -> None:
    """Examples, borders and random ones, right and wrong, for every operation."""
    program = shutil.which("st")
    if program is None:
        pytest.skip("needs schemathesis")
    with serving(tmp_path / "at", max_queue="1000000") as server:
        server.ready()
        command = [
            program,
            "run",
            f"{server.address}/openapi.json",
        ]
        command += ["--header", f"X-Api-Key: {TOKEN}", "--max-examples", "150", "--no-color"]
        command += ["--phases", "examples,coverage,fuzzing", "--checks", "not_a_server_error"]
        ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        said = ran.stdout
        cases = re.search(r"(\d+) generated", said)
        assert cases
        assert int(cases[1]) >= CASES
        assert ran.returncode == 0, said[-4000:]
        assert "internal error" not in log(tmp_path / "at")
        assert server.client.get("/readyz").status_code == 200
