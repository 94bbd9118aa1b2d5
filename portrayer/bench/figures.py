"""What a bench has measured, as plain values: this tree is the schema of ``--json``.

Times are seconds where nothing else is said, memory is bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Machine:
    """What it ran on. ``memory``: that could be taken when it began; ``devices``: by replica."""

    portrayer: str
    python: str
    torch: str
    system: str
    processor: str
    cores: int
    memory: int
    devices: tuple[str, ...]
    gpus: tuple[str, ...]
    precision: str
    workers: int


@dataclass(frozen=True, slots=True)
class Latency:
    """One photo, file to file. ``cold``: the whole command in a fresh process, median; ``warm`` and
    ``p95``: in a process that has done some, median and 95th percentile.
    """

    width: int
    height: int
    cold: float
    warm: float
    p95: float


@dataclass(frozen=True, slots=True)
class ForwardMemory:
    """A forward of ``batch`` samples beside the weights; every model takes one fixed size, so no
    photo's size matters. ``cost``: what the engine reserves for it; ``used``: what it took, None
    where memory ended.
    """

    model: str
    batch: int
    cost: int
    used: int | None


@dataclass(frozen=True, slots=True)
class PhotoMemory:
    """One photo through decoding, task and encoding on the host; on the CPU a forward of one sample
    is in it. ``reserved`` for it; ``used``: the most that was resident above the idle process.
    """

    width: int
    height: int
    reserved: int
    used: int


@dataclass(frozen=True, slots=True)
class Rate:
    """Forwards alone: nothing is decoded or encoded. ``ran``: the largest batch that memory let
    run.
    """

    replicas: int
    batch: int
    ran: int
    images_per_second: float


@dataclass(frozen=True, slots=True)
class Stages:
    """CPU milliseconds an image by stage. ``forward``: of the replicas' threads; ``other``: what
    the process took beside these.
    """

    decode: float
    task: float
    encode: float
    forward: float
    other: float

    @property
    def total(self) -> float:
        return sum(self.shares().values())

    def shares(self) -> dict[str, float]:
        """By name, in the order of a photo's way."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


@dataclass(frozen=True, slots=True)
class EndToEnd:
    """Files to files, written and synced. ``with_start``: the whole command, ledger included.

    ``limit``: images/s that ``limited_by`` allows; ``fraction``: of it that was reached.
    ``processes``: 1 where the photos at once are threads of one. ``cores_busy`` and
    ``device_busy``: 0..1. ``together`` with all workers, ``alone`` with one photo at a time.
    """

    width: int
    height: int
    images: int
    images_per_second: float
    with_start: float
    limit: float
    limited_by: str
    fraction: float
    processes: int
    cores_busy: float
    device_busy: float
    bottleneck: str
    together: Stages
    alone: Stages


@dataclass(frozen=True, slots=True)
class Lever:
    """Images/s with everything as it is (``on``) and with one thing changed (``off``), medians of
    runs that alternate. ``ratio``: off / on, below 1 where the lever helps.
    """

    name: str
    change: str
    on: float
    off: float
    ratio: float


@dataclass(frozen=True, slots=True)
class Report:
    """Everything; what was not asked for is empty, or None."""

    task: str
    machine: Machine
    latency: tuple[Latency, ...] = ()
    forward_memory: tuple[ForwardMemory, ...] = ()
    photo_memory: tuple[PhotoMemory, ...] = ()
    by_batch: tuple[Rate, ...] = ()
    by_replicas: tuple[Rate, ...] = ()
    end_to_end: EndToEnd | None = None
    levers: tuple[Lever, ...] = ()
