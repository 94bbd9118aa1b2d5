"""Flags that say what the machine may give, the same for every command that uses it."""

from __future__ import annotations

from typing import Annotated

import typer

Device = Annotated[
    str | None, typer.Option(help="auto, cpu, cuda, cuda:0,1 or mps", show_default=False)
]
Precision = Annotated[
    str | None, typer.Option(help="auto, float32, bfloat16 or float16", show_default=False)
]
Memory = Annotated[
    str | None, typer.Option(help="host memory that may be used: 4GiB, 60%", show_default=False)
]
GpuMemory = Annotated[
    str | None, typer.Option(help="memory of each GPU that may be used", show_default=False)
]
RequireGpu = Annotated[
    bool, typer.Option("--require-gpu", help="fail instead of running on the CPU")
]
Cluster = Annotated[
    str,
    typer.Option(metavar="WHERE", help="work on a Ray cluster: auto, local:N, ray://HOST:PORT"),
]
Workers = Annotated[int | None, typer.Option(help="photos worked on at once", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="print one JSON object")]
