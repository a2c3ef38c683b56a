"""Middleware around every request: checks the host name, counts and logs the request, adds security headers."""

from __future__ import annotations

import ipaddress
import logging
import re
import secrets
import time
from collections.abc import Collection
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from songprint.server.rest import problems
from songprint.server.rest.problems import Problem
from songprint.server.tencent.endpoint import is_for_tencent

if TYPE_CHECKING:
    from songprint.server.metrics import Metrics

log = logging.getLogger(__name__)

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
HEADERS = {
    # The page loads and calls only this server, and cannot be embedded in a frame.
    "content-security-policy": "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:;"
    " connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self';"
    " frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(self)",
}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_HOST = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([^:/@\s]+))(?::\d{1,5})?")


class Guard:
    """The middleware.

    A server on loopback only accepts requests for a known host name: those of loopback and `names`. This stops DNS
    rebinding, where a web page resolves its own name to this machine. None accepts every host name.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, names: Collection[str] | None) -> None:
        self._app = app
        self._metrics = metrics
        self._names = names if names is None else {name.lower() for name in (*names, *LOOPBACK_NAMES)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        scope["songprint.request_id"] = request_id = secrets.token_hex(8)
        status, started = 500, False

        async def send_with_headers(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
                message["headers"] = _with_headers(message["headers"], request_id, scope["path"])
            await send(message)

        try:
            problem = self._problem_of_host(scope)
            if problem:
                await problems.response(Request(scope), problem)(scope, receive, send_with_headers)
            else:
                await self._app(scope, receive, send_with_headers)
        except Exception as error:
            if started:
                raise
            await problems.unexpected(Request(scope), error)(scope, receive, send_with_headers)
        finally:
            elapsed = time.perf_counter() - began
            route = getattr(scope.get("route"), "path", "none")
            method = scope["method"] if scope["method"] in METHODS else "other"  # clients may send any word
            self._metrics.requests.labels(method=method, route=route, status=str(status)).inc()
            self._metrics.request_seconds.labels(route=route).observe(elapsed)
            log.info("%s %s %s %d %.3f s", request_id, scope["method"], scope["path"], status, elapsed)

    def _problem_of_host(self, scope: Scope) -> Problem | None:
        # Requests of Tencent's SDKs are authenticated by a signature, which covers the host as the client names it.
        if self._names is None or scope["path"] == "/" or is_for_tencent(scope):
            return None
        header = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
        parsed = _HOST.fullmatch(header)
        name = (parsed[1] or parsed[2]).lower() if parsed else ""
        if name in self._names:
            return None
        return Problem(
            421,
            "unknown_host",
            f"This server does not answer to the name {header[:100]!r}. Use localhost, or add the name to its setting"
            " names under [server]",
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on this address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _with_headers(headers: list[tuple[bytes, bytes]], request_id: str, path: str) -> list[tuple[bytes, bytes]]:
    present = {name.lower() for name, _ in headers}
    more = HEADERS | {"x-request-id": request_id}
    if path.startswith("/v1/"):
        more["cache-control"] = "no-store"
    return [
        *headers,
        *((name.encode(), value.encode()) for name, value in more.items() if name.encode() not in present),
    ]
