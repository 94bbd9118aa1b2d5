"""The server as a process: its address, its signals, its end."""

from __future__ import annotations

import ipaddress
import logging
import os
import signal
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from portrayer.errors import InvalidOption, OutputError
from portrayer.server import logs
from portrayer.server.app import opened
from portrayer.server.protocol import Protocol
from portrayer.server.service import Service
from portrayer.settings import Settings

GRACE = 4  # seconds for the answers that are being given


class Server(uvicorn.Server):
    """Uvicorn's, which tells the service of a signal at once and not when everyone has gone."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        service.on_broken = self.end

    def end(self) -> None:
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self._service.hush()


def serve(settings: Settings, told: Callable[[str], None], cluster: str = "") -> None:
    """Serve until a signal comes. ``told`` hears the address once the port is open; ``cluster``:
    where the work of jobs is done, if not here.

    Raises:
        InvalidOption: an address that others reach, without a token.
        OutputError: the port is taken; the folder cannot be written, or is another server's.
        ModelError, InvalidOption: the models cannot be run as the settings say.
    """
    server = settings.server
    if not _loopback(server.host) and not server.token.get_secret_value():
        raise InvalidOption(
            f"{server.host} can be reached by others: name a token with --token or "
            "PORTRAYER_SERVER_TOKEN, or listen on 127.0.0.1"
        )
    with opened(settings) as app, _listening(server.host, server.port) as sock:
        logs.set_up(server.logs)
        config = uvicorn.Config(
            app,
            http=Protocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=20,
            timeout_graceful_shutdown=GRACE,
        )
        service: Service = app.state.service
        service.cluster = cluster
        host, port = sock.getsockname()[:2]
        told(f"http://{f'[{host}]' if ':' in host else host}:{port}")
        running = Server(config, service)
        # Until uvicorn listens for signals, and for those it raises again when it is done.
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, lambda *_: running.end())
        running.run(sockets=[sock])
        if service.stuck:
            logging.shutdown()
            os._exit(1 if service.broken else 0)  # Python would wait for its threads
        if service.broken is not None:
            raise service.broken


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listening(host: str, port: int) -> socket.socket:
    try:
        [family, *_], *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        sock = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"{host}:{port} cannot be listened on ({reason}): try --port") from error
    # asyncio does this for sockets that name their protocol, which these do not: an answer's last
    # packet would wait 40 ms for the client's word that it has those before.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock
