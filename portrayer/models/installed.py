"""Models that the user brings: added from a file or fetched, agreed to, checked, and removed."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from portrayer.errors import (
    ChecksumMismatch,
    DownloadFailed,
    InputError,
    ModelError,
    OutputError,
    WeightsMismatch,
)
from portrayer.image import files
from portrayer.models import checkpoint, receipt, weights
from portrayer.models.model import build
from portrayer.models.receipt import Receipt
from portrayer.models.spec import ModelSpec


def add(spec: ModelSpec, path: Path, *, consented: bool = False) -> Receipt:
    """Install a model from a safetensors or torch file; one that is there is replaced.

    ``consented``: the user accepts the licence. Raises :class:`InputError` where that is needed, or
    the model comes with the package, whatever :func:`checkpoint.read` and :func:`checkpoint.check`
    say of the file, and :class:`OutputError`. What raises has changed nothing.
    """
    agreed, source = _agreed(spec, consented), str(path.absolute())
    tensors = checkpoint.read(path, source)
    return _install(spec, tensors, source, weights.digest(path), agreed)


def pull(
    spec: ModelSpec,
    *,
    consented: bool = False,
    progress: weights.Progress = lambda here, total: None,
) -> Receipt:
    """Fetch a model and install it; one that is there and whole stays as it is.

    Goes on where an earlier try was stopped; the next address is tried where one fails. Raises as
    :func:`add` does, :class:`DownloadFailed`, and :class:`ChecksumMismatch` for a file that is not
    the published one, or not the one that was pinned.
    """
    agreed, known = _agreed(spec, consented), installed(spec)
    with suppress(ModelError):
        return receipt.read(receipt.beside(weights.verify(spec.weights)))
    part = _part(spec)
    url = _fetched(spec, part, progress)
    found = weights.digest(part)
    pinned = known.source_sha256 if known is not None and known.source == url else ""
    expected = spec.weights.sha256 or pinned or found
    try:
        if found != expected:
            raise ChecksumMismatch(
                f"{url} has sha256 {found[:12]}..., not {expected[:12]}... as it should"
            )
        made = _install(spec, checkpoint.read(part, url), url, found, agreed)
    except (ChecksumMismatch, WeightsMismatch):  # of no use; a full disk keeps it for another try
        _forget(spec)
        raise
    _forget(spec)
    return made


def remove(spec: ModelSpec) -> None:
    """Delete an installed model, and what was fetched of one; :class:`InputError` where there is
    none.
    """
    _brought(spec)
    path, part = weights.place(spec.weights), _part(spec)
    there = [
        each
        for each in (path, receipt.beside(path), part, weights.unfinished(part))
        if each.is_file()
    ]
    if not there:
        raise InputError(f"{spec.name} is not installed")
    try:
        for each in there:
            each.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{error.filename} cannot be removed: {error.strerror}") from error
    finally:
        weights.verify.cache_clear()


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


def _fetched(spec: ModelSpec, part: Path, progress: weights.Progress) -> str:
    """The address that the part was fetched from, whole."""
    failures = []
    for url in spec.weights.urls:
        before = weights.begun(url, part)[0]
        try:
            weights.download(url, part, progress)
            return url
        except DownloadFailed as error:
            if weights.begun(url, part)[0] > before:
                raise  # another address would begin anew
            failures.append(str(error))
    raise DownloadFailed("; ".join(failures))


def _install(
    spec: ModelSpec, tensors: dict[str, Tensor], source: str, source_sha256: str, agreed: str
) -> Receipt:
    with torch.device("meta"):  # its keys and shapes; none of its memory
        net = build(spec)
    checkpoint.check(tensors, net, f"{source} does not fit {spec.build}")
    # Each with a memory of its own: files may hold views of one another.
    blob = save({key: tensors.pop(key).contiguous().clone() for key in list(tensors)})
    path = weights.place(spec.weights)
    made = Receipt(
        source=source,
        source_sha256=source_sha256,
        sha256=hashlib.sha256(blob).hexdigest(),
        bytes=len(blob),
        licence=spec.weights.licence,
        consented=agreed,
        added=_now(),
    )
    files.sweep(path.parent)
    files.write(path, blob)
    made.write(receipt.beside(path))
    weights.verify.cache_clear()
    return made


def _part(spec: ModelSpec) -> Path:
    return weights.place(spec.weights).with_suffix(".part")


def _forget(spec: ModelSpec) -> None:
    part = _part(spec)
    for each in (part, weights.unfinished(part)):
        each.unlink(missing_ok=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
