"""The scripts beside the package go along with it."""

import ast
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted(
    path for folder in ("train", "bench", "docs") for path in (ROOT / folder).rglob("*.py")
)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_script_takes_from_the_package_is_there(path: Path) -> None:
    """No name that a script imports from portrayer has moved away."""
    gone = [
        f"{node.module}.{alias.name}"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "portrayer"
        for alias in node.names
        if not hasattr(import_module(node.module or ""), alias.name)
        and find_spec(f"{node.module}.{alias.name}") is None
    ]
    assert gone == []
