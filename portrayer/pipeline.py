"""One photo, in a straight line: admit, decode, task, encode.

Threads meet only in the engine and in the budget.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from portrayer.engine.engine import Engine
from portrayer.engine.memory import Budget
from portrayer.errors import DecodeError, EngineClosed, ImageTooLarge, InputError
from portrayer.image import codec, files
from portrayer.image.codec import Credits, Decoded
from portrayer.image.credits import of_result
from portrayer.tasks import task as find_task
from portrayer.tasks.options import read
from portrayer.tasks.task import Task
from portrayer.types import Face, Image, Matte

Source: TypeAlias = Any
"""A photo: a path, the bytes of a file, an (H, W[, 3 or 4]) uint8 RGB array, or a Pillow image."""


@dataclass(frozen=True, slots=True)
class Input:
    """A photo that was given, before it is decoded: ``bytes`` bound what :attr:`decode` holds."""

    pixels: int
    bytes: int
    decode: Callable[[], Decoded]


@dataclass(frozen=True)
class Result:
    """A finished photo and how it came about.

    ``image``: (H, W, 3) RGB, (H, W, 4) RGBA or (H, W) grey uint8. ``matte``: (H, W) float32 0..1,
    where the task makes one. ``faces``: the faces found, None where the task looks for none.
    ``timings``: seconds by stage. ``batch``: the largest batch a forward of it ran in.
    ``forwards``: by model, the numbers of the engine's forwards it was in, as one may be shared by
    the samples of many photos.
    """

    image: Image
    matte: Matte | None
    timings: Mapping[str, float]
    device: str
    precision: str
    batch: int
    options: Any
    credits: Credits = field(default_factory=Credits)
    faces: tuple[Face, ...] | None = None
    forwards: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def encode(self, format: str | None = None) -> bytes:
        """The image as a file of ``format`` (the options' own by default)."""
        o = self.options
        lossless = o.quality == 100
        return codec.encode(
            self.image,
            format or o.format,
            quality=o.quality,
            lossless=lossless,
            credits=self.credits,
        )

    def save(self, path: str | Path) -> Path:
        """Write the image, whole or not at all; the name's ending decides the format.

        With ``output="both"`` the matte is written beside it as ``NAME.matte.png``.
        """
        path = Path(path)
        blob = self.encode(codec.format_of(path, self.options.format))
        if getattr(self.options, "output", "") == "both" and self.matte is not None:
            grey = np.rint(self.matte * 255).astype(np.uint8)
            matte = codec.encode(grey, "png", credits=self.credits)
            files.write(path.with_name(f"{path.stem}.matte.png"), matte)
        files.write(path, blob)
        return path


class Pipeline:
    """Photos through a task: decoding, the engine and encoding overlap, memory is reserved before
    any is used.

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

        ``options``: names and values, or the task's option dataclass. ``seconds``: how long it may
        take. Raises :class:`PortrayerError` subclasses only, for anything a caller or an operator
        can mend.
        """
        row, chosen = find_task(task), chosen_options(task, options)
        deadline = None if seconds is None else time.monotonic() + seconds
        with self._admitted(row, chosen, inputs) as opened:
            return self._process(row, opened, chosen, priority, deadline)

    def map(
        self,
        task: str,
        inputs: Iterable[Source],
        options: Mapping[str, Any] | Any = (),
        *,
        priority: int = 0,
    ) -> Iterator[Result]:
        """Results in the order of the inputs; an error is raised at its photo's place.

        At most one input more is taken than photos are worked on at once.
        """
        return self._map(task, inputs, chosen_options(task, options), priority)

    def _map(
        self, task: str, inputs: Iterable[Source], options: Any, priority: int
    ) -> Iterator[Result]:
        waiting: deque[Future[Result]] = deque()
        try:
            for source in inputs:
                waiting.append(self._submit(task, source, options, priority))
                if len(waiting) > self.workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except CancelledError:
            raise EngineClosed("the pipeline was closed") from None
        finally:
            for future in waiting:
                future.cancel()

    def _submit(self, task: str, source: Source, options: Any, priority: int) -> Future[Result]:
        try:
            return self._pool.submit(self.run, task, [source], options, priority=priority)
        except RuntimeError:  # all that a closed pool says
            raise EngineClosed("the pipeline is closed") from None

    def process_file(
        self, task: str, options: Mapping[str, Any], source: Path, target: Path
    ) -> Mapping[str, Any]:
        """A file to a file; what a ledger wants to remember of it.

        ``source`` is the last of the task's inputs. ``options`` hold the paths of those before it,
        by their names, beside the task's own.
        """
        row, wish = find_task(task), dict(options)
        sources = [wish.pop(name) for name in row.inputs[:-1] if name in wish]
        chosen = chosen_options(task, wish)
        with self._admitted(row, chosen, [*sources, source]) as opened:
            result = self._process(row, opened, chosen, 0, None)
            start = time.perf_counter()
            result.save(target)
        timings = {**result.timings, "encode": time.perf_counter() - start}
        found = {} if result.faces is None else {"faces": len(result.faces)}
        return found | {
            "device": result.device,
            "precision": result.precision,
            "batch": result.batch,
            "seconds": {name: round(value, 5) for name, value in timings.items()},
        }

    def close(self) -> None:
        """Finish the photos that are worked on, refuse the ones that wait."""
        self._pool.shutdown(cancel_futures=True)
        self.engine.close()

    @contextmanager
    def _admitted(
        self, row: Task, options: Any, sources: Sequence[Source]
    ) -> Iterator[Sequence[Input]]:
        """The inputs, with the host memory reserved that they need at their peak."""
        if len(sources) != len(row.inputs):
            wanted = ", ".join(row.inputs)
            raise InputError(f"{row.name} takes {wanted}; {len(sources)} inputs were given")
        opened = row.each(partial(open_source, max_pixels=self.max_pixels), sources)
        need = sum(max(photo.bytes, row.memory(options, photo.pixels)) for photo in opened)
        with self.host.reserve(need):
            yield opened

    def _process(
        self,
        row: Task,
        opened: Sequence[Input],
        options: Any,
        priority: int,
        deadline: float | None,
    ) -> Result:
        clock = Stopwatch()
        decoded = row.each(lambda photo: photo.decode(), opened)
        clock.lap("decode")
        ran: list[tuple[str, str, int]] = []
        forwards: dict[str, tuple[int, ...]] = {}

        def infer(model: str, samples: NDArray[np.uint8]) -> NDArray[np.float32]:
            clock.lap("task")
            answer = self.engine.infer(model, samples, priority=priority, deadline=deadline)
            ran.append((answer.device, answer.precision, answer.batch))
            forwards[model] = (*forwards.get(model, ()), *answer.forwards)
            clock.lap("infer")
            return answer.arrays

        product = row.run([d.image for d in decoded], options, infer)
        clock.lap("task")
        return Result(
            image=product.image,
            matte=product.matte,
            timings=clock.seconds,
            device=ran[0][0] if ran else "",
            precision=ran[0][1] if ran else "",
            batch=max((batch for _, _, batch in ran), default=0),
            options=options,
            credits=of_result([d.credits for d in decoded], product.mark),
            faces=product.faces,
            forwards=forwards,
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


def chosen_options(task: str, options: Mapping[str, Any] | Any) -> Any:
    """The task's option dataclass, from names and values or as it is."""
    cls = find_task(task).options
    return options if isinstance(options, cls) else read(cls, dict(options))


def open_source(source: Source, max_pixels: int = codec.MAX_PIXELS) -> Input:
    """What a caller gave, ready to be decoded; of a file only the header has been looked at.

    Raises :class:`DecodeError` for anything that is no photo, :class:`ImageTooLarge` for one of
    more than ``max_pixels``, :class:`InputError` for a file that cannot be read.
    """
    if isinstance(source, (str, Path)):
        try:
            source = Path(source).read_bytes()
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"{str(source)!r} cannot be read: {reason}") from error
    if isinstance(source, (bytes, bytearray, memoryview)):
        blob = bytes(source)
        header = codec.probe(blob, max_pixels=max_pixels)
        return Input(
            header.pixels, header.decoded_bytes, lambda: codec.decode(blob, max_pixels=max_pixels)
        )
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.size == 0 or source.ndim not in (2, 3):
            what = f"an array of {source.dtype} {source.shape}"
            raise DecodeError(f"{what} is no photo, uint8 (H, W, 3) is one")
        return _at_hand(source, source.shape[:2], codec.from_array, max_pixels)
    if hasattr(source, "convert") and hasattr(source, "getexif"):  # a Pillow image
        return _at_hand(source, source.size, codec.from_pillow, max_pixels)
    what = type(source).__name__
    raise DecodeError(f"{what} is no photo: give a path, bytes, an array or a Pillow image")


def _at_hand(
    source: Any, sides: tuple[int, int], convert: Callable[[Any], Image], max_pixels: int
) -> Input:
    pixels = sides[0] * sides[1]
    if pixels > max_pixels:
        raise ImageTooLarge(f"the picture has {pixels} pixels, more than {max_pixels}")
    # A Pillow image may still have to be read from its file, and become upright and opaque.
    return Input(pixels, 12 * pixels, lambda: Decoded(convert(source)))
