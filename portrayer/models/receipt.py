"""What is known of a model that the user brought: ``NAME.json`` beside ``NAME.safetensors``."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from portrayer.errors import ChecksumMismatch
from portrayer.image import files


@dataclass(frozen=True, slots=True)
class Receipt:
    """``source``: the file or URL it came from, ``source_sha256`` of that; ``sha256`` and ``bytes``
    of the safetensors made of it. ``consented``, ``added``: UTC times in ISO 8601, ``consented`` ""
    where nothing had to be accepted.
    """

    source: str
    source_sha256: str
    sha256: str
    bytes: int
    licence: str
    consented: str
    added: str

    def write(self, path: Path) -> None:
        """Keep it at ``path``; raises :class:`OutputError`."""
        files.write(path, json.dumps(asdict(self), indent=2).encode() + b"\n")


def beside(weights: Path) -> Path:
    """Where the receipt of this safetensors file lies."""
    return weights.with_suffix(".json")


def read(path: Path) -> Receipt:
    """The receipt at ``path``; :class:`ChecksumMismatch` for one that cannot be understood."""
    try:
        found = json.loads(path.read_bytes())
        return Receipt(**{field.name: found[field.name] for field in fields(Receipt)})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ChecksumMismatch(f"{path} cannot be read") from error
