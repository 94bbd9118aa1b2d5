"""Photos of the web: read one by one, by an address that may have been signed for just that."""

from __future__ import annotations

import errno
from typing import Any
from urllib.parse import quote, urlsplit

from portrayer.errors import InputError
from portrayer.storage.places import said

LARGEST = 1 << 30  # bytes of a photo; the web may send without end
TIMEOUT = 30.0  # seconds in which it has to answer


def check(url: str) -> None:
    """Raises :class:`InputError` where it is no address, or one that tells a password."""
    try:
        host = urlsplit(url).netloc
    except ValueError as error:
        raise InputError(f"{said(url)!r} is no address") from error
    if not host or "@" in host:
        why = "a password in it is not sent" if host else "it names no host"
        raise InputError(f"{said(url)!r} cannot be asked: {why}")


def fetched(url: str) -> bytes:
    """The bytes at an address. Raises OSError."""
    with _asked(url, "GET") as answer:
        blob: bytes = answer.read(LARGEST + 1)
        missing = answer.length  # of what was announced; read() itself does not mind
    if len(blob) > LARGEST:
        raise OSError(errno.EFBIG, f"it is larger than {LARGEST >> 20} MiB")
    if missing:
        raise ConnectionResetError(errno.ECONNRESET, f"it broke off {missing} bytes before its end")
    return blob


def looked(url: str) -> tuple[int, str]:
    """Size and stamp, as far as they are told: much of the web answers nothing but the photo."""
    from urllib.error import HTTPError

    try:
        with _asked(url, "HEAD") as answer:
            heads = answer.headers
    except HTTPError:
        return 0, ""
    stamp = heads.get("ETag") or heads.get("Last-Modified") or ""
    return int(heads.get("Content-Length") or 0), stamp


def _asked(url: str, method: str) -> Any:
    """The answer to a request, to be closed; one that is an error is raised."""
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    address = quote(url, safe="%/:=&?~#+!$,;'@()*[]")
    request = Request(address, method=method, headers={"User-Agent": "portrayer"})
    try:
        return urlopen(request, timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        raise
