"""What memory this process has taken, and may still take of the machine and of its container."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

GROUPS, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
STATUS = Path("/proc/self/status")
# Limit and use, by the name that the file of the limit has: version 2, then version 1.
FILES = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))


def available(groups: Path = GROUPS, own: Path = OWN) -> int:
    """Bytes that can be taken: what the machine has, or less where a control group allows less."""
    machine = int(psutil.virtual_memory().available)
    return max(0, min([machine, *_left(groups, own)]))


def peak() -> int:
    """The most bytes that were resident in this process.

    Linux' own figure first: what getrusage says there may be what the parent once had.
    """
    with suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text())
        if found:
            return int(found[1]) * 1024
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _left(groups: Path, own: Path) -> Iterator[int]:
    """What each control group from this process' own up to the root leaves.

    Within a container the root is its own group.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return  # no such thing here
    for _, controllers, path in (line.split(":", 2) for line in lines):
        base = groups / controllers if "memory" in controllers.split(",") else groups
        folder = base / path.lstrip("/")
        for each in (folder, *folder.parents):
            if each.is_relative_to(groups):
                yield from _room(each)


def _room(folder: Path) -> Iterator[int]:
    for limit, used in FILES:
        try:
            most, taken = (int((folder / name).read_text()) for name in (limit, used))
            yield most - taken + _cached(folder)
        except (OSError, ValueError):  # no limit, "max"
            continue


def _cached(folder: Path) -> int:
    """Bytes of files that were read or written and are let go of when memory is short."""
    words = (folder / "memory.stat").read_text().split()
    stat = dict(zip(words[::2], words[1::2], strict=True))
    return int(stat.get("total_inactive_file", stat.get("inactive_file", 0)))
