"""Finding, fetching and checking weights, and reading safetensors."""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache, partial
from http.client import HTTPException
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import OpenerDirector, ProxyHandler, Request, build_opener

from portrayer import settings
from portrayer.errors import ChecksumMismatch, DownloadFailed, OutputError, WeightsMismatch
from portrayer.models import receipt
from portrayer.models.spec import Weights

if TYPE_CHECKING:
    from torch import Tensor

TIMEOUT = 30.0  # seconds of silence after which a server is given up
BLOCK = 2**20
AGAIN = "run the same command again to go on"

DIGESTS: Mapping[str, Callable[[], Any]] = {
    "sha256": hashlib.sha256,
    # What it is good for; some systems allow no other use.
    "md5": partial(hashlib.md5, usedforsecurity=False),
}

Progress = Callable[[int, int], None]
"""Told the bytes that are here, and how many there will be (0 where the server does not say)."""


def place(weights: Weights) -> Path:
    """Where the file lies once it is there."""
    if weights.shipped:
        return Path(str(resources.files("portrayer") / "weights" / weights.file))
    return (weights.folder or settings.load().models) / weights.file


def locate(weights: Weights) -> Path:
    """Where the file lies; :class:`DownloadFailed` where it does not, with what brings it."""
    path = place(weights)
    if weights.shipped:
        if not path.is_file():
            raise DownloadFailed(
                f"{weights.file} is missing from {path.parent}: install portrayer again"
            )
    elif not (path.is_file() and receipt.beside(path).is_file()):
        raise DownloadFailed(
            f"{weights.name} is not installed: `portrayer models pull {weights.name}` brings it "
            f"({_size(weights.bytes)})"
        )
    return path


def verify(weights: Weights) -> Path:
    """The file, once its sha256 is the catalogue's, or its receipt's where the user brought it;
    :class:`ChecksumMismatch` otherwise. One that was right is read again when it has changed.
    """
    path = locate(weights)
    if weights.shipped:
        sha256, source = weights.sha256, "the catalogue"
    else:
        sha256, source = receipt.read(receipt.beside(path)).sha256, "its receipt"
    try:
        now = path.stat()
    except OSError as error:
        raise DownloadFailed(f"{path} cannot be read: {error.strerror or error}") from error
    _prove(path, sha256, source, (now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns))
    return path


@lru_cache
def _prove(path: Path, sha256: str, source: str, stamp: tuple[int, ...]) -> None:
    """As :func:`verify`; ``stamp``: what is another number in a file that was written since."""
    found = digest(path)
    if found != sha256:
        raise ChecksumMismatch(f"{path} has sha256 {found[:12]}..., {source} says {sha256[:12]}...")


def digest(path: Path, kind: str = "sha256") -> str:
    """The sha256 of a file, or its md5, in hex; :class:`DownloadFailed` for one that cannot be
    read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, DIGESTS[kind]).hexdigest()
    except OSError as error:
        raise DownloadFailed(f"{path} cannot be read: {error.strerror or error}") from error


def load(weights: Weights) -> dict[str, Tensor]:
    """The verified file's tensors, as float32 on the CPU.

    :class:`WeightsMismatch` for a file that is no safetensors, :class:`DownloadFailed` for one that
    cannot be read, and what :func:`verify` raises.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    verify(weights)
    try:
        # Located again: a file that was removed since is told as one that is not there.
        return {name: tensor.float() for name, tensor in load_file(locate(weights)).items()}
    except (SafetensorError, struct.error) as error:
        raise WeightsMismatch(f"{weights.file} cannot be read: {error}") from error
    except OSError as error:
        raise DownloadFailed(f"{weights.file} cannot be read: {error.strerror or error}") from error


def addresses(weights: Weights, mirror: str = "") -> tuple[str, ...]:
    """Where the weights can be fetched, in the order to try: what ``mirror`` has at the same path
    as an origin, then the origins themselves.
    """
    parts = [urlsplit(url) for url in weights.urls if mirror and not url.startswith("file:")]
    mirrored = [mirror + part._replace(scheme="", netloc="").geturl() for part in parts]
    return tuple(dict.fromkeys((*mirrored, *weights.urls)))


def download(
    url: str, part: Path, progress: Progress = lambda here, total: None, proxy: str = ""
) -> None:
    """Fetch ``url`` into ``part``, going on where an earlier try at the same file ended.

    ``proxy``: by which; "" for the one that the environment names, if any. What came so far stays
    in ``part``, whatever happens. Raises :class:`DownloadFailed` for the network's part,
    :class:`OutputError` for the disk's.
    """
    mark = unfinished(part)
    here, validator, total = begun(url, part)
    if here and here == total:
        return
    headers = {"Range": f"bytes={here}-", "If-Range": validator} if here else {}
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with _open(url, headers, _opener(proxy)) as response:
            if response.status == 206:
                total = _rest(response, url, here)
            else:
                size = response.headers["Content-Length"] or ""
                here, total = 0, int(size) if size.isdecimal() else 0
            with part.open("ab" if here else "wb") as file:
                mark.write_text(f"{url}\n{_validator(response.headers)}\n{total}\n", "utf-8")
                for block in _blocks(response, url):
                    file.write(block)
                    here += len(block)
                    progress(here, total)
        here = part.stat().st_size
    except OSError as error:
        raise OutputError(f"{str(part)!r} cannot be written: {error.strerror or error}") from error
    if total and here != total:
        if here > total:
            forget(part)  # two wrote at once: neither can go on
        raise DownloadFailed(f"{url} ended after {_size(here)} of {_size(total)}; {AGAIN}")


def unfinished(part: Path) -> Path:
    """The note beside ``part`` that says what it is the beginning of: URL, validator, size."""
    return part.with_name(f"{part.name}.txt")


def forget(part: Path) -> None:
    """Nothing is known of ``part`` any more: its note is emptied, as others may hold the file."""
    with suppress(OSError):
        unfinished(part).write_bytes(b"")


def begun(url: str, part: Path) -> tuple[int, str, int]:
    """The bytes of ``url`` that are here and can be gone on with, the validator that says of which
    version of it, and its whole size.
    """
    try:
        known, validator, total = unfinished(part).read_text("utf-8").splitlines()
        here = part.stat().st_size
        return (here, validator, int(total)) if known == url and validator else (0, "", 0)
    except (OSError, ValueError):
        return 0, "", 0


def _validator(headers: Mapping[str, Any]) -> str:
    """What ``If-Range`` may be given (RFC 9110, 13.1.5): a strong ETag, else the date."""
    etag = str(headers.get("ETag") or "")
    return etag if etag.startswith('"') else str(headers.get("Last-Modified") or "")


def _opener(proxy: str) -> OpenerDirector:
    """What opens addresses, by the environment's proxies where none is given."""
    return build_opener(*([ProxyHandler({"http": proxy, "https": proxy})] if proxy else []))


def _open(url: str, headers: Mapping[str, str], opener: OpenerDirector) -> Any:
    try:
        request = Request(url, headers={"User-Agent": "portrayer", **headers})
        response = opener.open(request, timeout=TIMEOUT)
    except HTTPError as error:
        with error:
            if error.code == 416 and headers:  # what is here is no beginning of what is there
                return _open(url, {}, opener)
            raise DownloadFailed(f"{url} answered {error.code} {error.reason}") from error
    except (OSError, HTTPException, ValueError) as error:
        raise DownloadFailed(f"{url} cannot be fetched: {_reason(error)}") from error
    if url.startswith("https:") and not response.url.startswith("https:"):
        response.close()
        raise DownloadFailed(f"{url} leads to {response.url}, which is not encrypted")
    return response


def _rest(response: Any, url: str, here: int) -> int:
    """The whole size, of an answer that goes on from ``here``."""
    found = re.match(rf"bytes {here}-\d+/(\d+)", response.headers["Content-Range"] or "")
    if found is None:
        raise DownloadFailed(f"{url} sent another part than it was asked for")
    return int(found[1])


def _blocks(response: Any, url: str) -> Iterator[bytes]:
    try:
        while block := response.read(BLOCK):
            yield block
    except (OSError, HTTPException) as error:
        raise DownloadFailed(f"{url} broke off: {_reason(error)}; {AGAIN}") from error


def _reason(error: Exception) -> str:
    """One line: a URLError carries the error below it."""
    below = getattr(error, "reason", error)
    text = str(getattr(below, "strerror", None) or below) or type(below).__name__
    return text.partition("\n")[0]


def _size(size: int) -> str:
    return f"{size / 2**20:.0f} MiB" if size >= 2**20 else f"{size / 2**10:.0f} KiB"
