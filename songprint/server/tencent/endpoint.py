"""Requests as Tencent's SDKs make them: one address for everything, always status 200, always this envelope.

    {"Response": {..., "RequestId": ".."}}      {"Response": {"Error": {"Code", "Message"}, "RequestId": ".."}}

The Python SDK understands no error with another status, with a charset in its content type or without a RequestId.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
import uuid
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from songprint.errors import KeyRefused
from songprint.server.tencent import parameters, signatures
from songprint.server.tencent.actions import Call, named
from songprint.server.tencent.signatures import FORM, Claim, Refused

if TYPE_CHECKING:
    from songprint.accounts.keys import Key
    from songprint.server.state import ServerState

log = logging.getLogger(__name__)

MOST_BYTES = 10 << 20  # of a body
MOST_FORM_BYTES = 1 << 20  # of one signed by v1
MOST_QUERY_BYTES = 32 << 10
BODY_SECONDS = 60.0  # in which a body has to be here
_DRAINED_BYTES = 64 << 20  # read of a body that is too large, so that the client hears why
GUESSES = 20.0  # requests a second and address whose key or signature is wrong
_GUESSED = ("AuthFailure.SecretIdNotFound", "AuthFailure.SignatureFailure")
_MARKS = ("x-tc-action", "x-tc-version", "x-tc-timestamp")


class Endpoint:
    """The application behind the address; the service is that of the whole application (`app.state.server`)."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            answer = await self._answer(request)
        except ClientDisconnect:  # cut off in the middle of its body: nobody listens
            return
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        request_id = str(uuid.uuid4())
        try:
            received = await _received(request)
            content = await run_in_threadpool(
                _done,
                request.app.state.server,
                received,
                _forwarded_host(request),
                request.client.host if request.client else "",
            )
        except Refused as refused:
            log.info("%s %s: %s (%s)", request_id, request.headers.get("x-tc-action", "-"), refused.code, refused)
            content = {"Error": {"Code": refused.code, "Message": str(refused)}}
        except ClientDisconnect:
            raise
        except Exception:  # a bug of ours, or a database that is away
            log.exception("request %s", request_id)
            content = {"Error": {"Code": "InternalError", "Message": "An error inside the server; its log tells more."}}
        return JSONResponse({"Response": {**content, "RequestId": request_id}})


class TencentRoute(Route):
    """The address `/`, for requests that look like Tencent's; a browser's go on to the page."""

    def __init__(self) -> None:
        super().__init__("/", Endpoint(), include_in_schema=False)
        self.methods = None  # every method is answered, though with an error

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child = super().matches(scope)
        return (match, child) if match is Match.NONE or _is_tencents(scope) else (Match.NONE, {})


def _is_tencents(scope: Scope) -> bool:
    if scope["method"] not in ("GET", "HEAD"):
        return True
    names = {name.decode("latin-1").lower() for name, _ in scope["headers"]}
    query = b"&" + scope.get("query_string", b"")
    return any(mark in names for mark in _MARKS) or (b"&Action=" in query and b"&Signature=" in query)


async def _received(request: Request) -> signatures.Request:
    """What came over the wire, if it is not too much."""
    if request.method not in ("GET", "POST"):
        raise Refused("UnsupportedProtocol", "Requests are made with GET or POST.")
    query = request.scope["query_string"]
    if len(query) > MOST_QUERY_BYTES:
        raise _too_large(MOST_QUERY_BYTES)
    is_form = request.headers.get("content-type", "").lower().startswith(FORM)
    body = await _body(request, MOST_FORM_BYTES if is_form else MOST_BYTES)
    return signatures.Request(request.method, query.decode("latin-1"), dict(request.headers), body)


async def _body(request: Request, most: int) -> bytes:
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > _DRAINED_BYTES:
        raise _too_large(most)
    pieces, size = [], 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.stream():
                size += len(piece)
                if size <= most:
                    pieces.append(piece)
                elif size > _DRAINED_BYTES:
                    break
    except TimeoutError as error:
        raise Refused("FailedOperation.NetWorkError", "The body of the request did not arrive in time.") from error
    if size > most:
        raise _too_large(most)
    return b"".join(pieces)


def _done(server: ServerState, received: signatures.Request, forwarded_host: str, address: str) -> dict[str, object]:
    claim = signatures.read(received)
    signatures.check_time(claim, time.time(), server.settings.server.clock_skew)
    try:
        key = _key(server, claim, received, forwarded_host)
    except Refused as refused:
        if refused.code in _GUESSED and server.limiter.wait(f"tencent {address}", GUESSES):
            raise Refused("RequestLimitExceeded.IPLimitExceeded", "Too many requests with a wrong key.") from refused
        raise
    _check_rate(server, key)
    action = named(claim.action, claim.version)
    _check_rate_of_action(server, key, claim.action, action.rate)
    given = parameters.of_json(received.body) if claim.parameters is None else parameters.of_flat(claim.parameters)
    return action.answer(Call(server, key, given))


def _key(server: ServerState, claim: Claim, received: signatures.Request, forwarded_host: str) -> Key:
    """Whose request it is."""
    try:
        key, secret_key = server.keys.by_secret_id(claim.secret_id)
    except KeyRefused as error:
        log.info("%s", error)
        raise Refused("AuthFailure.SecretIdNotFound", "The SecretId is not known, or not any more.") from error
    if claim.token:
        raise Refused("AuthFailure.TokenFailure", "Temporary credentials are not offered here: send no token.")
    hosts = signatures.hosts_of(received.headers.get("host", ""), (forwarded_host, *server.settings.server.names))
    if not signatures.matches(claim, received, secret_key, hosts):
        raise Refused(
            "AuthFailure.SignatureFailure",
            "The signature is not that of this request. Is the SecretKey"
            " right, and the endpoint one of the names of this server?",
        )
    if not key.may("identify"):
        raise Refused("AuthFailure.UnauthorizedOperation", "The key may not do this.")
    return key


def _check_rate(server: ServerState, key: Key) -> None:
    if key.rate is not None and server.limiter.wait(key.id, key.rate):
        raise Refused("RequestLimitExceeded.UinLimitExceeded", f"The key may make {key.rate:g} requests a second.")


def _check_rate_of_action(server: ServerState, key: Key, action: str, default: float) -> None:
    rate = server.settings.server.rates.get(action, default)
    if server.limiter.wait(f"tencent {key.id} {action}", rate):
        raise Refused("RequestLimitExceeded", f"`{action}` may be asked for {rate:g} times a second.")


def _forwarded_host(request: Request) -> str:
    """The name by which the client called a proxy of ours; "" if it was none of those that are trusted."""
    trusted = request.app.state.server.settings.server.trusted_proxies
    try:
        address = ipaddress.ip_address(request.client.host if request.client else "")
        fits = any(address in ipaddress.ip_network(entry, strict=False) for entry in trusted)
    except ValueError:
        return ""
    return request.headers.get("x-forwarded-host", "").partition(",")[0].strip() if fits else ""


def _too_large(most: int) -> Refused:
    return Refused("RequestSizeLimitExceeded", f"The request is larger than {most} bytes.")
