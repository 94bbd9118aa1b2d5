"""One photo, in a straight line: admit, decode, task, encode. Threads meet only in the engine and in the budget."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from portrayer.engine.engine import Engine
from portrayer.engine.memory import Budget
from portrayer.errors import DecodeError, InputError
from portrayer.image import codec, files
from portrayer.image.codec import Credits, Decoded
from portrayer.tasks import task as find_task
from portrayer.tasks.options import read
from portrayer.tasks.task import Task
from portrayer.types import Image, Matte

Source: TypeAlias = Any
"""A photo: a path, the bytes of a file, an (H, W[, 3 or 4]) uint8 RGB array, or a Pillow image."""


@dataclass(frozen=True)
class Result:
    """A finished photo and how it came about.

    ``image``: (H, W, 3) RGB, (H, W, 4) RGBA or (H, W) grey uint8. ``matte``: (H, W) float32 0..1, where the task makes
    one. ``timings``: seconds by stage. ``batch``: the largest batch a forward of it ran in.
    """

    image: Image
    matte: Matte | None
    timings: Mapping[str, float]
    device: str
    precision: str
    batch: int
    options: Any
    credits: Credits = field(default_factory=Credits)

    def encode(self, format: str | None = None) -> bytes:
        """The image as a file of ``format`` (the options' own by default)."""
        o = self.options
        lossless = o.quality == 100
        return codec.encode(
            self.image, format or o.format, quality=o.quality, lossless=lossless, credits=self.credits
        )

    def save(self, path: str | Path) -> Path:
        """Write the image, whole or not at all; the name's ending decides the format.

        With ``output="both"`` the matte is written beside it as ``NAME.matte.png``.
        """
        path = Path(path)
        blob = self.encode(codec.format_of(path, self.options.format))
        if getattr(self.options, "output", "") == "both" and self.matte is not None:
            grey = np.rint(self.matte * 255).astype(np.uint8)
            files.write(path.with_name(f"{path.stem}.matte.png"), codec.encode(grey, "png"))
        files.write(path, blob)
        return path


class Pipeline:
    """Photos through a task: decoding, the engine and encoding overlap, memory is reserved before any is used.

    ``host``: the ledger of decoded photos in flight. ``workers``: photos worked on at once.
    """

    def __init__(self, engine: Engine, host: Budget, *, workers: int, max_pixels: int) -> None:
        self.engine, self.host, self.workers, self.max_pixels = engine, host, workers, max_pixels
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="photo")

    def run(
        self,
        task: str,
        inputs: Sequence[Source],
        options: Mapping[str, Any] | Any = (),
        *,
        priority: int = 0,
        seconds: float | None = None,
    ) -> Result:
        """One photo (or as many inputs as the task takes), in this thread.

        ``options``: names and values, or the task's option dataclass. ``seconds``: how long it may take. Raises
        :class:`PortrayerError` subclasses only, for anything a caller or an operator can mend.
        """
        row = find_task(task)
        chosen = options if isinstance(options, row.options) else read(row.options, dict(options))
        deadline = None if seconds is None else time.monotonic() + seconds
        blobs = [open_source(source) for source in inputs]
        with self.host.reserve(sum(self._need(row, blob) for blob in blobs)):
            return self._process(row, blobs, chosen, priority, deadline)

    def map(
        self, task: str, inputs: Iterable[Source], options: Mapping[str, Any] | Any = (), *, priority: int = 0
    ) -> Iterator[Result]:
        """Results in the order of the inputs; no more inputs are taken than are being worked on."""
        waiting: deque[Future[Result]] = deque()
        try:
            for source in inputs:
                waiting.append(self._pool.submit(self.run, task, [source], options, priority=priority))
                if len(waiting) > self.workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def process_file(
        self, task: str, options: Mapping[str, Any], source: Path, target: Path
    ) -> Mapping[str, Any]:
        """A file to a file; what a ledger wants to remember of it."""
        result = self.run(task, [source], options)
        start = time.perf_counter()
        result.save(target)
        timings = {**result.timings, "encode": time.perf_counter() - start}
        return {
            "device": result.device,
            "precision": result.precision,
            "batch": result.batch,
            "seconds": {name: round(value, 5) for name, value in timings.items()},
        }

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        self.engine.close()

    def _need(self, row: Task, source: bytes | Image) -> int:
        """Host bytes one input takes at its peak, known before it is decoded."""
        if not isinstance(source, bytes):
            return source.shape[0] * source.shape[1] * row.bytes_per_pixel
        header = codec.probe(source, max_pixels=self.max_pixels)
        return max(header.decoded_bytes, header.pixels * row.bytes_per_pixel)

    def _process(
        self, row: Task, blobs: Sequence[bytes | Image], options: Any, priority: int, deadline: float | None
    ) -> Result:
        clock = Stopwatch()
        decoded = [
            codec.decode(blob, max_pixels=self.max_pixels) if isinstance(blob, bytes) else Decoded(blob)
            for blob in blobs
        ]
        clock.lap("decode")
        ran: list[Any] = []

        def infer(model: str, samples: NDArray[np.uint8]) -> NDArray[np.float32]:
            clock.lap("task")
            ran.append(self.engine.infer(model, samples, priority=priority, deadline=deadline))
            clock.lap("infer")
            return ran[-1].arrays

        product = row.run([d.image for d in decoded], options, infer)
        clock.lap("task")
        return Result(
            image=product.image,
            matte=product.matte,
            timings=clock.seconds,
            device=ran[0].device if ran else "",
            precision=ran[0].precision if ran else "",
            batch=max((answer.batch for answer in ran), default=0),
            options=options,
            credits=decoded[0].credits,
        )


class Stopwatch:
    """Seconds by stage: each lap adds what has passed since the last one."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[str, float] = {}
        self._clock, self._last = clock, clock()

    def lap(self, stage: str) -> None:
        now = self._clock()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now


def open_source(source: Source) -> bytes | Image:
    """What a caller gave, as the bytes of a file or an (H, W, 3) uint8 RGB array.

    Raises :class:`DecodeError` for anything that is no photo, :class:`InputError` for a file that cannot be read.
    """
    if isinstance(source, (str, Path)):
        try:
            return Path(source).read_bytes()
        except OSError as error:
            raise InputError(f"{source} cannot be read: {error.strerror or error}") from error
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source)
    if hasattr(source, "convert") and hasattr(source, "getexif"):  # a Pillow image
        return codec.from_pillow(source)
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.size == 0 or source.ndim not in (2, 3):
            raise DecodeError(f"an array of {source.dtype} {source.shape} is no photo, uint8 (H, W, 3) is one")
        return codec.from_array(source)
    raise DecodeError(f"{type(source).__name__} is no photo: give a path, bytes, an array or a Pillow image")
