"""Signing in to the page with a key, and signing out."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from songprint.server.rest import common, models
from songprint.server.rest.access import Caller, IdentifyCaller, authenticate_token, from_own_page
from songprint.server.rest.common import server_of
from songprint.server.rest.problems import Json, Problem
from songprint.server.web.sessions import COOKIE, LIFETIME, Session

router = APIRouter(prefix="/v1/session", tags=["session"])


@router.get("", response_model=models.Session, responses=common.problems())
def show_session(request: Request, caller: IdentifyCaller) -> Response:
    """The signed-in key, and the CSRF token that requests of the page send in `X-CSRF-Token`.

    While a server has no keys, every local user is signed in.
    """
    return Json(_session(caller, server_of(request).sessions.read(request.cookies.get(COOKIE, ""))))


@router.post("", response_model=models.Session, responses=common.problems())
def sign_in(request: Request, given: models.SignIn) -> Response:
    """Sign in with a token; sets a cookie that is valid for twelve hours."""
    server = server_of(request)
    if not from_own_page(request):
        raise Problem(403, "cross_site", "Pages of other sites may not sign anyone in on this server")
    caller = Caller(authenticate_token(request, server, given.token))
    session, cookie = server.sessions.begin(caller.id)
    server.audit.note(caller.id, "session.begin")
    response = Json(_session(caller, session))
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=LIFETIME,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return response


@router.delete("", status_code=204, responses=common.problems())
def sign_out(request: Request) -> Response:
    """Sign out; removes the cookie from the browser."""
    if not from_own_page(request):
        raise Problem(403, "cross_site", "Pages of other sites may not sign anyone out on this server")
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return response


def _session(caller: Caller, session: Session | None) -> models.Session:
    name = caller.key.name if caller.key else ""
    return {"key": caller.id or None, "name": name, "scope": caller.scope, "csrf": session.csrf if session else None}
