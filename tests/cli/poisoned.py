"""The command line where a photo named ``poison`` kills the process that works on it.

``python -m tests.cli.poisoned ARGUMENT...``; a process that this one starts imports it too, and so
is killed like it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from portrayer.cli import main
from portrayer.pipeline import Pipeline

harmless = Pipeline.process_file


def process_file(
    self: Pipeline, task: str, options: Mapping[str, Any], source: Path, *rest: Any
) -> Mapping[str, Any]:
    if source.stem == "poison":
        os.kill(os.getpid(), signal.SIGKILL)
    return harmless(self, task, options, source, *rest)


Pipeline.process_file = process_file  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
