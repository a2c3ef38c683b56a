"""For operators of the server: keys, usage, callbacks, the audit log."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from songprint.accounts.keys import key_object
from songprint.errors import JobNotFound, KeyRefused
from songprint.formats import schema
from songprint.jobs import usage
from songprint.jobs.deliveries import delivery_object
from songprint.server.rest import common, models
from songprint.server.rest.access import AdminCaller, Caller, IdentifyCaller
from songprint.server.rest.common import Limit, server_of
from songprint.server.rest.problems import Json, Problem, sentence
from songprint.server.state import ServerState

router = APIRouter(prefix="/v1")

KeyId = Annotated[str, Path(max_length=100, description="The key's id, which is its SecretId.")]
Day = Annotated[date | None, Query(description="A UTC day such as 2025-06-13, inclusive.")]


@router.get("/keys", tags=["keys"], response_model=models.Keys, responses=common.problems())
def list_keys(request: Request, caller: AdminCaller) -> Response:
    """The keys that the caller may see: all keys, or its own and those made under it."""
    server = server_of(request)
    visible = server.keys.visible_to(caller.key)
    found = [key for key in server.keys.all() if visible is None or key.id in visible]
    return Json({"items": [key_object(key) for key in found]})


@router.post("/keys", tags=["keys"], status_code=201, response_model=schema.NewKey, responses=common.problems(404))
def create_key(request: Request, caller: AdminCaller, wanted: models.KeyRequest) -> Response:
    """Create a key. Its secrets are shown only once: `token` for this API, `id` and `secret_key` for Tencent's."""
    server = server_of(request)
    parent = wanted.parent or caller.default_parent
    _check_visible(server, caller, parent)
    try:
        made = server.keys.create(wanted.name, wanted.scope, parent=parent or None, rate=wanted.rate)
    except KeyRefused as error:
        raise Problem(422, "refused", sentence(error)) from error
    server.audit.note(caller.id, "keys.create", f"{made.key.id} {made.key.name} ({made.key.scope})")
    return Json({**key_object(made.key), "secret_key": made.secret_key, "token": made.token}, 201)


@router.delete("/keys/{key_id}", tags=["keys"], response_model=models.Keys, responses=common.problems(404))
def revoke_key(request: Request, caller: AdminCaller, key_id: KeyId) -> Response:
    """Revoke a key and all keys made under it; returns the revoked keys."""
    server = server_of(request)
    _check_visible(server, caller, key_id)
    try:
        revoked = server.keys.revoke(key_id)
    except KeyRefused as error:
        raise _no_key(key_id) from error
    server.audit.note(caller.id, "keys.revoke", " ".join(key.id for key in revoked))
    return Json({"items": [key_object(key) for key in revoked]})


@router.get("/usage", tags=["usage"], response_model=models.Usage, responses=common.problems())
def show_usage(request: Request, caller: IdentifyCaller, since: Day = None, until: Day = None) -> Response:
    """Seconds of input by day and key, and the billed minutes: each day's sum, rounded up."""
    rows = _usage(request, caller, since, until)
    return Json({"items": [{**asdict(row), "seconds": round(row.seconds, 3), "minutes": row.minutes} for row in rows]})


@router.get(
    "/usage.csv",
    tags=["usage"],
    response_class=Response,
    responses={200: {"content": {"text/csv": {}}}, **common.problems()},
)
def show_usage_as_csv(
    request: Request,
    caller: IdentifyCaller,
    since: Day = None,
    until: Day = None,
    price: Annotated[float | None, Query(ge=0, le=1e6, description="Price of one minute.")] = None,
) -> Response:
    """The same as a CSV table; with a price, also the cost."""
    return Response(usage.to_csv(_usage(request, caller, since, until), price), media_type="text/csv")


@router.get("/deliveries", tags=["callbacks"], response_model=models.Deliveries, responses=common.problems(404))
def list_deliveries(
    request: Request,
    caller: IdentifyCaller,
    limit: Limit = 100,
    after: Annotated[str, Query(max_length=100, description="`next` of the previous page.")] = "",
    state: Annotated[str, Query(pattern="^(waiting|sending|delivered|given up)?$")] = "",
) -> Response:
    """The callbacks of the caller's jobs with all attempts, latest first."""
    server = server_of(request)
    try:
        found = server.deliveries.find(
            state=state or None, key_id=server.keys.visible_to(caller.key), limit=limit + 1, before=after
        )
    except JobNotFound as error:
        raise Problem(404, "not_found", sentence(error)) from error
    items = [delivery_object(each) for each in found[:limit]]
    return Json({"items": items, "next": found[limit - 1].id if len(found) > limit else None})


@router.get("/audit", tags=["keys"], response_model=models.Audit, responses=common.problems())
def show_audit(
    request: Request,
    caller: AdminCaller,
    limit: Limit = 100,
    after: Annotated[int | None, Query(ge=1, le=2**62)] = None,
) -> Response:
    """All changes with their authors, latest first."""
    server = server_of(request)
    if server.keys.visible_to(caller.key) is not None:
        raise Problem(403, "forbidden", "Only keys without a parent may read the audit log")
    found = server.audit.entries(limit=limit + 1, before=after)
    items = [asdict(each) for each in found[:limit]]
    return Json({"items": items, "next": str(found[limit - 1].number) if len(found) > limit else None})


def _check_visible(server: ServerState, caller: Caller, key_id: str) -> None:
    visible = server.keys.visible_to(caller.key)
    if key_id and visible is not None and key_id not in visible:
        raise _no_key(key_id)


def _no_key(key_id: str) -> Problem:
    return Problem(404, "key_not_found", f"No active key has the id {key_id!r}. GET /v1/keys lists all keys")


def _usage(request: Request, caller: Caller, since: date | None, until: date | None) -> list[usage.Used]:
    server = server_of(request)
    server.meter.write()
    return server.usage.by_day(
        server.keys.visible_to(caller.key), since.isoformat() if since else "", until.isoformat() if until else ""
    )
