"""Photos from public addresses of the web: never from inside, never more than was agreed."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urljoin, urlsplit
from weakref import WeakKeyDictionary

from portrayer.errors import DeadlineExceeded
from portrayer.server.refusal import InvalidRequest, UploadTooLarge
from portrayer.server.upload import finished, writing

Address: TypeAlias = IPv4Address | IPv6Address

PLAIN = re.compile(r"[!-\[\]-~]+")  # printable ASCII, no space, no backslash: read one way by all
PORTS = {"http": 80, "https": 443}
REDIRECTS = 3
MOVED = frozenset({301, 302, 303, 307, 308})
BLOCK = 2**16
CONNECT = 5.0  # seconds for each address of a name
SILENCE = 30.0  # seconds
FETCHES = 3  # at once: each takes one of the few threads that all blocking work of the loop shares
HEADERS = {"User-Agent": "portrayer", "Accept-Encoding": "identity", "Connection": "close"}

_TURNS: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

UNICAST = IPv6Network("2000::/3")  # all that was ever given out of IPv6
NAT64 = IPv6Network("64:ff9b::/96")
# Public by their numbers and yet inside: what a cloud's machines are told by their own host.
INSIDE = (ip_network("168.63.129.16"), ip_network("192.0.0.0/24"))


def public(address: Address) -> bool:
    """Whether this is a machine of the whole internet, also where IPv6 only wraps an IPv4."""
    if isinstance(address, IPv6Address):
        wrapped = address.ipv4_mapped or address.sixtofour
        if address in NAT64:
            wrapped = IPv4Address(int(address) & 0xFFFF_FFFF)
        if wrapped is not None:
            return public(wrapped)
        return address in UNICAST and address.is_global
    inside = address.is_multicast or any(address in network for network in INSIDE)
    return address.is_global and not inside


async def fetch(
    url: str,
    path: Path,
    *,
    most: int,
    seconds: float,
    allowed: Callable[[Address], bool] = public,
) -> int:
    """Fetch a photo into ``path``, a new file; how many bytes it has.

    Every address of the name must be ``allowed``, and the connection goes to one of those very
    addresses. A redirect is looked at like the first URL, and none leads from https to http. On any
    error, a canceled caller's too, there is no file. Where :data:`FETCHES` are under way the next
    waits its turn, within its ``seconds``.

    Raises:
        InvalidRequest: a URL that is not fetched, an answer that is no file, a server not reached.
        UploadTooLarge: more than ``most`` bytes.
        DeadlineExceeded: not there in ``seconds``.
        DiskFull, OutputError: it cannot be kept.
    """
    place = _Place.of(url)
    turns = _TURNS.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(FETCHES))
    try:
        async with asyncio.timeout(seconds), turns:
            for _ in range(REDIRECTS + 1):
                errand = _Errand(place, await _connected(place, allowed), path, most)
                found = await errand.run()
                if isinstance(found, int):
                    return found
                place = place.leads_to(found)
    except TimeoutError:
        raise DeadlineExceeded(f"the photo was not fetched in {seconds:g} seconds") from None
    raise InvalidRequest(f"the URL was moved more than {REDIRECTS} times")


@dataclass(frozen=True, slots=True)
class _Place:
    """A URL, taken apart. ``target``: what is asked of the server there."""

    url: str
    scheme: str
    server: str
    host: str
    port: int
    target: str

    @classmethod
    def of(cls, url: str, base: str = "") -> _Place:
        """Raises :class:`InvalidRequest` for one that is not fetched, wherever it leads."""
        try:
            whole = urljoin(base, url)
            parts = urlsplit(whole)
            port, host = parts.port, (parts.hostname or "").removesuffix(".")
        except ValueError as error:
            raise InvalidRequest("the URL cannot be read") from error
        if parts.scheme not in PORTS:
            raise InvalidRequest("only URLs of http and https are fetched")
        if "@" in parts.netloc:
            raise InvalidRequest("a URL with a name or a password in it is not fetched")
        if not PLAIN.fullmatch(url) or not host or port == 0:
            raise InvalidRequest("the URL cannot be read")
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(whole, parts.scheme, parts.netloc, host, port or PORTS[parts.scheme], target)

    def leads_to(self, location: str) -> _Place:
        """Where a redirect goes."""
        place = self.of(location, self.url)
        if self.scheme == "https" and place.scheme == "http":
            raise InvalidRequest("the URL was moved to one that is not encrypted")
        return place


async def _connected(place: _Place, allowed: Callable[[Address], bool]) -> socket.socket:
    """A connection to one of the addresses that were looked at: the name is not asked for again."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        found = []
    if not found or not all(allowed(ip_address(where[0])) for *_, where in found):
        # The same for both: it is nobody's business which names there are inside.
        raise InvalidRequest("the URL's server is not known, or not a public one")
    for family, kind, protocol, _, where in found:
        with suppress(OSError), ExitStack() as kept:
            connection = kept.enter_context(socket.socket(family, kind, protocol))
            connection.setblocking(False)
            async with asyncio.timeout(CONNECT):
                await loop.sock_connect(connection, where)
            kept.pop_all()
            return connection
    raise InvalidRequest("the URL's server cannot be reached")


class _Errand:
    """One question to one server, in a thread."""

    def __init__(self, place: _Place, connection: socket.socket, path: Path, most: int) -> None:
        self._place, self._connection, self._path, self._most = place, connection, path, most
        self._line = connection.dup()  # to hang up by, whatever becomes of the connection
        self._made = False

    async def run(self) -> int | str:
        """The bytes that lie in the file, or where the file has moved to."""
        with self._line:
            try:
                return await finished(self._ask, stop=self._hang_up)
            except BaseException:
                if self._made:
                    await finished(self._path.unlink, True)
                raise

    def _hang_up(self) -> None:
        with suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)

    def _ask(self) -> int | str:
        with closing(self._connection), _answering():
            self._connection.settimeout(SILENCE)
            place, stream = self._place, self._connection
            if place.scheme == "https":
                secure = ssl.create_default_context()
                stream = secure.wrap_socket(stream, server_hostname=place.host)
            with closing(stream):
                talk = HTTPConnection(place.host, place.port)
                talk.sock = stream
                talk.request("GET", place.target, headers=HEADERS | {"Host": place.server})
                with talk.getresponse() as answer:
                    location = answer.headers["Location"]
                    if answer.status in MOVED and location:
                        return str(location)
                    self._check(answer)
                    return self._keep(answer)

    def _check(self, answer: HTTPResponse) -> None:
        if answer.status != 200:
            raise InvalidRequest(f"the URL's server answered {answer.status}")
        coded = answer.headers["Content-Encoding"] or "identity"
        sent = answer.headers["Transfer-Encoding"] or "chunked"
        if (coded.lower(), sent.lower()) != ("identity", "chunked"):
            raise InvalidRequest("the URL's server packed the photo, which was not asked for")
        self._fits(answer.length or 0)

    def _fits(self, count: int) -> None:
        if count > self._most:
            raise UploadTooLarge(f"the photo has more than {self._most} bytes")

    def _keep(self, answer: HTTPResponse) -> int:
        count = 0
        with writing(), self._path.open("xb") as file:
            self._made = True
            while block := _read(answer):
                count += len(block)
                self._fits(count)
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        return count


def _read(answer: HTTPResponse) -> bytes:
    with _answering():
        block = answer.read(BLOCK)
        if not block and answer.length:
            raise HTTPException("cut short")
        return block


@contextmanager
def _answering() -> Iterator[None]:
    """What goes wrong on the line is told without a word of the other side's."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise InvalidRequest("the URL's server has no valid certificate") from error
    except (OSError, HTTPException, ValueError) as error:
        raise InvalidRequest("the URL's server broke off, or gave no proper answer") from error
