"""Object stores, over fsspec: one file system of each for all threads, and how it lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, TypeAlias

from portrayer.errors import InputError

STORES = ("s3", "gs", "az", "memory")  # memory: of this process, for tests
"""By their scheme, which is also the name of the extra."""

OPTIONS: Mapping[str, Mapping[str, object]] = {
    "s3": {"max_concurrency": 1}  # else each read asks for the size first
}

Listing: TypeAlias = Iterator[tuple[str, Mapping[str, Any]]]
"""Bucket and key of each object, and what its store says of it."""


@cache
def store(scheme: str) -> Any:
    """The store's file system; listings are not kept. :class:`InputError` without its extra."""
    try:
        import fsspec

        kind = fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        extra = f"portrayer[{scheme}]"
        raise InputError(f"{scheme}:// needs an extra: pip install {extra!r}") from error
    options = {"use_listings_cache": False, "skip_instance_cache": True}
    return kind(**options, **OPTIONS.get(scheme, {}))


def listing(scheme: str, top: str) -> Listing:
    """What lies below ``top``, a bucket with or without a folder, in the order of the keys' bytes.

    Of s3:// a page is held at a time, of the others what lies in one folder.
    """
    return LISTINGS.get(scheme, _folders)(store(scheme), top)


def _pages(store: Any, top: str) -> Listing:
    """A page of a thousand at a time, which the package itself would gather into one list."""
    bucket, _, prefix = top.partition("/")
    wish = {"Bucket": bucket, "Prefix": prefix and f"{prefix}/"}
    while True:
        page = store.call_s3("list_objects_v2", **wish)
        for found in page.get("Contents", ()):
            yield f"{bucket}/{found['Key']}", {"size": found["Size"], "ETag": found["ETag"]}
        if not page.get("IsTruncated"):
            return
        wish["ContinuationToken"] = page["NextContinuationToken"]


def _folders(store: Any, top: str) -> Listing:
    """Folder by folder, in the order of one sorted listing of all keys."""

    def path(found: Mapping[str, Any]) -> str:
        return str(found["name"]).strip("/")

    def order(found: Mapping[str, Any]) -> bytes:
        folder = found["type"] == "directory"
        return f"{path(found)}{'/' if folder else ''}".encode()

    for found in sorted(store.ls(top, detail=True), key=order):
        if path(found) == top:  # a mark that stands for the folder
            continue
        if found["type"] == "directory":
            yield from _folders(store, path(found))
        else:
            yield path(found), found


LISTINGS: Mapping[str, Callable[[Any, str], Listing]] = {"s3": _pages}
