"""Models that the user brings: added from a file or fetched, agreed to, checked, and removed."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from pathlib import Path

import torch
from safetensors.torch import save

from portrayer import settings
from portrayer.errors import (
    ChecksumMismatch,
    DownloadFailed,
    InputError,
    ModelError,
    OutputError,
    PortrayerError,
    WeightsMismatch,
)
from portrayer.image import files
from portrayer.models import checkpoint, claim, interface, receipt, runtime, weights
from portrayer.models.model import build
from portrayer.models.receipt import Receipt
from portrayer.models.spec import ModelSpec


def add(spec: ModelSpec, path: Path, *, consented: bool = False) -> Receipt:
    """Install a model from a safetensors, torch or ONNX file; one that is there is replaced.

    ``consented``: the user accepts the licence. Raises :class:`InputError` where that is needed, or
    the model comes with the package, :class:`ChecksumMismatch` for another file than the published
    one, :class:`WeightsMismatch` for one that does not fit, and :class:`OutputError`. What raises
    has changed nothing.
    """
    agreed, source = _agreed(spec, consented), str(path.absolute())
    _there(path, source)
    try:
        found = _checked(spec, path, source)
    except ChecksumMismatch as error:
        raise ChecksumMismatch(f"{error.reason}; --name keeps it as a model of your own") from error
    with _alone(spec):
        if spec.graph is None:
            return _install(spec, path, source, found, agreed)
        # A copy is tried: beside the file there may lie what it needs, which would not come along.
        copy = _copied(spec)
        try:
            _copy(path, copy)
            return _install(spec, copy, source, found, agreed)
        finally:
            _drop(copy)


def pull(
    spec: ModelSpec,
    *,
    consented: bool = False,
    progress: weights.Progress = lambda here, total: None,
    net: settings.Settings | None = None,
) -> Receipt:
    """Fetch a model and install it; one that is there and whole stays as it is.

    Goes on where an earlier try was stopped; the next address is tried where one fails, or has
    another file. ``net``: the mirror, the proxy, and whether anything may be fetched; None for the
    settings' own. Raises as :func:`add` does, :class:`DownloadFailed`, and
    :class:`ChecksumMismatch` for a file that is not the published one, or not the one that was
    pinned.
    """
    agreed, known = _agreed(spec, consented), installed(spec)
    with suppress(ModelError):
        return receipt.read(receipt.beside(weights.verify(spec.weights)))
    if spec.graph is not None:
        runtime.onnxruntime()  # told before anything is fetched
    pinned = known.source_sha256 if known is not None and "://" in known.source else ""

    def install(part: Path, url: str) -> Receipt:
        return _install(spec, part, url, _checked(spec, part, url, pinned), agreed)

    with _alone(spec):
        return _fetched(spec, install, progress, net or settings.load())


def remove(spec: ModelSpec) -> None:
    """Delete an installed model, and what was fetched of one; :class:`InputError` where there is
    none.
    """
    _brought(spec)
    path, part = weights.place(spec.weights), _part(spec)
    every = path, receipt.beside(path), part, _copied(spec)
    if not any(each.is_file() for each in (*every, weights.unfinished(part))):
        raise InputError(f"{spec.name} is not installed")
    with _alone(spec):
        for each in every:
            _drop(each)
        _forget(part)


def installed(spec: ModelSpec) -> Receipt | None:
    """The receipt of a model that the user brought; None where there is none that can be read."""
    try:
        return receipt.read(receipt.beside(weights.locate(spec.weights)))
    except ModelError:
        return None


def unanswered(spec: ModelSpec) -> bool:
    """Whether the licence must be accepted and has not been."""
    known = installed(spec)
    return spec.weights.consent and not (known is not None and known.consented)


def _agreed(spec: ModelSpec, consented: bool) -> str:
    """When the licence was accepted, "" where it need not be."""
    _brought(spec)
    known = installed(spec)
    if known is not None and known.consented:
        return known.consented
    if spec.weights.consent and not consented:
        raise InputError(
            f"the licence of {spec.name} must be accepted first: {spec.weights.licence}, "
            f"{spec.weights.origin}"
        )
    return _now() if spec.weights.consent else ""


def _brought(spec: ModelSpec) -> None:
    if spec.weights.shipped:
        raise InputError(f"{spec.name} comes with the package")


def _fetched(
    spec: ModelSpec,
    install: Callable[[Path, str], Receipt],
    progress: weights.Progress,
    net: settings.Settings,
) -> Receipt:
    """From the first address that has the right file."""
    part, failures = _part(spec), list[PortrayerError]()
    for url in weights.addresses(spec.weights, net.mirror):
        before, _, total = weights.begun(url, part)
        if net.offline and not url.startswith("file:") and not 0 < before == total:
            continue
        try:
            weights.download(url, part, progress, net.proxy)
            made = install(part, url)
        except DownloadFailed as error:
            if weights.begun(url, part)[0] > before:
                raise  # another address would begin anew
            failures.append(error)
        except (ChecksumMismatch, WeightsMismatch) as error:
            _forget(part)  # of no use; a full disk keeps it for another try
            failures.append(error)
        else:
            _forget(part)
            return made
    if not failures:
        raise DownloadFailed(
            f"{spec.name} is not here, and nothing is fetched offline: `portrayer models add FILE "
            f"--like {spec.like or spec.name}` takes a file that you have"
        )
    # That one had another file says more than that one had none.
    worst = next((each for each in failures if not isinstance(each, DownloadFailed)), failures[0])
    raise type(worst)("; ".join(each.reason for each in failures)) from worst


def _there(path: Path, source: str) -> None:
    """:class:`InputError` for a file of the user's that cannot be opened."""
    try:
        path.open("rb").close()
    except OSError as error:
        raise InputError(f"{source} cannot be read: {error.strerror or error}") from error


def _checked(spec: ModelSpec, file: Path, source: str, pinned: str = "") -> str:
    """The file's sha256, once it and the md5 are as published, or as ``pinned``."""
    found = weights.digest(file)
    for kind, expected in (("sha256", spec.weights.sha256 or pinned), ("md5", spec.weights.md5)):
        had = found if kind == "sha256" or not expected else weights.digest(file, kind)
        if expected and had != expected:
            raise ChecksumMismatch(
                f"{source} has {kind} {had[:12]}..., not {expected[:12]}... as it should"
            )
    return found


def _install(spec: ModelSpec, file: Path, source: str, source_sha256: str, agreed: str) -> Receipt:
    """A graph's ``file`` is moved, so that no disk needs room for it twice."""
    path = weights.place(spec.weights)
    files.sweep(path.parent)
    if spec.graph is None:
        blob = _safetensors(spec, file, source)
        sha256, size = hashlib.sha256(blob).hexdigest(), len(blob)
        files.write(path, blob)
    else:
        if not spec.weights.sha256:  # else it is the published one
            _agrees(spec, file, source)
        sha256, size = source_sha256, file.stat().st_size
        _move(file, path)
    made = Receipt(
        source=source,
        source_sha256=source_sha256,
        sha256=sha256,
        bytes=size,
        licence=spec.weights.licence,
        consented=agreed,
        added=_now(),
        like=spec.like,
        graph=spec.graph is not None,
    )
    made.write(receipt.beside(path))
    if spec.like:  # it may have been of the other kind before
        for ending in {".onnx", ".safetensors"} - {path.suffix}:
            _drop(path.with_suffix(ending))
    return made


def _safetensors(spec: ModelSpec, file: Path, source: str) -> bytes:
    """The file's weights as they are kept, once they fit."""
    tensors = checkpoint.read(file, source)
    with torch.device("meta"):  # its keys and shapes; none of its memory
        net = build(spec)
    checkpoint.check(tensors, net, f"{source} does not fit {spec.build}")
    # Each with a memory of its own: files may hold views of one another.
    return save({key: tensors.pop(key).contiguous().clone() for key in list(tensors)})


def _agrees(spec: ModelSpec, file: Path, source: str) -> None:
    """:class:`WeightsMismatch` for a graph that is none, or does not fit its row."""
    try:
        session = runtime.open_session(file, runtime.place("cpu"))
        interface.agree(spec, session.get_inputs(), session.get_outputs())
    except WeightsMismatch as error:
        raise WeightsMismatch(f"{source}: {error.reason}") from error


def _copy(file: Path, copy: Path) -> None:
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    except OSError as error:
        raise OutputError(f"{str(copy)!r} cannot be written: {error.strerror or error}") from error


def _move(file: Path, path: Path) -> None:
    """Within a folder; it outlasts a power cut."""
    try:
        with file.open("r+b") as whole:
            os.fsync(whole.fileno())
        file.replace(path)
    except OSError as error:
        raise OutputError(f"{str(path)!r} cannot be written: {error.strerror or error}") from error
    files.settle(path.parent)


def _part(spec: ModelSpec) -> Path:
    return weights.place(spec.weights).with_suffix(".part")


def _copied(spec: ModelSpec) -> Path:
    return weights.place(spec.weights).with_suffix(".given")


def _alone(spec: ModelSpec) -> AbstractContextManager[None]:
    """No other process brings or removes this model meanwhile."""
    return claim.held(weights.unfinished(_part(spec)), spec.name)


def _forget(part: Path) -> None:
    _drop(part)
    weights.forget(part)


def _drop(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{str(path)!r} cannot be removed: {error.strerror or error}") from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
