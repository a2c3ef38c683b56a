"""For whoever runs the server: keys, usage, callbacks, the audit log."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from songprint.accounts.keys import NewKey, key_object
from songprint.errors import JobNotFound, KeyRefused
from songprint.jobs import usage
from songprint.jobs.deliveries import delivery_object
from songprint.server.rest import answers, shapes
from songprint.server.rest.access import Caller, needs
from songprint.server.rest.answers import Limit, server_of
from songprint.server.rest.problems import Json, Problem
from songprint.server.state import ServerState

router = APIRouter(prefix="/v1")

KeyId = Annotated[str, Path(max_length=100, description="The key's id, which is its SecretId.")]
Day = Annotated[date | None, Query(description="As 2025-06-13, UTC; the day itself is included.")]


@router.get("/keys", tags=["keys"], response_model=shapes.Keys, responses=answers.problems())
def list_keys(request: Request, caller: needs("admin")) -> Response:
    """All keys that the caller may know of: all of the server, or those made under the caller's own."""
    keys = server_of(request).keys.all()
    mine = server_of(request).keys.visible_to(caller.key)
    return Json({"items": [key_object(key) for key in keys if mine is None or key.id in mine]})


@router.post("/keys", tags=["keys"], status_code=201, response_model=shapes.NewKey, responses=answers.problems(404))
def create_key(request: Request, caller: needs("admin"), wanted: shapes.KeyWish) -> Response:
    """Make a key. Its secrets are shown this once: `token` for this API, `id` and `secret_key` for Tencent's."""
    server = server_of(request)
    parent = wanted.parent or caller.key_above
    _check_seen(server, caller, parent)
    try:
        made = server.keys.create(wanted.name, wanted.scope, parent=parent or None, rate=wanted.rate)
    except KeyRefused as error:
        raise Problem(422, "refused", str(error)) from error
    server.audit.note(caller.id, "keys.create", f"{made.key.id} {made.key.name} ({made.key.scope})")
    return Json(_with_secrets(made), 201)


@router.delete("/keys/{key_id}", tags=["keys"], response_model=shapes.Keys, responses=answers.problems(404))
def revoke_key(request: Request, caller: needs("admin"), key_id: KeyId) -> Response:
    """End a key and all that were made under it; gives those that ended."""
    server = server_of(request)
    _check_seen(server, caller, key_id)
    try:
        ended = server.keys.revoke(key_id)
    except KeyRefused as error:
        raise _no_key(key_id) from error
    server.audit.note(caller.id, "keys.revoke", " ".join(key.id for key in ended))
    return Json({"items": [key_object(key) for key in ended]})


@router.get("/usage", tags=["usage"], response_model=shapes.Usage, responses=answers.problems())
def show_usage(request: Request, caller: needs("identify"), since: Day = None, until: Day = None) -> Response:
    """Seconds of input by day and key, and the minutes that are billed: the sum of a day, rounded up."""
    return Json({"items": [_used(row) for row in _rows(request, caller, since, until)]})


@router.get(
    "/usage.csv",
    tags=["usage"],
    response_class=Response,
    responses={200: {"content": {"text/csv": {}}}, **answers.problems()},
)
def show_usage_as_csv(
    request: Request,
    caller: needs("identify"),
    since: Day = None,
    until: Day = None,
    price: Annotated[float | None, Query(ge=0, le=1e6, description="Of a minute.")] = None,
) -> Response:
    """The same as a table; with a price, also what it costs."""
    return Response(usage.to_csv(_rows(request, caller, since, until), price), media_type="text/csv")


@router.get("/deliveries", tags=["callbacks"], response_model=shapes.Deliveries, responses=answers.problems(404))
def list_deliveries(
    request: Request,
    caller: needs("identify"),
    limit: Limit = 100,
    after: Annotated[str, Query(max_length=100, description="`next` of the page before.")] = "",
    state: Annotated[str, Query(pattern="^(waiting|sending|delivered|given up)?$")] = "",
) -> Response:
    """The callbacks of the caller's jobs with all attempts, the latest first."""
    server = server_of(request)
    try:
        found = server.deliveries.find(
            state=state or None, key_id=server.keys.visible_to(caller.key), limit=limit + 1, before=after
        )
    except JobNotFound as error:
        raise Problem(404, "not_found", str(error)) from error
    return Json(
        {
            "items": [delivery_object(each) for each in found[:limit]],
            "next": found[limit - 1].id if len(found) > limit else None,
        }
    )


@router.get("/audit", tags=["keys"], response_model=shapes.Audit, responses=answers.problems())
def show_audit(
    request: Request,
    caller: needs("admin"),
    limit: Limit = 100,
    after: Annotated[int | None, Query(ge=1, le=2**62)] = None,
) -> Response:
    """Who changed what, the latest first."""
    server = server_of(request)
    mine = server.keys.visible_to(caller.key)
    if mine is not None:
        raise Problem(403, "forbidden", "the audit log is for keys that were not made under another")
    found = server.audit.entries(limit=limit + 1, before=after)
    return Json(
        {
            "items": [asdict(each) for each in found[:limit]],
            "next": str(found[limit - 1].number) if len(found) > limit else None,
        }
    )


def _check_seen(server: ServerState, caller: Caller, key_id: str) -> None:
    mine = server.keys.visible_to(caller.key)
    if key_id and mine is not None and key_id not in mine:
        raise _no_key(key_id)


def _no_key(key_id: str) -> Problem:
    return Problem(404, "key_not_found", f"no key {key_id!r} is in use. GET /v1/keys lists them")


def _rows(request: Request, caller: Caller, since: date | None, until: date | None) -> list[usage.Used]:
    server = server_of(request)
    server.meter.write()
    return server.usage.by_day(
        server.keys.visible_to(caller.key), since.isoformat() if since else "", until.isoformat() if until else ""
    )


def _used(row: usage.Used) -> dict[str, object]:
    return {**asdict(row), "seconds": round(row.seconds, 3), "minutes": row.minutes}


def _with_secrets(made: NewKey) -> dict[str, object]:
    return {**key_object(made.key), "secret_key": made.secret_key, "token": made.token}
