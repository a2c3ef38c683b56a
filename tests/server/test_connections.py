"""Connections: deadlines for clients that are slow or silent, and limits for the number of connections."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest
import uvicorn

from songprint.config import ServerSettings
from songprint.server import connections, edge

SETTINGS = ServerSettings(
    header_timeout=0.3,
    body_timeout=0.2,
    idle_timeout=0.5,
    max_connections=500,
    max_connections_per_address=450,
)
BIG = 40 << 20  # bytes; more than the kernel buffers for a connection


async def application(scope, receive, send) -> None:
    """Respond to /big with many bytes, to /size with the size of the body, and to others without reading the body."""
    size, more = 0, scope["path"] == "/size"
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    body = bytes(BIG) if scope["path"] == "/big" else str(size).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def listening(settings: ServerSettings) -> Iterator[tuple[str, int]]:
    """The address of a server with these settings."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=500)
    config = uvicorn.Config(
        edge.Edge(application, routes=[], settings=settings),
        http=connections.Limits(settings).protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        timeout_keep_alive=0.5,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield listener.getsockname()
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module", autouse=True)
def quick_lingering():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections, "LINGER_SECONDS", 0.5)
        yield


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    with listening(SETTINGS) as address:
        yield address


def connected(address: tuple[str, int], *sent: bytes) -> socket.socket:
    client = socket.create_connection(address, timeout=10)
    for each in sent:
        client.sendall(each)
    return client


def read(client: socket.socket) -> bytes:
    """Everything until the server ends the connection."""
    received = b""
    with client, suppress(ConnectionResetError):
        while part := client.recv(1 << 16):
            received += part
    return received


def test_half_open_connections_are_closed(address):
    starts = [b"", b"GET / HTTP/1.1\r\n", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: "]
    clients = [connected(address, starts[number % len(starts)]) for number in range(400)]
    for client in clients:
        assert read(client) == b""


def test_headers_that_arrive_slowly_do_not_extend_their_deadline(address):
    client, sent = connected(address, b"GET / HTTP/1.1\r\nX-Long: "), 0
    with client, suppress(ConnectionError):
        while sent < 100:
            client.sendall(b"a")
            time.sleep(0.02)
            sent += 1
    assert sent < 60


def test_a_second_request_on_a_connection_has_the_same_deadlines(address):
    client = connected(address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    client.sendall(b"GET / HTTP/1.1\r\n")
    assert read(client).count(b"200 OK") == 1
    idle = connected(address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"200 OK" in read(idle)


def test_a_body_that_stops_is_refused(address):
    for framing in (b"Content-Length: 100", b"Transfer-Encoding: chunked"):
        client = connected(address, b"POST /size HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n")
        answer = read(client)
        assert b" 408 " in answer and b"connection: close" in answer and b'"too_slow"' in answer


def test_a_client_that_is_still_sending_receives_its_refusal(address):
    body = bytes(4 << 20)
    client = connected(address, b"POST /size HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body), body)
    assert b" 413 " in read(client)
    unread = connected(address, b"POST /other HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n" + bytes(60000))
    assert b"200 OK" in read(unread)


def test_the_rest_of_an_endless_body_is_not_read_for_ever(address, monkeypatch):
    monkeypatch.setattr(connections, "LINGER_BYTES", 8 << 20)
    client, sent = connected(address, b"POST /other HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"), 0
    with client, suppress(ConnectionError):
        while sent < 200:
            client.sendall(b"100000\r\n" + bytes(1 << 20) + b"\r\n")
            sent += 1
    assert sent < 40


def test_a_client_that_does_not_read_its_response_is_disconnected(address):
    client = connected(address, b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    time.sleep(1.3)
    assert len(read(client)) < BIG


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 100_000,
        b"POST /size HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_not_http_gets_a_problem_and_does_not_fill_the_log(address, request_bytes, caplog):
    answer = read(connected(address, request_bytes))
    assert answer.startswith(b"HTTP/1.1 400 ") and b"application/problem+json" in answer
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_connections_above_the_limits_are_refused():
    for limits in ({"max_connections": 3}, {"max_connections_per_address": 3}):
        with listening(replace(SETTINGS, header_timeout=5.0, **limits)) as address:
            held = [connected(address) for _ in range(3)]
            assert b" 503 " in read(connected(address))
            held.pop().close()
            deadline = time.monotonic() + 5
            while b"200 OK" not in (answer := read(connected(address, b"GET / HTTP/1.0\r\nHost: a\r\n\r\n"))):
                assert time.monotonic() < deadline, answer
            for client in held:
                client.close()


def test_trusted_proxies_have_no_limit_of_their_own():
    limits = connections.Limits(ServerSettings(max_connections_per_address=1, trusted_proxies=("::1", "10.0.0.0/8")))
    assert [limits.opened("10.1.2.3") for _ in range(2)] == ["", ""]
    assert limits.opened("11.1.2.3") == "" and limits.opened("11.1.2.3")
    limits.closed("11.1.2.3")
    limits.closed("11.1.2.3")
    assert limits.opened("11.1.2.3") == ""


def test_slow_readers_at_the_minimum_rate_are_served():
    """Checks a connection at chosen times; its transport says how many bytes the client has not read."""

    class Transport:
        unread, aborted, closing = 100_000, False, False

        def get_extra_info(self, name: str) -> None:
            return None

        def get_write_buffer_size(self) -> int:
            return self.unread

        def is_closing(self) -> bool:
            return self.closing

        def abort(self) -> None:
            self.aborted = True

    async def check() -> list[bool]:
        settings = ServerSettings(idle_timeout=10.0, min_upload_rate=1000.0)
        config = uvicorn.Config(application, http=connections.Limits(settings).protocol, log_config=None)
        config.load()
        connection = connections.Limits(settings).protocol(config, uvicorn.server.ServerState(), {})
        transport = Transport()
        connection.connection_made(transport)
        connection.pause_writing()
        aborted = []
        for now, unread in ((0, 100_000), (5, 99_000), (11, 80_000), (20, 75_000), (22, 75_000)):
            transport.unread = unread
            connection.check(now)
            aborted.append(transport.aborted)
        connection.connection_lost(ConnectionError())
        return aborted

    results: list[list[bool]] = []
    thread = threading.Thread(target=lambda: results.append(asyncio.run(check())))
    thread.start()
    thread.join()
    assert results == [[False, False, False, False, True]]
