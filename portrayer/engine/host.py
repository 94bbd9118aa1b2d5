"""What memory this process may still take, of the machine and of the container it is in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil

GROUPS, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
# Limit and use, by the name that the file of the limit has: version 2, then version 1.
FILES = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))


def available(groups: Path = GROUPS, own: Path = OWN) -> int:
    """Bytes that can be taken: what the machine has, or less where a control group allows less."""
    machine = int(psutil.virtual_memory().available)
    return max(0, min([machine, *_left(groups, own)]))


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
