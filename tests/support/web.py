"""A simulated internet: a local server with public addresses, and a scripted name server."""

from __future__ import annotations

import contextlib
import datetime
import http.server
import itertools
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PUBLIC = "93.184.216.34"
PUBLIC6 = "2606:2800:220:1:248:1893:25c8:1946"

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


@dataclass
class Web:
    """Served pages, received requests, and the addresses of connections."""

    pages: dict[str, Answer] = field(default_factory=dict)
    names: dict[str, Iterator[list[str]]] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)  # method, path, headers, body
    connected: list[str] = field(default_factory=list)
    resolved: list[str] = field(default_factory=list)
    port: int = 0

    def name(self, host: str, *answers: list[str]) -> None:
        """Resolve a host to these addresses, one answer per request; the last answer is repeated."""
        self.names[host] = itertools.chain(answers, itertools.repeat(answers[-1]))

    def resolve(self, host: str, port: int) -> list[str]:
        self.resolved.append(host)
        if host not in self.names:
            raise socket.gaierror("unknown name")
        return next(self.names[host])

    def serve(self, path: str, body: bytes = b"", status: int = 200, **headers: str) -> None:
        """Respond to a path with this body; header names have _ in place of -."""

        def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            for name, value in {"Content_Length": str(len(body)), **headers}.items():
                handler.send_header(name.replace("_", "-"), value)
            handler.end_headers()
            handler.wfile.write(body)

        self.pages[path] = answer


@contextlib.contextmanager
def running(monkeypatch, tls: ssl.SSLContext | None = None) -> Iterator[Web]:
    """Redirect connections to public addresses to a local server, and record all connections."""
    web = Web()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def handle_one_request(self) -> None:
            with contextlib.suppress(OSError):
                super().handle_one_request()

        def setup(self) -> None:
            if tls is not None:
                with contextlib.suppress(OSError):  # the client rejects the certificate
                    self.request.do_handshake()
            super().setup()

        def answer(self) -> None:
            path = self.requestline.split()[1]
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            web.requests.append((self.command, path, dict(self.headers), body))
            web.pages.get(path, lambda handler: handler.send_error(404))(self)
            self.close_connection = True

        do_GET = do_POST = do_PUT = answer  # noqa: N815 - names of the base class

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    web.port = server.server_address[1]
    really_connect = socket.create_connection

    def connect(address: tuple[str, int], *more: object) -> socket.socket:
        host, port = address
        web.connected.append(host)
        return really_connect(("127.0.0.1", web.port if host in (PUBLIC, PUBLIC6) else port), *more)

    monkeypatch.setattr(socket, "create_connection", connect)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def certificate(name: str, folder: Path) -> tuple[Path, Path]:
    """Create a self-signed certificate for a host, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


def endless(handler: http.server.BaseHTTPRequestHandler) -> None:
    """Send data without a length and without an end."""
    handler.send_response(200)
    handler.end_headers()
    with contextlib.suppress(OSError):
        while True:
            handler.wfile.write(b"\xff\xfb\x90\x64" * 16384)


def dripping(handler: http.server.BaseHTTPRequestHandler) -> None:
    """Send single bytes with short pauses, so that no read times out."""
    handler.send_response(200)
    handler.send_header("Content-Length", "90000")
    handler.end_headers()
    with contextlib.suppress(OSError):
        while True:
            handler.wfile.write(b"\xff")
            time.sleep(0.05)


def dripping_headers(handler: http.server.BaseHTTPRequestHandler) -> None:
    with contextlib.suppress(OSError):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while True:
            handler.wfile.write(b"a")
            time.sleep(0.05)
