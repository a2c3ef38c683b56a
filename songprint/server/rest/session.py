"""Signing in to the page with a key, and out again."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from songprint.server.rest import answers, shapes
from songprint.server.rest.access import Caller, from_own_page, needs, who_by_token
from songprint.server.rest.answers import server_of
from songprint.server.rest.problems import Json, Problem
from songprint.server.web.sessions import COOKIE, LASTS, Session

router = APIRouter(prefix="/v1/session", tags=["session"])


@router.get("", response_model=shapes.Session, responses=answers.problems())
def show_session(request: Request, caller: needs("identify")) -> Response:
    """Who is signed in, and the secret that requests of the page carry in `X-CSRF-Token`.

    While a server has no keys, everybody at the machine itself is signed in.
    """
    return Json(_told(caller, server_of(request).sessions.read(request.cookies.get(COOKIE, ""))))


@router.post("", response_model=shapes.Session, responses=answers.problems())
def sign_in(request: Request, given: shapes.SignIn) -> Response:
    """Sign in with a token: from then on a cookie does, for half a day."""
    server = server_of(request)
    if not from_own_page(request):
        raise Problem(403, "cross_site", "a page of another site may not sign anybody in here")
    caller = Caller(who_by_token(request, server, given.token))
    session, cookie = server.sessions.begin(caller.id)
    server.audit.note(caller.id, "session.begin")
    answer = Json(_told(caller, session))
    answer.set_cookie(
        COOKIE, cookie, max_age=LASTS, path="/", secure=request.url.scheme == "https", httponly=True, samesite="strict"
    )
    return answer


@router.delete("", status_code=204, responses=answers.problems())
def sign_out(request: Request) -> Response:
    """Sign out. The cookie is forgotten by the browser."""
    if not from_own_page(request):
        raise Problem(403, "cross_site", "a page of another site may not sign anybody out here")
    answer = Response(status_code=204)
    answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return answer


def _told(caller: Caller, session: Session | None) -> dict[str, object]:
    name = caller.key.name if caller.key else ""
    return {"key": caller.id or None, "name": name, "scope": caller.scope, "csrf": session.csrf if session else None}
