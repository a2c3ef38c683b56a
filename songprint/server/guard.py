"""What stands before every request: who is called, how large it is, and what every answer carries."""

from __future__ import annotations

import ipaddress
import logging
import re
import secrets
import time
from collections.abc import Collection

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from songprint.server.metrics import Metrics
from songprint.server.rest import problems
from songprint.server.rest.problems import Problem

log = logging.getLogger(__name__)

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
HEADERS = {
    # Only what this server itself serves is loaded or called; nobody may put its pages into a frame.
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
_HOST = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([^:/@\s]+))(?::\d{1,5})?")


class Guard:
    """Middleware around the whole application.

    On loopback only known names are answered (`names`, and those of loopback): a page on the web whose own name is
    made to lead to this machine (DNS rebinding) is not. With `names` None every name is.
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

        async def answer(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
                message["headers"] = _with_headers(message["headers"], request_id, scope["path"])
            await send(message)

        try:
            problem = self._refused(scope)
            if problem:
                await problems.response(Request(scope), problem)(scope, receive, answer)
            else:
                await self._app(scope, receive, answer)
        except Exception as error:
            if started:
                raise
            await problems.of_bug(Request(scope), error)(scope, receive, answer)
        finally:
            elapsed = time.perf_counter() - began
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.count(
                "songprint_requests_total", method=_known(scope["method"]), route=route, status=str(status)
            )
            self._metrics.took("songprint_request_seconds", elapsed, route=route)
            log.info("%s %s %s %d %.3f s", request_id, scope["method"], scope["path"], status, elapsed)

    def _refused(self, scope: Scope) -> Problem | None:
        # Requests to / are checked by their signature, which covers the host as the client names it.
        if self._names is None or scope["path"] == "/":
            return None
        said = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
        parsed = _HOST.fullmatch(said)
        name = (parsed[1] or parsed[2]).lower() if parsed else ""
        if name in self._names:
            return None
        return Problem(
            421,
            "unknown_host",
            f"this server is not called {said[:100]!r}. Call it localhost, or add the"
            " name to its setting names under [server]",
        )


def is_loopback(host: str) -> bool:
    """Whether a server that listens there can be reached from this machine alone."""
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


def _known(method: str) -> str:
    """Anybody may send any word: only these become labels."""
    return method if method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") else "other"
