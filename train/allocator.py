"""Memory that a training frees is kept for its next step: fresh pages cost a quarter of it."""

from __future__ import annotations

import os
import sys

MALLOC = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "268435456",
}


def keep() -> None:
    """Start this script again with glibc told so, unless it was: it is read at start-up only."""
    if any(os.environ.get(name) != value for name, value in MALLOC.items()):
        os.environ |= MALLOC
        os.execv(sys.executable, [sys.executable, *sys.argv])
