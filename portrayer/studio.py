"""The house put together, settings to devices, engine and pipeline; and its Python face."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from portrayer.engine.cores import cores
from portrayer.engine.device import Device, open_devices
from portrayer.engine.engine import Engine
from portrayer.engine.host import available
from portrayer.engine.memory import LEAST, Budget, for_models, parse, show
from portrayer.errors import DeviceUnavailable, InvalidOption
from portrayer.image.given import Source
from portrayer.models.catalog import spec
from portrayer.pipeline import Pipeline, Result
from portrayer.settings import Settings, load
from portrayer.tasks.presets import applied

ON_HOST = frozenset({"cpu", "mps"})  # devices that have no memory of their own


class Studio:
    """Portraits in Python.

    >>> with Studio(device="auto", memory="4GiB") as studio:
    ...     studio.matte("photo.jpg", background="white").save("cut.png")

    ``device``, ``precision``, ``memory`` and every other field of
    :class:`~portrayer.settings.Settings` may be given, also beside ``settings``, which they win
    over; without ``settings``, what is not given comes from the environment and the configuration
    file. Safe to call from many threads. ``host``: the ledger of photos' memory, where it is
    shared with other processes; else it is what ``memory`` leaves beside the models.
    """

    def __init__(
        self, settings: Settings | None = None, *, host: Budget | None = None, **overrides: Any
    ) -> None:
        if settings is None or overrides:
            settings = load(**(dict(settings or ()) | overrides))
        self.settings = settings
        s = self.settings
        memory = parse(s.memory, available())
        if memory < LEAST:
            raise InvalidOption(f"memory is {show(memory)}, at least {show(LEAST)} are needed")
        devices = open_devices(s.device, s.precision, largest_batch=s.max_batch)
        on_cpu = all(device.name == "cpu" for device in devices)
        on_host = all(device.name in ON_HOST for device in devices)
        if s.require_gpu and on_cpu:
            raise DeviceUnavailable("a GPU is required, and none was found")
        shared = Budget(for_models(memory), "cpu")
        own = Budget(memory - shared.total if on_host else memory, "host memory")

        def budget(device: Device) -> Budget:
            if device.name in ON_HOST:
                return shared
            return Budget(parse(s.gpu_memory, device.capacity()), device.name)

        engine = Engine(devices, budget, partial(spec, folder=s.models))
        workers = s.workers or (cores() + 1 if on_cpu else cores() + 2 * len(devices))
        self.pipeline = Pipeline(engine, host or own, workers=workers, max_pixels=s.max_pixels)

    def matte(self, source: Source, *, preset: str = "", **options: Any) -> Result:
        """Cut the people out of a photo.

        Options as in :class:`~portrayer.tasks.matting.Matting`; they win over the preset's.
        """
        chosen = applied(preset, "matte", options, self.settings.presets)
        return self.pipeline.run("matte", [source], chosen)

    def enhance(self, source: Source, *, preset: str = "", **options: Any) -> Result:
        """Restore a portrait: its faces, and the whole frame as far as it is noisy.

        Options as in :class:`~portrayer.tasks.enhancement.Enhancement`; they win over the preset's.
        """
        chosen = applied(preset, "enhance", options, self.settings.presets)
        return self.pipeline.run("enhance", [source], chosen)

    def fuse(self, source: Source, target: Source, *, preset: str = "", **options: Any) -> Result:
        """Fuse the face of ``source`` into ``target``; the result is marked as synthetic.

        Options as in :class:`~portrayer.tasks.fusion.Fusion`; ``consent=True`` says that you have
        the right to use these faces, and without it :class:`~portrayer.errors.InvalidOption` is
        raised.
        """
        chosen = applied(preset, "fuse", options, self.settings.presets)
        return self.pipeline.run("fuse", [source, target], chosen)

    def map(
        self, task: str, inputs: Iterable[Source], *, preset: str = "", **options: Any
    ) -> Iterator[Result]:
        """A task over many photos: results in order, a bounded number of photos in memory."""
        chosen = applied(preset, task, options, self.settings.presets)
        return self.pipeline.map(task, inputs, chosen)

    def close(self) -> None:
        """Finish what runs, refuse what waits, free the device."""
        self.pipeline.close()

    def __enter__(self) -> Studio:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
