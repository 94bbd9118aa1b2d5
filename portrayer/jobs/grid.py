"""A Ray cluster: joined, looked at, put to use, asked for more. Nothing else speaks to Ray."""

from __future__ import annotations

import logging
import math
import os
import re
import signal
import socket
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from time import monotonic, sleep
from typing import Any, Self

from portrayer.errors import CapacityError, EngineClosed, InvalidOption, ModelError
from portrayer.settings import Settings

log = logging.getLogger(__name__)

FORMS = "auto, local:N, ray://HOST:PORT or HOST:PORT"
ROOM = 2 << 30  # bytes of a node's memory for a worker on its cores; with less there are fewer
STORE = 256 << 20  # bytes for what travels, of a cluster that is started here
# What is small enough travels in a call or an answer itself. By way of the object stores of two
# nodes a photo of 0.4 MB takes 8 ms of a core more, its result of 1.6 MB another 10.
PIECE = 96 << 10  # bytes that an argument may have for that; it is for the driver's Ray to say
CALL = 8 << 20  # bytes that all of them may have, of its 10 MB
ANSWER = {  # bytes that an answer may have; workers are told
    "RAY_max_direct_call_object_size": str(64 << 20),
    "RAY_task_rpc_inlined_bytes_limit": str(64 << 20),
}
PARTING = 2.0  # seconds for a worker to end its affairs
AGAIN = 0.3  # seconds until a worker that cannot be reached is asked again
PATIENCE = 5.0  # seconds in which an address has to answer


class Fallen(Exception):
    """The worker's process died or cannot be reached: another may come in its place."""


class Lost(Exception):
    """The worker's node is gone, and it with it."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one worker gets of a node: so many ``cores``, and a GPU or none.

    ``name``: the node's for people. ``sharers``: the workers that share the memory of its machine.
    """

    node: str
    name: str
    cores: int
    gpus: int
    sharers: int

    @property
    def bundle(self) -> dict[str, float]:
        """The same in Ray's words."""
        return {name: n for name, n in (("CPU", self.cores), ("GPU", self.gpus)) if n}


def checked(where: str) -> str:
    """A cluster's place as it was typed; :class:`InvalidOption` where it is none."""
    local = re.fullmatch(r"local:(\d+)", where)
    if where == "auto" or (local and int(local[1])) or (not local and _address(where)):
        return where
    raise InvalidOption(f"{where!r} is no cluster: say {FORMS}")


class Grid:
    """The cluster that this process has joined; a context manager. It is for one at a time."""

    def __init__(self, where: str) -> None:
        """``where``: auto, local:N, ray://HOST:PORT or HOST:PORT.

        Raises:
            InvalidOption: it is none of these, or Ray is not installed.
            CapacityError: there is no such cluster, or it does not answer.
        """
        self._kind, _, number = checked(where).partition(":")
        self._package, self._left = _ray(), False
        self._names: dict[str, str] = {}
        wish: dict[str, Any] = {"address": where, "log_to_driver": False, "logging_level": "error"}
        if self._kind == "local":
            wish |= {"address": "local", "num_cpus": int(number), "include_dashboard": False}
            wish |= {"object_store_memory": STORE, "_node_ip_address": "127.0.0.1"}
        elif self._kind != "auto":
            self._reach(where)
        heard = signal.getsignal(signal.SIGTERM)
        try:
            with warnings.catch_warnings(action="ignore"):  # what matters is raised
                self._ray.init(**wish)
        except Exception as error:
            raise CapacityError(_refused(where, error)) from error
        finally:
            with suppress(
                ValueError, TypeError
            ):  # in the main thread it puts its own in that one's place
                signal.signal(signal.SIGTERM, heard)

    @property
    def grows(self) -> bool:
        """Whether nodes may join it."""
        return self._kind != "local"

    def shares(self, settings: Settings) -> list[Share]:
        """What workers would get of the nodes there are now: one a GPU, else one a core.

        For threads of one process take turns at the interpreter; where a node has little memory
        each worker has several cores.
        """
        with self._told(CapacityError) as ray:
            rows = [node for node in ray.nodes() if node["Alive"]]
        found: list[tuple[Mapping[str, Any], int, int]] = []
        for row in rows:
            cores, gpus = (int(row["Resources"].get(name, 0)) for name in ("CPU", "GPU"))
            if gpus and settings.device != "cpu":
                found += [(row, cores // gpus, 1)] * gpus
            elif cores and settings.device in ("auto", "cpu") and not settings.require_gpu:
                most = max(1, int(row["Resources"].get("memory", 0)) // ROOM)
                parts = cores if self._kind == "local" else min(cores, most)
                found += [(row, (cores + part) // parts, 0) for part in range(parts)]
        hosts = Counter(row["NodeManagerHostname"] for row, _, _ in found)
        return [
            Share(row["NodeID"], self._name(row), cores, gpus, hosts[row["NodeManagerHostname"]])
            for row, cores, gpus in found
        ]

    def hire(self, share: Share, kind: type, calls: int, *arguments: object) -> Any:
        """A worker of this ``kind`` on the share's node, for so many ``calls`` at once.

        It is there some time later, and again after each death of its process.
        """
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        options = {
            "num_cpus": share.cores,
            "num_gpus": share.gpus,
            "max_restarts": -1,
            "max_task_retries": 0,  # whether an errand may run again is for the backend to say
            "max_concurrency": calls + 1,  # and a word beside them
            "scheduling_strategy": NodeAffinitySchedulingStrategy(share.node, soft=False),
            "runtime_env": {"env_vars": ANSWER},
        }
        with self._told(CapacityError) as ray:
            return ray.remote(**options)(kind).remote(*arguments)

    def call(self, worker: Any, method: str, *arguments: object) -> Any:
        """What a worker answers.

        Raises:
            Fallen, Lost: it does not any more.
            EngineClosed: the cluster does not.
        """
        with self._told() as ray:
            return ray.get(getattr(worker, method).remote(*arguments))

    def ask(self, worker: Any, method: str, seconds: float | None = None) -> Any:
        """What it answers beside its work; waits while its process is being started anew.

        Raises as :meth:`call`, but :class:`Fallen` only where there are ``seconds``: after these.
        """
        end = math.inf if seconds is None else monotonic() + seconds
        # Ray itself asks again only where it is told of each call, which clients cannot.
        while True:
            left = None if seconds is None else max(0.0, end - monotonic())
            try:
                with self._told() as ray:
                    return ray.get(getattr(worker, method).remote(), timeout=left)
            except Fallen:
                if monotonic() + AGAIN > end:
                    raise
                sleep(AGAIN)

    def keep(self, blob: bytes) -> Any:
        """Bytes that travel to each node once, as an argument of many calls.

        Raises :class:`CapacityError` where there is no room, :class:`EngineClosed` as :meth:`call`.
        """
        with self._told(CapacityError) as ray:
            return ray.put(blob)

    def leave(self, worker: Any) -> None:
        """End a worker that has nothing to do: it removes what it has on the node's disk."""
        with suppress(Exception):
            self._ray.get(worker.leave.remote(), timeout=PARTING)
        self.dismiss(worker)

    def dismiss(self, worker: Any) -> None:
        """End a worker's process, for good."""
        with suppress(Exception):
            self._ray.kill(worker)

    def wish(self, shares: Sequence[Share]) -> None:
        """Tell the autoscaler, if there is one, that the cluster should have room for all these."""
        with suppress(Exception):  # a hint
            from ray.autoscaler.sdk import request_resources

            request_resources(bundles=[share.bundle for share in shares])

    def close(self) -> None:
        """Leave it; one that was started here ends. Twice is harmless."""
        self._left = True
        self._package.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _reach(self, where: str) -> None:
        """Refuse what does not answer; Ray itself would try for minutes."""
        host, port = _address(where) or ("", 0)
        if host in ("127.0.0.1", "localhost") and self._kind != "ray":
            host = self._ray.util.get_node_ip_address()  # where it looks instead
        try:
            socket.create_connection((host, port), PATIENCE).close()
        except OSError as error:
            raise CapacityError(_refused(where, error)) from error

    @property
    def _ray(self) -> Any:
        """The package. Asked again by a thread that is late, it would start a cluster by itself."""
        if self._left:
            raise EngineClosed("the cluster was left")
        return self._package

    @contextmanager
    def _told(self, family: type[Exception] = Fallen) -> Iterator[Any]:
        """The package, its errors told as :meth:`call` says; ``family`` instead of Fallen."""
        ray = self._ray
        errors = ray.exceptions
        gone = (errors.ActorDiedError, errors.ActorUnschedulableError, errors.NodeDiedError)
        try:
            yield ray
        except errors.RayTaskError as error:
            raise RuntimeError(str(error)) from None
        except gone as error:
            if getattr(error, "actor_init_failed", False):
                said = last(error)
                raise ModelError(f"a node cannot run this version of Portrayer: {said}") from error
            raise Lost(_first(error)) from error
        except errors.RayError as error:
            raise family(_first(error)) from error
        except (ConnectionError, OSError) as error:
            line = f"the cluster does not answer any more ({_first(error)}): run again to go on"
            raise EngineClosed(line) from error

    def _name(self, row: Mapping[str, Any]) -> str:
        """The machine's name; where several nodes have it, with a part of the node's number."""
        node, name = row["NodeID"], row["NodeManagerHostname"]
        taken = name in (said for known, said in self._names.items() if known != node)
        return self._names.setdefault(node, f"{name}-{node[:4]}" if taken else name)


def pieces(blob: bytes) -> Iterator[bytes]:
    """The arguments as which these bytes travel: many, or a large blob as it is."""
    size = PIECE if len(blob) <= CALL else len(blob)
    return (blob[start : start + size] for start in range(0, len(blob), size))


def listen() -> None:
    """Have SIGTERM answered as Python was told; Ray, joined from a thread, has its own way.

    For the main thread; in others nothing happens.
    """
    with suppress(ValueError, TypeError):
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))


def _ray() -> Any:
    factory = logging.getLogRecordFactory()
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        line = "--cluster needs Ray: pip install 'portrayer[ray]', here and on the nodes"
        raise InvalidOption(line) from error
    logging.setLogRecordFactory(factory)  # it adds a field to everybody's records
    # There are no public switches for these, but in the environment. Figures about its use go to
    # nobody; and what befalls nodes is not told on stdout, which is for ours.
    for module in ("ray._common.usage.usage_lib", "ray._private.usage.usage_lib"):
        with suppress(ImportError, AttributeError):
            import_module(module).set_usage_stats_enabled_via_env_var(False)
    with suppress(ImportError):
        setattr(import_module("ray._private.worker"), "_worker_logs_enabled", False)  # noqa: B010
    return ray


def _address(where: str) -> tuple[str, int] | None:
    """Host and port; None where it is no address."""
    match = re.fullmatch(r"(?:ray://)?(\[[^\s\]]+\]|[^\s:/\[\]]+):(\d{1,5})", where)
    return (match[1].strip("[]"), int(match[2])) if match else None


def _refused(where: str, error: Exception) -> str:
    if where == "auto":
        return "there is no Ray cluster here: start one with `ray start --head`, or say local:N"
    number = getattr(error, "errno", None)
    if number:  # nobody has answered
        return f"cannot join the cluster {where} ({os.strerror(number)}): is it up?"
    return (
        f"cannot join the cluster {where} ({_first(error)}): has it the same Ray and Python? "
        "If it wants a token, set RAY_AUTH_MODE=token"
    )


def _first(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]


def last(error: Exception) -> str:
    """The last line of what it says: of a traceback, the error."""
    return next(reversed(str(error).strip().splitlines()), type(error).__name__)[:300]


def more(shares: Sequence[Share], waiting: int, room: int) -> list[Share]:
    """The shares that would be enough, where ``waiting`` items find no place in those there are.

    ``room``: how many items there is a place for in all of them.
    """
    each = max(1, room // max(1, len(shares)))
    return [*shares, *[shares[0]] * math.ceil(waiting / each)] if shares else []
