"""The command that starts the server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from portrayer.cli.machine import (
    Cluster,
    Device,
    GpuMemory,
    Memory,
    Precision,
    RequireGpu,
    Workers,
)


def serve(
    host: Annotated[
        str | None, typer.Option(help="address to listen on; 127.0.0.1", show_default=False)
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="port, 0 for any free one; 7860", show_default=False)
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="folder of uploads and results", show_default=False)
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(help="what clients must send; any but a loopback address asks for one"),
    ] = None,
    device: Device = None,
    precision: Precision = None,
    memory: Memory = None,
    gpu_memory: GpuMemory = None,
    require_gpu: RequireGpu = False,
    workers: Workers = None,
    cluster: Cluster = "",
) -> None:
    from portrayer.jobs.grid import checked
    from portrayer.server.serve import serve as start
    from portrayer.settings import load

    settings = load(
        device=device,
        precision=precision,
        memory=memory,
        gpu_memory=gpu_memory,
        require_gpu=require_gpu or None,
        workers=workers,
        server={"host": host, "port": port, "data": data, "token": token},
    )
    start(
        settings,
        lambda address: print(f"Portrayer is at {address}", flush=True),
        cluster and checked(cluster),
    )
