"""Connections of the HTTP server: deadlines for clients that are slow or silent, and limits for their number.

uvicorn waits without a limit for the headers of a request, for clients that do not read their responses, and for the
rest of a body after its response. This protocol ends such connections. `songprint.server.edge` limits the time of
bodies.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from songprint.config import ServerSettings

log = logging.getLogger(__name__)
# uvicorn warns of every request that is not HTTP, so strangers could fill the log.
_uvicorn_log = logging.getLogger(f"{__name__}.uvicorn")
_uvicorn_log.setLevel("ERROR")

LINGER_SECONDS = 10.0  # for which the rest of a body is discarded after the response, so that the client receives it
LINGER_BYTES = 64 << 20  # that are discarded at most
TICKS = 8  # checks of a connection within the shortest of its deadlines
FILES_PER_CONNECTION = 2  # open files: the socket, and the upload
_MORE_FILES = 512  # for everything else


class Limits:
    """The limits that all connections of a server share."""

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.tick = min(settings.header_timeout, settings.body_timeout, LINGER_SECONDS) / TICKS
        self._proxies = set(_networks(settings.trusted_proxies))
        self._open: Counter[str] = Counter()  # connections by address

    def protocol(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> Connection:
        """The protocol of a new connection, with the arguments that uvicorn passes."""
        return Connection(self, config, server_state, app_state, _loop)

    def opened(self, address: str) -> str:
        """Count a new connection; return why it is refused, or an empty text."""
        self._open[address] += 1
        if self._open.total() > self.settings.max_connections:
            return "The server has too many connections"
        if self._open[address] > self.settings.max_connections_per_address and not self._is_trusted(address):
            return "Your address has too many connections"
        return ""

    def closed(self, address: str) -> None:
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]

    def _is_trusted(self, address: str) -> bool:
        for client in _networks([address]):
            for proxy in self._proxies:
                if isinstance(client, IPv4Network) and isinstance(proxy, IPv4Network) and client.subnet_of(proxy):
                    return True
                if isinstance(client, IPv6Network) and isinstance(proxy, IPv6Network) and client.subnet_of(proxy):
                    return True
        return False


class Connection(H11Protocol):
    """One connection. A timer checks its deadlines."""

    def __init__(
        self,
        limits: Limits,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.logger = _uvicorn_log
        self._limits = limits
        self._address = ""
        self._timer: asyncio.TimerHandle | None = None
        self._headers_since: float | None = None  # when the client began to send headers, or could have begun
        self._unread: tuple[float, int] | None = None  # a moment, and the bytes that the client had not read then

    # The interface that asyncio calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast("asyncio.Transport", _Transport(transport, self)))
        self._address = _network(self.client[0]) if self.client else ""
        refusal = self._limits.opened(self._address)
        if refusal:
            log.info("a connection of %s is refused: %s", self._address, refusal)
            self.transport.write(_response(503, "Service Unavailable", "too_many_connections", refusal, 5))
            transport.close()
        self._headers_since = self.loop.time()
        self._timer = self.loop.call_later(self._limits.tick, self._tick)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._limits.closed(self._address)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        transport = self._wrapped
        if transport.is_closing():
            transport.discard(len(data))
            return
        super().data_received(data)
        if not self._is_idle():
            self._headers_since = None
        elif self._headers_since is None:
            self._headers_since = self.loop.time()

    def eof_received(self) -> None:
        if self._wrapped.is_closing():
            self._wrapped.end()

    # The interface that uvicorn calls.

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP. If a response has begun, only end the connection."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            detail = "The request is not valid HTTP. Its headers may be too long"
            self.transport.write(_response(400, "Bad Request", "bad_request", detail))
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def on_response_complete(self) -> None:
        if self.cycle.more_body:  # the application has not read the whole body
            self.transport.close()
        self._headers_since = None
        super().on_response_complete()

    # Deadlines.

    def is_read(self) -> bool:
        """Whether the client has sent its whole request."""
        return self.conn.their_state is not h11.ERROR and (self.cycle is None or not self.cycle.more_body)

    def shutdown(self) -> None:
        if self._wrapped.is_closing():
            self._wrapped.abort()
        else:
            super().shutdown()

    def check(self, now: float) -> None:
        """End the connection if a deadline has passed. `now` is the time of the event loop."""
        settings, transport = self._limits.settings, self._wrapped
        unread = transport.get_write_buffer_size()
        if unread and (transport.is_closing() or self.flow.write_paused):
            if self._unread is None:
                self._unread = now, unread
            since, before = self._unread
            if now - since > settings.idle_timeout:
                if before - unread < (now - since) * settings.min_upload_rate:
                    log.info("a connection of %s does not read its response", self._address)
                    transport.abort()
                    return
                self._unread = now, unread
            return
        self._unread = None
        if transport.is_closing():
            transport.check(now)
        elif self._is_idle() and now - (self._headers_since or now) > settings.header_timeout:
            log.info("a connection of %s sends no request", self._address)
            transport.close()

    @property
    def _wrapped(self) -> _Transport:
        return cast(_Transport, self.transport)

    def _is_idle(self) -> bool:
        """Whether the connection waits for a request, or for the rest of its headers."""
        return self.cycle is None or self.cycle.response_complete

    def _tick(self) -> None:
        self._timer = self.loop.call_later(self._limits.tick, self._tick)
        self.check(self.loop.time())


class _Transport:
    """A transport that, when it is closed in the middle of a request, discards the rest for a while.

    A socket that is closed while data arrive resets the connection, and the client may lose the response.
    """

    def __init__(self, transport: asyncio.Transport, connection: Connection) -> None:
        self._transport, self._connection = transport, connection
        self._until: float | None = None  # the loop's time at which a lingering connection ends
        self._discarded = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self._until is not None or self._transport.is_closing()

    def close(self) -> None:
        if self.is_closing():
            return
        if self._connection.is_read():
            self._transport.close()
            return
        self._until = self._connection.loop.time() + LINGER_SECONDS
        if self._transport.can_write_eof():
            self._transport.write_eof()  # after the response
        self._transport.resume_reading()

    def discard(self, size: int) -> None:
        """Count bytes that arrive after the response."""
        self._discarded += size
        if self._discarded > LINGER_BYTES:
            self._transport.abort()

    def end(self) -> None:
        """The client has sent everything."""
        self._transport.close()

    def check(self, now: float) -> None:
        if self._until is not None and now > self._until:
            self._transport.abort()


def raise_file_limit(connections: int) -> None:
    """Raise the limit of open files of this process, as far as the system allows, so that it suffices."""
    if sys.platform == "win32":
        return
    import resource

    wanted = FILES_PER_CONNECTION * connections + _MORE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _networks(addresses: Iterable[str]) -> Iterator[IPv4Network | IPv6Network]:
    """The addresses and networks among these; skips names."""
    for address in addresses:
        with suppress(ValueError):
            yield ipaddress.ip_network(address, strict=False)


def _network(address: str) -> str:
    """The unit to which one client belongs: an IPv4 address, or an IPv6 network of 64 bits.

    >>> _network("2001:db8::1:2"), _network("::ffff:192.0.2.1")
    ('2001:db8::/64', '192.0.2.1')
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4 or parsed.ipv4_mapped:
        return str(parsed if parsed.version == 4 else parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if not parsed.is_loopback else address


def _response(status: int, title: str, code: str, detail: str, retry_after: int = 0) -> bytes:
    body = json.dumps({"type": "about:blank", "title": title, "status": status, "code": code, "detail": detail})
    retry = f"retry-after: {retry_after}\r\n" if retry_after else ""
    return (
        f"HTTP/1.1 {status} {title}\r\ncontent-type: application/problem+json\r\n{retry}"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n{body}"
    ).encode()
