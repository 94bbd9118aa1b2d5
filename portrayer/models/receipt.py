"""What is known of a model that the user brought: ``NAME.json`` beside its file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from portrayer.errors import ChecksumMismatch
from portrayer.image import files

KINDS: Mapping[str, type] = {"bytes": int, "graph": bool}
"""Of the fields that are not text."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """``source``: the file or URL it came from, ``source_sha256`` of that; ``sha256`` and ``bytes``
    of what is kept of it: the safetensors made of it, or the graph itself. ``consented``,
    ``added``: UTC times in ISO 8601, ``consented`` "" where nothing had to be accepted. ``like``:
    of a model of the user's own, the row whose conventions it follows; ``graph``: whether it is
    kept as ONNX.
    """

    source: str
    source_sha256: str
    sha256: str
    bytes: int
    licence: str
    consented: str
    added: str
    like: str = ""
    graph: bool = False

    def write(self, path: Path) -> None:
        """Keep it at ``path``; raises :class:`OutputError`."""
        files.write(path, json.dumps(asdict(self), indent=2).encode() + b"\n")


def beside(weights: Path) -> Path:
    """Where the receipt of this file lies."""
    return weights.with_suffix(".json")


def read(path: Path) -> Receipt:
    """The receipt at ``path``; :class:`ChecksumMismatch` for one that cannot be understood."""
    try:
        found = json.loads(path.read_bytes())
        given = {each.name: found[each.name] for each in fields(Receipt) if each.name in found}
        if not all(isinstance(value, KINDS.get(name, str)) for name, value in given.items()):
            raise TypeError
        return Receipt(**given)
    except (OSError, ValueError, TypeError) as error:
        raise ChecksumMismatch(f"{path} cannot be read") from error
