"""Photos of the web: read one by one, by an address that may have been signed for just that."""

from __future__ import annotations

import errno
from typing import Any
from urllib.parse import quote

LARGEST = 1 << 30  # bytes of a photo; the web may send without end
TIMEOUT = 30.0  # seconds in which it has to answer


def fetched(url: str) -> bytes:
    """The bytes at an address. Raises OSError."""
    with _asked(url, "GET") as answer:
        blob: bytes = answer.read(LARGEST + 1)
    if len(blob) > LARGEST:
        raise OSError(errno.EFBIG, f"it is larger than {LARGEST >> 20} MiB")
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
