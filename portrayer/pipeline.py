"""One photo, in a straight line: admit, decode, task, encode.

Threads meet only in the engine, in the budget and in the precedence.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from portrayer import storage
from portrayer.engine.device import trim_memory
from portrayer.engine.engine import Engine
from portrayer.engine.memory import Budget
from portrayer.engine.precedence import Course, Precedence, Watch
from portrayer.errors import EngineClosed, InputError
from portrayer.image import codec, thumbnail
from portrayer.image.codec import Credits
from portrayer.image.composite import quantise
from portrayer.image.credits import of_result
from portrayer.image.given import Input, Source, open_source, read_source
from portrayer.storage import Place
from portrayer.tasks import pictures
from portrayer.tasks import task as find_task
from portrayer.tasks.options import read
from portrayer.tasks.task import Task
from portrayer.types import Face, Image, Matte

GLANCE = 10.0  # seconds that a small picture waits for memory at most
TRIMMED = 100  # photos after which freed memory goes back; measured: a five-hundredth of the time


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

    def save(self, path: str | Path) -> Place:
        """Write the image, to a path or a URL, whole or not at all; the name's ending decides the
        format. Where it is.

        With ``output="both"`` the matte is written beside it as ``NAME.matte.png``.
        """
        place = path if isinstance(path, Path) else storage.place(path)
        self.write(place)
        return place

    def write(self, place: Place) -> int:
        """As :meth:`save`; the bytes of the image's file."""
        blob = self.encode(codec.format_of(Path(storage.name(place)), self.options.format))
        if getattr(self.options, "output", "") == "both" and self.matte is not None:
            matte = codec.encode(quantise(self.matte), "png", credits=self.credits)
            storage.write(storage.matte_of(place), matte)
        storage.write(place, blob)
        return len(blob)


class Pipeline:
    """Photos through a task: decoding, the engine and encoding overlap, memory is reserved before
    any is used.

    ``host``: the ledger of decoded photos in flight. ``workers``: photos worked on at once.
    """

    def __init__(self, engine: Engine, host: Budget, *, workers: int, max_pixels: int) -> None:
        self.engine, self.host, self.workers, self.max_pixels = engine, host, workers, max_pixels
        self._precedence, self._begun = Precedence(), count(1)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="photo")

    def run(
        self,
        task: str,
        inputs: Sequence[Source],
        options: Mapping[str, Any] | Any = (),
        *,
        priority: int = 0,
        seconds: float | None = None,
        watch: Watch | None = None,
    ) -> Result:
        """One photo (or as many inputs as the task takes), in this thread.

        ``options``: names and values, or the task's option dataclass. ``priority``: higher goes
        first, on the device and on the host. ``seconds``: how long it may take; what runs on the
        device is waited for. ``watch``: hears "decode", "task" and "infer" as each begins. Raises
        :class:`PortrayerError` subclasses only, for anything a caller or an operator can mend, and
        what ``watch`` raises.
        """
        course = Course(self._precedence, watch, priority, seconds)
        with self._finished(task, inputs, options, course) as result:
            return result

    @contextmanager
    def process(
        self,
        task: str,
        inputs: Sequence[Source],
        options: Mapping[str, Any] | Any = (),
        *,
        priority: int = 0,
        seconds: float | None = None,
        watch: Watch | None = None,
    ) -> Iterator[Result]:
        """As :meth:`run`, for a result that is encoded in the block: one stage more, "encode".

        Until its end the photo keeps its memory and its precedence.
        """
        course = Course(self._precedence, watch, priority, seconds)
        with self._finished(task, inputs, options, course) as result:
            course.enter("encode")
            yield result
            course.leave()

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
        self,
        task: str,
        options: Mapping[str, Any],
        source: Place,
        target: Place,
        watch: Watch | None = None,
    ) -> Mapping[str, Any]:
        """A file to a file, each at a path or a URL; what a ledger wants to remember of it.

        ``source`` is the last of the task's inputs. ``options`` hold the places of those before it,
        by their names, beside the task's own. ``watch`` hears each stage as it begins; what it
        raises ends the photo there, and nothing is written.
        """
        wish = dict(options)
        ahead = [wish.pop(name) for name in find_task(task).inputs[:-1] if name in wish]
        with self.process(task, [*ahead, source], wish, watch=watch) as result:
            size = result.write(target)
        found = {} if result.faces is None else {"faces": len(result.faces)}
        return found | {
            "device": result.device,
            "precision": result.precision,
            "batch": result.batch,
            "width": result.image.shape[1],
            "height": result.image.shape[0],
            "format": codec.format_of(Path(storage.name(target)), result.options.format),
            "bytes": size,
            "seconds": {name: round(value, 5) for name, value in result.timings.items()},
        }

    def thumbnail(self, source: Path, side: int) -> bytes:
        """The file's picture as a WebP of at most ``side`` pixels a side, upright, its alpha kept.

        Somebody looks at a page: it waits behind no photo of a job, and not for long. Raises what
        :func:`open_source`, :func:`codec.decode` and :meth:`Budget.reserve` raise.
        """
        blob = read_source(source)
        header = codec.probe(blob, max_pixels=self.max_pixels, side=side)
        with self.host.reserve(thumbnail.memory(header), GLANCE, priority=1):
            return thumbnail.make(blob, side, max_pixels=self.max_pixels)

    def close(self) -> None:
        """Finish the photos that are worked on, refuse the ones that wait."""
        self._pool.shutdown(cancel_futures=True)
        self.engine.close()

    @contextmanager
    def _finished(
        self, task: str, inputs: Sequence[Source], options: Any, course: Course
    ) -> Iterator[Result]:
        """The result, as long as the host memory is reserved that it needed at its peak."""
        row, chosen = find_task(task), chosen_options(task, options)
        if len(inputs) != len(row.inputs):
            wanted = ", ".join(row.inputs)
            raise InputError(f"{row.name} takes {wanted}; {len(inputs)} inputs were given")
        sides = [*(0 for _ in inputs[1:]), chosen.enough]
        given = [storage.read(each) if storage.is_url(each) else each for each in inputs]
        opened = row.each(
            lambda photo: open_source(photo[0], self.max_pixels, photo[1]),
            [*zip(given, sides, strict=True)],
        )
        need = needed(row, chosen, opened)
        memory = self.host.reserve(need, course.left, priority=course.priority)
        with self._precedence.working(course.priority, memory):
            if next(self._begun) % TRIMMED == 0 or 2 * need > self.host.total:
                trim_memory()  # a large photo needs what was kept for small ones
            yield self._process(row, opened, chosen, course)

    def _process(self, row: Task, opened: Sequence[Input], options: Any, course: Course) -> Result:
        course.enter("decode")
        decoded = row.each(lambda photo: photo.decode(), opened)
        ran: list[tuple[str, str, int]] = []
        forwards: dict[str, tuple[int, ...]] = {}

        def infer(
            model: str,
            samples: NDArray[np.uint8] | None,
            vectors: NDArray[np.float32] | None = None,
        ) -> NDArray[np.float32]:
            course.enter("infer")
            answer = self.engine.infer(
                model, samples, vectors, priority=course.priority, deadline=course.deadline
            )
            ran.append((answer.device, answer.precision, answer.batch))
            forwards[model] = (*forwards.get(model, ()), *answer.forwards)
            course.enter("task")
            return answer.arrays

        course.enter("task")
        product = row.run([d.image for d in decoded], options, infer)
        course.leave()
        return Result(
            image=product.image,
            matte=product.matte,
            timings=course.seconds,
            device=ran[0][0] if ran else "",
            precision=ran[0][1] if ran else "",
            batch=max((batch for _, _, batch in ran), default=0),
            options=options,
            credits=of_result([d.credits for d in decoded], product.mark),
            faces=product.faces,
            forwards=forwards,
        )


def needed(row: Task, options: Any, opened: Sequence[Input]) -> int:
    """Host bytes that a photo takes at its peak: its inputs are decoded one beside the other, and
    all but the last stay as they are while the task runs.
    """
    held = most = 0
    for photo in opened:
        most = max(most, held + photo.bytes)
        held += 3 * photo.pixels
    last = opened[-1].pixels
    return max(most, held - 3 * last + row.memory(options, last)) + pictures.memory(options)


def chosen_options(task: str, options: Mapping[str, Any] | Any) -> Any:
    """The task's option dataclass, from names and values or as it is."""
    cls = find_task(task).options
    return options if isinstance(options, cls) else read(cls, dict(options))
