"""The endpoint for Tencent's SDKs: one address for all actions; responses always have status 200 and this envelope.

    {"Response": {..., "RequestId": ".."}}      {"Response": {"Error": {"Code", "Message"}, "RequestId": ".."}}

The Python SDK fails to parse errors with another status, with a charset in the content type or without a RequestId.
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
MOST_FORM_BYTES = 1 << 20  # of a body signed by v1
MOST_QUERY_BYTES = 32 << 10
BODY_SECONDS = 60.0  # in which a body must arrive
_DRAINED_BYTES = 64 << 20  # of a too large body that are read, so that the client receives the error
MAX_WRONG_KEYS = 20.0  # requests with a wrong key or signature, per second and address
_WRONG_KEY = ("AuthFailure.SecretIdNotFound", "AuthFailure.SignatureFailure")
_TENCENT_HEADERS = ("x-tc-action", "x-tc-version", "x-tc-timestamp")


class Endpoint:
    """The ASGI application at the address. It uses the state of the whole application (`app.state.server`)."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._response(request)
        except ClientDisconnect:  # in the middle of its body: there is no client to respond to
            return
        await response(scope, receive, send)

    async def _response(self, request: Request) -> Response:
        request_id = str(uuid.uuid4())
        try:
            received = await _received(request)
            content = await run_in_threadpool(
                _run,
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
        except Exception:  # a bug, or a database that is unreachable
            log.exception("request %s", request_id)
            content = {
                "Error": {
                    "Code": "InternalError",
                    "Message": "An internal error occurred. The server's log has the details.",
                }
            }
        return JSONResponse({"Response": {**content, "RequestId": request_id}})


class TencentRoute(Route):
    """The route `/` for requests of Tencent's SDKs. Requests of browsers fall through to the page."""

    def __init__(self) -> None:
        super().__init__("/", Endpoint(), include_in_schema=False)
        self.methods = None  # all methods: unsupported ones get an error in the envelope

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child = super().matches(scope)
        return (match, child) if match is Match.NONE or _is_for_tencent(scope) else (Match.NONE, {})


def _is_for_tencent(scope: Scope) -> bool:
    if scope["method"] not in ("GET", "HEAD"):
        return True
    names = {name.decode("latin-1").lower() for name, _ in scope["headers"]}
    query = b"&" + scope.get("query_string", b"")
    return any(name in names for name in _TENCENT_HEADERS) or (b"&Action=" in query and b"&Signature=" in query)


async def _received(request: Request) -> signatures.Request:
    """The request as received; raises Refused if it is too large."""
    if request.method not in ("GET", "POST"):
        raise Refused("UnsupportedProtocol", "The method must be GET or POST.")
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


def _run(server: ServerState, received: signatures.Request, forwarded_host: str, address: str) -> dict[str, object]:
    claim = signatures.read(received)
    signatures.check_time(claim, time.time(), server.settings.server.clock_skew)
    try:
        key = _key(server, claim, received, forwarded_host)
    except Refused as refused:
        if refused.code in _WRONG_KEY and server.limiter.wait(f"tencent {address}", MAX_WRONG_KEYS):
            raise Refused("RequestLimitExceeded.IPLimitExceeded", "Too many requests with a wrong key.") from refused
        raise
    keys = server.keys.with_parents(key)
    _check_rate(server, keys)
    action = named(claim.action, claim.version)
    _check_rate_of_action(server, keys, claim.action, action.rate)
    given = parameters.of_json(received.body) if claim.parameters is None else parameters.of_flat(claim.parameters)
    return action.run(Call(server, key, given))


def _key(server: ServerState, claim: Claim, received: signatures.Request, forwarded_host: str) -> Key:
    """The key that signed the request; raises Refused for a wrong key or signature."""
    try:
        key, secret_key = server.keys.by_secret_id(claim.secret_id)
    except KeyRefused as error:
        log.info("%s", error)
        raise Refused("AuthFailure.SecretIdNotFound", "The SecretId is unknown or was revoked.") from error
    if claim.token:
        raise Refused("AuthFailure.TokenFailure", "Temporary credentials are not supported: send no token.")
    hosts = signatures.hosts_of(received.headers.get("host", ""), (forwarded_host, *server.settings.server.names))
    if not signatures.matches(claim, received, secret_key, hosts):
        raise Refused(
            "AuthFailure.SignatureFailure",
            "The signature does not match this request. Check the SecretKey, and that the endpoint is one of this"
            " server's names.",
        )
    if not key.may("identify"):
        raise Refused("AuthFailure.UnauthorizedOperation", "The key does not have the required scope.")
    return key


def _check_rate(server: ServerState, keys: list[Key]) -> None:
    """Refuse a request beyond the rate of its key or of a key above; `keys` are these, in this order."""
    limits = [(key.id, key.rate) for key in keys if key.rate is not None]
    if limits and server.limiter.wait_for_all(limits):
        rate = min(rate for _, rate in limits)
        raise Refused("RequestLimitExceeded.UinLimitExceeded", f"The key may send {rate:g} requests per second.")


def _check_rate_of_action(server: ServerState, keys: list[Key], action: str, default: float) -> None:
    """All sub-keys of a key share its rate of an action."""
    rate = server.settings.server.rates.get(action, default)
    if server.limiter.wait(f"tencent {keys[-1].id} {action}", rate):
        raise Refused("RequestLimitExceeded", f"`{action}` may be called {rate:g} times per second.")


def _forwarded_host(request: Request) -> str:
    """The host name that the client used, as reported by a trusted proxy; "" for any other sender."""
    proxies = request.app.state.server.settings.server.trusted_proxies
    try:
        address = ipaddress.ip_address(request.client.host if request.client else "")
        is_trusted = any(address in ipaddress.ip_network(entry, strict=False) for entry in proxies)
    except ValueError:
        return ""
    return request.headers.get("x-forwarded-host", "").partition(",")[0].strip() if is_trusted else ""


def _too_large(most: int) -> Refused:
    return Refused("RequestSizeLimitExceeded", f"The request is larger than {most} bytes.")
