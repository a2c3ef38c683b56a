"""Middleware at the edge of the application: it limits the body of every request, and checks keys before reading it.

Each route has a limit for the size of bodies, and all share a pace: a body may pause for `body_timeout` seconds, and
must arrive at `min_upload_rate` on average. A slow upload of gigabytes therefore succeeds, but a client that sends one
byte a minute is cut off. A request that needs a key is refused from its headers alone.

The limits do not depend on how endpoints read bodies. When a limit is exceeded, the endpoint sees a client that
disconnected, and whatever it responds is replaced by the error: a problem (RFC 9457), or an error of Tencent's API. A
client that disconnects before the end of its body is no error of the server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from songprint.errors import SongprintError
from songprint.server.rest import access, problems, uploads
from songprint.server.rest.problems import Problem
from songprint.server.tencent import endpoint as tencent
from songprint.server.tencent.signatures import Refused
from songprint.server.web import inbox

if TYPE_CHECKING:
    from songprint.config import ServerSettings

SMALL_BYTES = 1 << 16  # of a body that is JSON, or that the route does not use
FORM_BYTES = 1 << 20  # that a form may need in addition to its file
MOST_HEADERS = 200
MOST_HEADER_BYTES = 32 << 10  # of all names and values


@dataclass(frozen=True)
class Rule:
    """What a request must fulfil before its body is read, and how much of it is read."""

    most: int  # bytes of the body
    admit: Callable[[Request], Awaitable[None]]  # raises an error that `refuse` turns into a response
    refuse: Callable[[Request, Exception], Response]
    too_large: Callable[[], Exception]
    too_slow: Callable[[], Exception]


class Edge:
    """The middleware.

    Args:
        routes: the routes of the REST API, which declare with `access.Needs` the scope that they need.
    """

    def __init__(self, app: ASGIApp, *, routes: Iterable[BaseRoute], settings: ServerSettings) -> None:
        self._app = app
        self._settings = settings
        self._routes = [(route, _scope_of(route)) for route in routes]
        self._sizes = {
            ("POST", "/v1/identify"): (settings.max_clip_bytes, FORM_BYTES),
            ("POST", "/v1/jobs"): (settings.max_bytes, FORM_BYTES),
            ("POST", "/v1/recordings"): (settings.max_recording_bytes, FORM_BYTES),
            ("POST", f"{inbox.PATH}{{name}}"): (inbox.MOST_BYTES, 0),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        rule = self._rule(request)
        try:
            _check_headers(scope)
            await rule.admit(request)
            if _announced(request) > rule.most:
                raise rule.too_large()
        except (Problem, SongprintError, Refused) as error:
            await rule.refuse(request, error)(scope, receive, send)
            return
        body = _Body(receive, rule, self._settings)
        started = False

        async def send_unless_cut(message: Message) -> None:
            nonlocal started
            if body.error is None or started:
                started = True
                await send(message)

        try:
            await self._app(scope, body.receive, send_unless_cut)
        except ClientDisconnect:
            if body.error is None:
                body.error = _left()  # nobody reads the response, but metrics and the log contain its status
        except Exception:
            if body.error is None:  # otherwise it is the consequence of the cut
                raise
        if body.error is not None and not started:
            response = rule.refuse(request, body.error)
            response.headers["connection"] = "close"  # the rest of the body is not read
            await response(scope, receive, send)

    def _rule(self, request: Request) -> Rule:
        scope = request.scope
        if tencent.is_for_tencent(scope):
            return Rule(
                tencent.most_bytes(request),
                _admit_tencent,
                tencent.refuse,
                lambda: tencent.too_large(tencent.most_bytes(request)),
                tencent.too_slow,
            )
        needed, (most, more) = "", (SMALL_BYTES, 0)
        for route, needs in self._routes:
            if route.matches(scope)[0] is Match.FULL:
                scope["route"] = route  # for the metrics of a request that is refused here
                needed = needs
                most, more = self._sizes.get((scope["method"], getattr(route, "path", "")), (most, more))
                break

        async def admit(request: Request) -> None:
            if needed:
                await run_in_threadpool(access.admit, request, request.app.state.server, needed)

        return Rule(most + more, admit, _refuse, lambda: _too_large(most, more), _too_slow)


class _Body:
    """The body of a request, which ends when it exceeds a limit."""

    def __init__(self, receive: Receive, rule: Rule, settings: ServerSettings) -> None:
        self.error: Exception | None = None  # the limit that was exceeded
        self._receive, self._rule = receive, rule
        self._size = 0
        self._grace, self._rate = settings.body_timeout, settings.min_upload_rate
        self._left = self._grace  # seconds that the client may still take
        self._ended = False

    async def receive(self) -> Message:
        if self._ended:
            return await self._receive()  # waits for the end of the connection
        if self.error is not None:
            return {"type": "http.disconnect"}
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(self._left):
                message = await self._receive()
        except TimeoutError:
            self.error = self._rule.too_slow()
            raise ClientDisconnect from None
        if message["type"] == "http.request":
            size = len(message.get("body", b""))
            self._size += size
            # Only waiting counts: the time in which the endpoint writes to disk is not the client's.
            self._left = min(self._grace, self._left - (loop.time() - began) + size / self._rate)
            self._ended = not message.get("more_body", False)
            if self._size > self._rule.most:
                self.error = self._rule.too_large()
                raise ClientDisconnect
            if self._left <= 0 and not self._ended:
                self.error = self._rule.too_slow()
                raise ClientDisconnect
        return message


def _scope_of(route: BaseRoute) -> str:
    """The scope that a route needs; empty for public routes."""
    needed = (
        [each.call.scope for each in route.dependant.dependencies if isinstance(each.call, access.Needs)]
        if isinstance(route, APIRoute)
        else []
    )
    return needed[0] if needed else ""


def _check_headers(scope: Scope) -> None:
    headers = scope["headers"]
    if len(headers) > MOST_HEADERS or sum(len(name) + len(value) for name, value in headers) > MOST_HEADER_BYTES:
        raise Problem(
            431,
            "too_many_headers",
            f"A request may have at most {MOST_HEADERS} headers with {MOST_HEADER_BYTES} bytes together",
        )


def _announced(request: Request) -> int:
    """The Content-Length; 0 for a body that does not announce it."""
    announced = request.headers.get("content-length", "")
    if not (announced.isascii() and announced.isdecimal()):
        return 0  # the HTTP server has refused everything else
    return int(announced) if len(announced) < 20 else 1 << 63


async def _admit_tencent(request: Request) -> None:
    await run_in_threadpool(tencent.admit, request)


def _refuse(request: Request, error: Exception) -> Response:
    return problems.answer(request, error, to_administrator=access.is_administrator(request))


def _too_large(most: int, more: int) -> Problem:
    if more:
        return uploads.too_large(most)
    return Problem(413, "too_large", f"The body may have at most {most:,} bytes")


def _left() -> Problem:
    return Problem(400, "incomplete", "The request was interrupted. Send it again")


def _too_slow() -> Problem:
    return Problem(408, "too_slow", "The body did not arrive in time. Send the request again")
