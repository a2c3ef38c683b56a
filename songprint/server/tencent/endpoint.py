"""The endpoint for Tencent's SDKs: one address for all actions; responses always have status 200 and this envelope.

    {"Response": {..., "RequestId": ".."}}      {"Response": {"Error": {"Code", "Message"}, "RequestId": ".."}}

The Python SDK fails to parse errors with another status, with a charset in the content type or without a RequestId.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from songprint.errors import KeyRefused, SongprintError
from songprint.server.rest.problems import Problem
from songprint.server.tencent import messages, parameters, signatures
from songprint.server.tencent.actions import Call, named
from songprint.server.tencent.signatures import FORM, Claim, Refused

if TYPE_CHECKING:
    from songprint.accounts.keys import Key
    from songprint.server.state import ServerState

log = logging.getLogger(__name__)

MOST_BYTES = 10 << 20  # of a body
MOST_FORM_BYTES = 1 << 20  # of a body signed by v1
MOST_QUERY_BYTES = 32 << 10
MAX_WRONG_KEYS = 20.0  # requests with a wrong key or signature, per second and address
_WRONG_KEY = ("AuthFailure.SecretIdNotFound", "AuthFailure.SignatureFailure")
_LANGUAGE = re.compile(rb"(?:^|&)Language=([A-Za-z-]{1,20})(?:&|$)")
_TENCENT_HEADERS = ("x-tc-action", "x-tc-version", "x-tc-timestamp")


class Endpoint:
    """The ASGI application at the address. It uses the state of the whole application (`app.state.server`)."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._response(Request(scope, receive))
        await response(scope, receive, send)

    async def _response(self, request: Request) -> Response:
        request_id, body = str(uuid.uuid4()), b""
        try:
            body = await request.body()  # `songprint.server.edge` limits it
            received = replace(_without_body(request), body=body)
            content = await run_in_threadpool(
                _run, request.app.state.server, received, _forwarded_host(request), _address(request)
            )
        except ClientDisconnect:  # `songprint.server.edge` handles it
            raise
        except Exception as error:
            return _in_envelope(request, error, request_id, body)
        return _enveloped(content, request_id)


class TencentRoute(Route):
    """The route for requests of Tencent's SDKs, at any path. Requests of browsers fall through to the page."""

    def __init__(self) -> None:
        super().__init__("/", Endpoint(), include_in_schema=False)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match all methods: unsupported ones get an error in the envelope."""
        if scope["type"] != "http" or not is_for_tencent(scope):
            return Match.NONE, {}
        return Match.FULL, {"endpoint": self.endpoint, "path_params": {}}


def is_for_tencent(scope: Scope) -> bool:
    """Whether a request is one of Tencent's API, by its path, headers and query.

    SDKs send all requests to the path of their endpoint, which may be `/mps` behind a proxy, and sign the path `/`.
    """
    headers = {name.decode("latin-1").lower(): value for name, value in scope["headers"]}
    query = b"&" + scope.get("query_string", b"")
    signed = any(name in headers for name in _TENCENT_HEADERS) or (b"&Action=" in query and b"&Signature=" in query)
    if scope["path"] == "/":
        return signed or scope["method"] not in ("GET", "HEAD")
    # Signature v1 is in the form, which the rest of the server uses nowhere.
    is_form = scope["method"] == "POST" and headers.get("content-type", b"").lower().startswith(FORM.encode())
    return (signed or is_form) and not scope["path"].startswith("/v1/")


def most_bytes(request: Request) -> int:
    """The limit for the body of this request."""
    return MOST_FORM_BYTES if _is_form(request) else MOST_BYTES


def too_large(most: int) -> Refused:
    return Refused("RequestSizeLimitExceeded", "The request is larger than {most} bytes.", most=most)


def too_slow() -> Refused:
    return Refused("FailedOperation.NetWorkError", "The body of the request did not arrive in time.")


def admit(request: Request) -> None:
    """Check what the headers of a request contain; raises Refused before its body is read.

    The signature covers the body and is checked with it. Forms carry their key in the body, so they have a lower limit.
    """
    received = _without_body(request)
    if "authorization" not in received.headers and received.method == "POST" and _is_form(request):
        return
    server: ServerState = request.app.state.server
    claim = signatures.read(received)
    signatures.check_time(claim, time.time(), server.settings.server.clock_skew)
    with _limited(server, _address(request)):
        _key_and_secret(server, claim)


def refuse(request: Request, error: Exception) -> Response:
    """The response to an error that occurs before the endpoint gets the request."""
    return _in_envelope(request, error, str(uuid.uuid4()))


def _in_envelope(request: Request, error: Exception, request_id: str, body: bytes = b"") -> Response:
    """The response to any error; unexpected ones are logged and get a neutral text."""
    if isinstance(error, Problem):
        error = Refused("InvalidParameter", "{detail}.", detail=error.detail)
    if isinstance(error, Refused):
        log.info("%s %s: %s (%s)", request_id, request.headers.get("x-tc-action", "-"), error.code, error)
        refused = error
    elif isinstance(error, SongprintError):  # for the operator: a database that is unreachable, a full disk
        log.error("request %s: %s", request_id, error)
        refused = Refused("InternalError", messages.UNAVAILABLE)
    else:
        log.error("request %s", request_id, exc_info=error)
        refused = Refused("InternalError", messages.INTERNAL_ERROR)
    message = refused.message(_language(request, body))
    return _enveloped({"Error": {"Code": refused.code, "Message": message}}, request_id)


def _language(request: Request, body: bytes) -> str:
    """The language of messages: of the header, or of the parameter of signature v1."""
    found = _LANGUAGE.search(request.scope["query_string"] if request.method == "GET" else body)
    return request.headers.get("x-tc-language", "") or (found[1].decode() if found else "")


def _enveloped(content: dict[str, object], request_id: str) -> Response:
    return JSONResponse({"Response": {**content, "RequestId": request_id}})


def _without_body(request: Request) -> signatures.Request:
    if request.method not in ("GET", "POST"):
        raise Refused("UnsupportedProtocol", "The method must be GET or POST.")
    query = request.scope["query_string"]
    if len(query) > MOST_QUERY_BYTES:
        raise too_large(MOST_QUERY_BYTES)
    return signatures.Request(request.method, query.decode("latin-1"), dict(request.headers), b"")


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").lower().startswith(FORM)


def _run(server: ServerState, received: signatures.Request, forwarded_host: str, address: str) -> dict[str, object]:
    claim = signatures.read(received)
    signatures.check_time(claim, time.time(), server.settings.server.clock_skew)
    with _limited(server, address):
        key = _key(server, claim, received, forwarded_host)
    keys = server.keys.with_parents(key)
    _check_rate(server, keys)
    action = named(claim.action, claim.version)
    _check_rate_of_action(server, keys, claim.action, action.rate)
    given = parameters.of_json(received.body) if claim.parameters is None else parameters.of_flat(claim.parameters)
    return action.run(Call(server, key, given))


@contextmanager
def _limited(server: ServerState, address: str) -> Iterator[None]:
    """Limit the rate of requests with a wrong key or signature."""
    try:
        yield
    except Refused as refused:
        if refused.code in _WRONG_KEY and server.limiter.wait(f"tencent {address}", MAX_WRONG_KEYS):
            raise Refused("RequestLimitExceeded.IPLimitExceeded", "Too many requests with a wrong key.") from refused
        raise


def _key(server: ServerState, claim: Claim, received: signatures.Request, forwarded_host: str) -> Key:
    """The key that signed the request; raises Refused for a wrong key or signature."""
    key, secret_key = _key_and_secret(server, claim)
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
        raise Refused(
            "RequestLimitExceeded.UinLimitExceeded", "The key may send {rate:g} requests per second.", rate=rate
        )


def _key_and_secret(server: ServerState, claim: Claim) -> tuple[Key, str]:
    """The key with the SecretId of a request, and its SecretKey; raises Refused if there is none."""
    try:
        return server.keys.by_secret_id(claim.secret_id)
    except KeyRefused as error:
        log.info("%s", error)
        raise Refused("AuthFailure.SecretIdNotFound", "The SecretId is unknown or was revoked.") from error


def _check_rate_of_action(server: ServerState, keys: list[Key], action: str, default: float) -> None:
    """All sub-keys of a key share its rate of an action."""
    rate = server.settings.server.rates.get(action, default)
    if server.limiter.wait(f"tencent {keys[-1].id} {action}", rate):
        raise Refused(
            "RequestLimitExceeded", "`{action}` may be called {rate:g} times per second.", action=action, rate=rate
        )


def _forwarded_host(request: Request) -> str:
    """The host name that the client used, as reported by a trusted proxy; "" for any other sender."""
    proxies = request.app.state.server.settings.server.trusted_proxies
    try:
        address = ipaddress.ip_address(_address(request))
        is_trusted = any(address in ipaddress.ip_network(entry, strict=False) for entry in proxies)
    except ValueError:
        return ""
    return request.headers.get("x-forwarded-host", "").partition(",")[0].strip() if is_trusted else ""


def _address(request: Request) -> str:
    return request.client.host if request.client else ""
