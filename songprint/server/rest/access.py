"""Authentication and authorisation: bearer tokens, sessions of the page, and servers without keys.

`songprint.server.edge` calls `admit` before the body of a request is read; endpoints get the result as a dependency.

A server without keys listens on loopback only, and everyone who can connect may do everything. As soon as a key
exists, every request needs one. A proxy on the same machine makes every stranger look local, so a server without keys
refuses requests that a proxy forwarded.

Browsers send requests on behalf of any open page. A request that changes something and has no token must therefore
come from a page of this server.
"""

from __future__ import annotations

import hmac
import ipaddress
import math
from dataclasses import dataclass
from typing import Annotated, cast
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param

from songprint.accounts.keys import SCOPES, Key
from songprint.errors import KeyRefused
from songprint.server.rest.problems import Problem, sentence
from songprint.server.state import ServerState
from songprint.server.web.sessions import COOKIE, CSRF_HEADER

UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
MAX_WRONG_TOKENS = 5.0  # per second and address
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="songprint"'}
# Headers that proxies and content delivery networks add, besides those that start with X-Forwarded.
FORWARDED = frozenset(
    {"forwarded", "via", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "true-client-ip", "cf-connecting-ip"}
)
_CALLER = "songprint.caller"  # key in the ASGI scope

_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="token",
    bearerFormat="sp_...",
    description="The token that `songprint keys create` prints. A server without keys needs none.",
)


@dataclass(frozen=True)
class Caller:
    """The sender of a request."""

    key: Key | None  # None: a local user of a server without keys

    @property
    def id(self) -> str:
        return self.key.id if self.key else ""

    @property
    def scope(self) -> str:
        return self.key.scope if self.key else SCOPES[-1]

    @property
    def default_parent(self) -> str:
        """The parent of keys that the caller creates; empty for a caller whose own key has no parent."""
        return self.key.id if self.key and self.key.parent else ""

    def may(self, scope: str) -> bool:
        return self.key is None or self.key.may(scope)


class Needs:
    """A dependency that returns the caller of an endpoint, which needs this scope.

    The caller was admitted before the application got the request. The token is a parameter for the description of
    the API alone.
    """

    def __init__(self, scope: str) -> None:
        self.scope = scope

    async def __call__(
        self, request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
    ) -> Caller:
        return cast(Caller, request.scope[_CALLER])


IdentifyCaller = Annotated[Caller, Depends(Needs("identify"))]
WriteCaller = Annotated[Caller, Depends(Needs("write"))]
AdminCaller = Annotated[Caller, Depends(Needs("admin"))]


def admit(request: Request, server: ServerState, scope: str) -> None:
    """Identify the caller of a request from its headers alone; Problem 401, 403 or 429 if it lacks this scope."""
    scheme, token = get_authorization_scheme_param(request.headers.get("authorization"))
    caller = authenticate(request, server, token if scheme.lower() == "bearer" else "")
    request.scope[_CALLER] = caller
    if caller.key is None:
        return
    if not caller.may(scope):
        raise Problem(
            403,
            "forbidden",
            f"The key {caller.key.name!r} has the scope {caller.scope}, but this request needs {scope}."
            " Ask an administrator for another key",
        )
    default = server.settings.server.rate
    wait = server.limiter.wait_for_all((key.id, key.rate or default) for key in server.keys.with_parents(caller.key))
    if wait:
        raise _too_many(wait, "requests")


def is_administrator(request: Request) -> bool:
    """Whether the request was admitted with the scope admin."""
    caller = request.scope.get(_CALLER)
    return isinstance(caller, Caller) and caller.may("admin")


def authenticate(request: Request, server: ServerState, token: str) -> Caller:
    """The sender of a request; Problem if it is not allowed in."""
    if token:
        return Caller(authenticate_token(request, server, token))
    session = server.sessions.read(request.cookies.get(COOKIE, ""))
    if session is not None:
        if request.method in UNSAFE and not hmac.compare_digest(
            request.headers.get(CSRF_HEADER, "").encode(), session.csrf.encode()
        ):
            raise Problem(
                403,
                "csrf",
                f"A request of the page needs the header {CSRF_HEADER} with the value from GET /v1/session."
                " Programs send a token instead: Authorization: Bearer sp_...",
            )
        try:
            return Caller(server.keys.by_id(session.key_id))
        except KeyRefused as error:
            raise Problem(401, "signed_out", f"{sentence(error)}. Sign in again", CHALLENGE) from error
    if server.keys.any():
        raise Problem(
            401,
            "unauthorized",
            "A key is required: send its token as Authorization: Bearer sp_... . `songprint keys create` makes one",
            CHALLENGE,
        )
    if not _is_local(request):
        raise Problem(
            403,
            "no_keys",
            "This server has no keys yet, so it only answers requests from its own machine."
            " Make a key with `songprint keys create`",
        )
    if _is_forwarded(request):
        raise Problem(
            403,
            "no_keys",
            "A proxy forwarded this request, so it may come from any machine, and this server has no keys yet."
            " Make a key with `songprint keys create`, or connect without the proxy",
        )
    if request.method in UNSAFE and not from_own_page(request):
        raise Problem(403, "cross_site", "Pages of other sites may not change anything on this server")
    return Caller(None)


def from_own_page(request: Request) -> bool:
    """Whether a request comes from a program, or from a page of this server according to the browser's headers."""
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return False
    origin = request.headers.get("origin")
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc == request.headers.get("host", "")
    except ValueError:
        return False


def authenticate_token(request: Request, server: ServerState, token: str) -> Key:
    """The key of a token; Problem 401 for a wrong token, and 429 for too many of them."""
    try:
        return server.keys.by_token(token)
    except KeyRefused as error:
        wait = server.limiter.wait(f"guess {_address(request)}", MAX_WRONG_TOKENS)
        if wait:
            raise _too_many(wait, "wrong tokens") from error
        raise Problem(
            401,
            "unauthorized",
            "The token is unknown, or its key was revoked. `songprint keys list` shows the keys",
            CHALLENGE,
        ) from error


def _too_many(wait: float, what: str) -> Problem:
    return Problem(
        429, "too_often", f"Too many {what}. Try again in {wait:.1f} s", {"Retry-After": str(math.ceil(wait))}
    )


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _is_forwarded(request: Request) -> bool:
    """Whether a proxy sent the request: it says so, or uses HTTP/1.0, as nginx does unless configured otherwise."""
    names = request.headers.keys()
    return request.scope.get("http_version") == "1.0" or any(
        name in FORWARDED or name.startswith("x-forwarded") for name in names
    )


def _is_local(request: Request) -> bool:
    try:
        return ipaddress.ip_address(_address(request)).is_loopback
    except ValueError:
        return False
