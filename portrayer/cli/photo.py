"""One photo, without a ledger: from a file or stdin, to a file or stdout."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from portrayer import storage
from portrayer.cli.request import Request
from portrayer.engine.host import peak
from portrayer.errors import InputError, InvalidOption
from portrayer.image import codec
from portrayer.settings import Settings
from portrayer.storage import Place, is_url
from portrayer.tasks import TASKS
from portrayer.tasks.options import read


def run(request: Request, settings: Settings, as_json: bool) -> int:
    """Do it; 0, for whatever goes wrong is raised."""
    options, output = dict(request.options), request.output
    if output is None and as_json:
        raise InvalidOption("--json and the picture would share stdout: name a file with -o")
    if output is not None:
        row = TASKS[request.task].options
        options["format"] = codec.format_of(Path(storage.name(output)), read(row, options).format)
        read(row, options)  # what this format cannot hold is told before anything is loaded
    source = request.inputs[0] if request.inputs else None
    for path in (*request.beside.values(), *(request.inputs or ())):
        if output and _same(output, path):
            raise InputError(f"{path} would be overwritten by its own result: name another output")
    photos = [*request.beside.values(), sys.stdin.buffer.read() if source is None else source]
    # What is far is read before anything is loaded, and told if it is not there.
    photos = [storage.read(each) if isinstance(each, str) else each for each in photos]
    from portrayer.studio import Studio

    with Studio(settings) as studio:
        start = time.perf_counter()
        result = studio.pipeline.run(request.task, photos, options)
        if output is None:
            sys.stdout.buffer.write(result.encode())
            return 0
        result.write(output)
        seconds = time.perf_counter() - start
    report: dict[str, Any] = {
        "output": str(output),
        "total": 1,
        "done": 1,
        "failed": [],
        "seconds": round(seconds, 3),
        "images_per_second": round(1 / seconds, 3),
        "device": result.device,
        "precision": result.precision,
        "peak_memory_bytes": peak(),
        "stage_seconds": {name: round(value, 3) for name, value in result.timings.items()},
    }
    if result.faces is not None:
        report["faces"] = [[round(side, 1) for side in face.box] for face in result.faces]
        if not result.faces:
            print("no face was found: only the whole frame was worked on", file=sys.stderr)
    if as_json:
        print(json.dumps(report, indent=2))
    elif source is not None:
        print(f"{output}  ({seconds:.2f} s, {result.device}, {result.precision})")
    return 0


def _same(output: Place, photo: Place) -> bool:
    """Whether writing the one would overwrite the other."""
    if is_url(output) or is_url(photo):
        return output == photo
    there = Path(output)
    return there.exists() and there.samefile(photo)
