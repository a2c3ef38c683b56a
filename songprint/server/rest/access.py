"""Authentication and authorisation: bearer tokens, sessions of the page, and servers without keys.

A server without keys listens on loopback only, and everyone who can connect may do everything. As soon as a key
exists, every request needs one.

Browsers send requests on behalf of any open page. A request that changes something and has no token must therefore
come from a page of this server.
"""

from __future__ import annotations

import hmac
import ipaddress
import math
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from songprint.accounts.keys import SCOPES, Key
from songprint.errors import KeyRefused
from songprint.server.rest.problems import Problem, sentence
from songprint.server.state import ServerState
from songprint.server.web.sessions import COOKIE, CSRF_HEADER

UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
MAX_WRONG_TOKENS = 5.0  # per second and address
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="songprint"'}

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


class _Needs:
    """A dependency that returns the caller if it has a scope; Problem 401, 403 or 429 if not."""

    def __init__(self, scope: str) -> None:
        self.scope = scope

    def __call__(
        self, request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
    ) -> Caller:
        server: ServerState = request.app.state.server
        caller = authenticate(request, server, given.credentials if given else "")
        if caller.key is None:
            return caller
        if not caller.may(self.scope):
            raise Problem(
                403,
                "forbidden",
                f"The key {caller.key.name!r} has the scope {caller.scope}, but this request needs {self.scope}."
                " Ask an administrator for another key",
            )
        default = server.settings.server.rate
        wait = server.limiter.wait_for_all(
            (key.id, key.rate or default) for key in server.keys.with_parents(caller.key)
        )
        if wait:
            raise _too_many(wait, "requests")
        return caller


IdentifyCaller = Annotated[Caller, Depends(_Needs("identify"))]
WriteCaller = Annotated[Caller, Depends(_Needs("write"))]
AdminCaller = Annotated[Caller, Depends(_Needs("admin"))]


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


def _is_local(request: Request) -> bool:
    try:
        return ipaddress.ip_address(_address(request)).is_loopback
    except ValueError:
        return False
