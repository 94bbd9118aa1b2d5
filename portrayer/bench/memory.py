"""What forwards and photos really take, each in a fresh process: none hides behind another."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil

from portrayer.bench import flow
from portrayer.bench.rig import Setup, Work, devices, of_its_own, opened
from portrayer.engine.device import trim_memory
from portrayer.engine.host import peak
from portrayer.models.catalog import spec

CLEAR = Path("/proc/self/clear_refs")


def forward(setup: Setup, name: str, batch: int) -> int | None:
    """Bytes that a forward of ``batch`` samples takes at its peak beside the weights; None where
    memory ends. Runs in a process of its own.

    On a device with memory of its own it is what the device says, on the host what is resident.
    """
    [device] = devices(setup)
    device.enter()
    model_spec = spec(name, setup.settings.models)
    model, _ = device.load(model_spec)
    samples = np.zeros((device.padded(batch), model_spec.side, model_spec.side, 3), np.uint8)
    try:
        if of_its_own(device):
            return int(cast(Any, device).peak(model, len(samples)))
        device.finish(device.launch(model, samples[:1]))  # code and kernels are no forward's cost
        before = settled()
        device.finish(device.launch(model, samples))
        return max(0, peak() - before)
    except Exception as error:
        if device.is_out_of_memory(error):
            return None
        raise


def photo(setup: Setup, small: Work, work: Work, out: Path) -> tuple[int, int]:
    """Bytes reserved for a photo of ``work``, and those that were resident at its peak above the
    process that has done ``small``. Runs in a process of its own.

    On the CPU both hold a forward of one sample.
    """
    with opened(setup) as rig:
        flow.run(rig, small, out, 1, workers=1)
        before = settled()
        flow.run(rig, work, out, 1, workers=1)
        used, forwards = max(0, peak() - before), rig.costs().values()
        shared = max(cost.of(1) for cost in forwards) if rig.on_cpu else 0
        return rig.pipeline.host.peak + shared, used


def settled() -> int:
    """Bytes that are resident now, what is free given back; from here on :func:`peak` begins anew.

    On other systems than Linux neither is done, and what was kept is not seen again.
    """
    trim_memory()
    with suppress(OSError):
        CLEAR.write_text("5")
    return int(psutil.Process().memory_info().rss)
