"""Who asks, and whether they may: bearer tokens, sessions of the page, the rule for a server without keys.

Without any key the server listens on loopback alone, and whoever reaches it there may do everything. As soon as
there is a key, every request needs one. Browsers send requests on behalf of any page that is open in them: so what
changes something and is not signed by a token has to come from a page of this very server.
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
from songprint.server.rest.problems import Problem
from songprint.server.state import ServerState
from songprint.server.web.sessions import COOKIE, CSRF_HEADER

UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
GUESSES = 5.0  # wrong tokens a second that an address may send
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="songprint"'}

_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="token",
    bearerFormat="sp_...",
    description="The token that `songprint keys create` shows. A server without keys needs none.",
)


@dataclass(frozen=True)
class Caller:
    """Who asks."""

    key: Key | None  # None: somebody at this machine, while there are no keys

    @property
    def id(self) -> str:
        return self.key.id if self.key else ""

    @property
    def scope(self) -> str:
        return self.key.scope if self.key else SCOPES[-1]

    @property
    def key_above(self) -> str:
        """The parent of keys that the caller makes: an administrator of a part makes keys of that part."""
        return self.key.id if self.key and self.key.parent else ""

    def may(self, scope: str) -> bool:
        return self.key is None or self.key.may(scope)


def needs(scope: str):
    """The type of an endpoint's argument: a `Caller` with this right at least; else 401, 403 or 429."""
    return Annotated[Caller, Depends(_Needs(scope))]


class _Needs:
    def __init__(self, scope: str) -> None:
        self.scope = scope

    def __call__(
        self, request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
    ) -> Caller:
        server: ServerState = request.app.state.server
        caller = who(request, server, given.credentials if given else "")
        if not caller.may(self.scope):
            raise Problem(
                403,
                "forbidden",
                f"the key {caller.key.name!r} has the scope {caller.scope}, and this needs"
                f" {self.scope}. Ask an administrator for another key",
            )
        if caller.key:
            wait = server.limiter.wait(caller.id, caller.key.rate or server.settings.server.rate)
            if wait:
                raise _too_often(wait, "requests")
        return caller


def who(request: Request, server: ServerState, token: str) -> Caller:
    """Whom a request comes from; Problem if that is nobody."""
    if token:
        return Caller(who_by_token(request, server, token))
    session = server.sessions.read(request.cookies.get(COOKIE, ""))
    if session is not None:
        if request.method in UNSAFE and not hmac.compare_digest(
            request.headers.get(CSRF_HEADER, "").encode(), session.csrf.encode()
        ):
            raise Problem(
                403,
                "csrf",
                f"a request of the page needs the header {CSRF_HEADER} with what GET /v1/session"
                " gives. Programs send a token instead: Authorization: Bearer sp_...",
            )
        try:
            return Caller(server.keys.by_id(session.key_id))
        except KeyRefused as error:
            raise Problem(401, "signed_out", f"{error}. Sign in again", CHALLENGE) from error
    if server.keys.any():
        raise Problem(
            401,
            "unauthorized",
            "a key is needed: send its token as Authorization: Bearer sp_... . `songprint keys create` makes one",
            CHALLENGE,
        )
    if not _is_local(request):
        raise Problem(
            403,
            "no_keys",
            "this server has no keys yet, so it answers this machine alone. Make one with `songprint keys create`",
        )
    if request.method in UNSAFE and not from_own_page(request):
        raise Problem(403, "cross_site", "a page of another site may not change anything here")
    return Caller(None)


def from_own_page(request: Request) -> bool:
    """Whether a request comes from a program, or from a page of this server; browsers say where they are."""
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return False
    origin = request.headers.get("origin")
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc == request.headers.get("host", "")
    except ValueError:
        return False


def who_by_token(request: Request, server: ServerState, token: str) -> Key:
    """The key of a token; Problem if there is none, and 429 for whoever guesses."""
    try:
        return server.keys.by_token(token)
    except KeyRefused as error:
        wait = server.limiter.wait(f"guess {_address(request)}", GUESSES)
        if wait:
            raise _too_often(wait, "wrong tokens") from error
        raise Problem(
            401,
            "unauthorized",
            "this token is not known, or its key was revoked. `songprint keys list` shows the keys",
            CHALLENGE,
        ) from error


def _too_often(wait: float, what: str) -> Problem:
    return Problem(
        429, "too_often", f"too many {what}. Try again in {wait:.1f} s", {"Retry-After": str(math.ceil(wait))}
    )


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _is_local(request: Request) -> bool:
    try:
        return ipaddress.ip_address(_address(request)).is_loopback
    except ValueError:
        return False
