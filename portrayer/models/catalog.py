"""Every model Portrayer knows: a literal, not a registry."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from portrayer import settings
from portrayer.errors import InputError, ModelError, UnknownModel
from portrayer.models import faces, mattes, receipt
from portrayer.models.faces import NEEDS as NEEDS
from portrayer.models.published import HALF
from portrayer.models.spec import Graph, ModelSpec, Weights

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""What a user's own model may be called: it is a file's name too."""

ENDINGS: Mapping[bool, str] = {True: ".onnx", False: ".safetensors"}
"""Of the files of a user's own models: of graphs, and of weights."""


def _ours(file: str, sha256: str, bytes: int, script: str) -> Weights:
    origin = f"trained by {script}, shipped in the package"
    return Weights(file, sha256, bytes, "Apache-2.0", origin)


def _face(name: str, build: str, weights: Weights, side: int, output: str) -> ModelSpec:
    return ModelSpec(name, "enhance", build, weights, side, HALF, HALF, output)


DETECTOR = _ours(
    file="face-detector.safetensors",
    sha256="1c3451542c18d5a557a223ec20859817ed9d6883a4631e1b572ad6baa6f0a893",
    bytes=1_052_230,
    script="train/detector.py",
)

OURS = (
    ModelSpec(
        name="portrait-matting",
        task="matte",
        build="unet:UNet",
        weights=_ours(
            file="portrait-matting.safetensors",
            sha256="86d9cab32b3087e8265b1f6bf6131dd75ffceb05914cb29f76119e956c95e052",
            bytes=11_231_802,
            script="train/matting.py",
        ),
        side=352,
    ),
    _face("face-detector", "detector:Detector", DETECTOR, 640, "cells"),
    _face("face-detector-close", "detector:Detector", DETECTOR, 320, "cells"),
    _face(
        "face-landmarks",
        "landmarker:Landmarker",
        _ours(
            file="face-landmarks.safetensors",
            sha256="f7627fe920753349b92ac2efd10f32615d528127e954a5f0367340f07dfa73a8",
            bytes=1_198_592,
            script="train/landmarker.py",
        ),
        128,
        "points",
    ),
    _face(
        "portrait-restore",
        "restorer:Restorer",
        _ours(
            file="portrait-restore.safetensors",
            sha256="39b6cadfe82f2d461e201d6eff5a5b20e11c7587d4efc87a1ff43a12a0396b49",
            bytes=5_023_994,
            script="train/restorer.py",
        ),
        256,
        "change",
    ),
)

CATALOG: Mapping[str, ModelSpec] = {
    spec.name: spec
    for spec in (*OURS, *mattes.MATTES, *faces.RESTORING, *faces.FUSING, *faces.DETECTING)
}


def spec(name: str, folder: Path | None = None) -> ModelSpec:
    """The row of this name, the catalogue's or of a user's own model, with what a user brings in
    ``folder`` (None: the settings' own). :class:`UnknownModel` names the ones there are,
    :class:`ChecksumMismatch` a model of one's own whose receipt cannot be read.
    """
    row = CATALOG.get(name)
    if row is None:
        return _own(name, folder or settings.load().models)
    if folder is None or row.weights.shipped:
        return row
    return replace(row, weights=replace(row.weights, folder=folder))


def own(folder: Path | None = None) -> list[str]:
    """The models of a user's own in ``folder`` (None: the settings' own), by name."""
    names = []
    for path in sorted((folder or settings.load().models).glob("*.json")):
        with suppress(ModelError):
            if receipt.read(path).like in CATALOG:
                names.append(path.stem)
    return names


def following(like: ModelSpec, name: str, file: Path, folder: Path) -> ModelSpec:
    """The row of a user's own model ``name`` that is in ``file`` and taken as ``like`` is: a graph
    where the file's name says ``.onnx``, else other weights of the same network.

    Raises :class:`InputError` for a name that cannot be given, and for weights of a graph.
    """
    like = CATALOG[like.like or like.name]
    if name in CATALOG:
        raise InputError(f"{name} is in the catalogue: give your own model another name")
    if not NAME.fullmatch(name):
        raise InputError(f"{name!r} is no name: take small letters, digits, '-', '.' and '_'")
    graph = file.suffix.lower() == ".onnx"
    if like.graph is not None and not graph:
        raise InputError(f"{like.name} is an ONNX graph, and {str(file)!r} is none")
    return _follow(like, name, f"{name}{ENDINGS[graph]}", "", str(file.absolute()), 0, folder)


def _own(name: str, folder: Path) -> ModelSpec:
    path = folder / f"{name}.json"
    known = receipt.read(path) if NAME.fullmatch(name) and path.is_file() else None
    if known is None or known.like not in CATALOG:
        there = ", ".join((*CATALOG, *own(folder)))
        raise UnknownModel(f"no model is called {name!r} (there are: {there})")
    file = f"{name}{ENDINGS[known.graph]}"
    sha256, source = known.source_sha256, known.source
    return _follow(CATALOG[known.like], name, file, sha256, source, known.bytes, folder)


def _follow(
    like: ModelSpec, name: str, file: str, sha256: str, source: str, bytes: int, folder: Path
) -> ModelSpec:
    """``source``: the file it came from, or its address: what brings it again; ``sha256`` of that,
    which tells one model of this name from the next.
    """
    url = source if "://" in source else Path(source).absolute().as_uri()
    weights = Weights(file, sha256, bytes, "your own", source, (url,), folder=folder)
    row = replace(like, name=name, like=like.name, weights=weights)
    if file.endswith(ENDINGS[True]):
        return replace(row, build="", graph=like.graph or Graph())
    return row
