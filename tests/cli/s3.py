"""An S3 server on this machine, in a process of its own: ``python -m tests.cli.s3``.

It says its address in a line. For a line ``BUCKET COUNT`` it makes a bucket of so many objects,
``photos/NUMBER.jpg``, faster than they could be sent, and says so in a line.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, cast


@dataclass(frozen=True)
class Server:
    """``address``: what AWS_ENDPOINT_URL is set to."""

    address: str
    process: subprocess.Popen[str]

    def fill(self, bucket: str, count: int) -> None:
        """A bucket of ``count`` objects."""
        typed, told = cast(IO[str], self.process.stdin), cast(IO[str], self.process.stdout)
        typed.write(f"{bucket} {count}\n")
        typed.flush()
        assert told.readline() == f"{bucket} is filled\n"


@contextmanager
def serving() -> Iterator[Server]:
    """A server that lives as long as the context."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "tests.cli.s3"]
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            address = cast(IO[str], process.stdout).readline().strip()
            assert address.startswith("http://"), "the server did not start"
            yield Server(address, process)
        finally:
            process.kill()


def main() -> None:
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.s3.models import s3_backends
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    print(f"http://{host}:{port}", flush=True)
    store = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    for line in sys.stdin:
        bucket, count = line.split()
        store.create_bucket(bucket, "us-east-1")
        for number in range(int(count)):
            store.put_object(bucket, f"photos/{number % 7}/{number:06}.jpg", b"no photo")
        print(f"{bucket} is filled", flush=True)


if __name__ == "__main__":
    main()
