"""Errors as RFC 9457 problems: what happened, and what to do; nothing of the inside.

Every error of the REST API is `application/problem+json` with `status`, `title`, `detail`, a `code` for programs and
the `request_id` that the log has too.
"""

from __future__ import annotations

import http
import logging
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from songprint import errors
from songprint.formats.objects import to_json
from songprint.processes import pool

log = logging.getLogger(__name__)

BUSY_SECONDS = 2  # after which to try again


class Problem(Exception):
    """An answer that is an error; `more` are further members of the object."""

    def __init__(
        self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None, **more: object
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.headers, self.more = status, code, detail, headers or {}, more


class Json(Response):
    """JSON of any text: what is no Unicode, as in names of files, is escaped."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        return to_json(content).encode("utf-8")


# The first that fits. Errors of ours that are not here are bugs when a request meets them.
_OF_ERROR: list[tuple[type[Exception], int, str]] = [
    (pool.Busy, 503, "busy"),
    (pool.LimitExceeded, 422, "took_too_long"),
    (pool.Crashed, 422, "unreadable_audio"),
    (errors.AudioError, 422, "unreadable_audio"),
    (errors.RecordingNotFound, 404, "recording_not_found"),
    (errors.JobNotFound, 404, "job_not_found"),
    (errors.JobStateError, 409, "wrong_state"),
    (errors.LibraryFull, 507, "disk_full"),
    (errors.LibraryError, 409, "library_refuses"),
    (errors.SongprintError, 400, "refused"),
]


def of(error: Exception) -> Problem:
    """The problem that an error of the library is."""
    for kind, status, code in _OF_ERROR:
        if isinstance(error, kind):
            headers = {"Retry-After": str(BUSY_SECONDS)} if status == 503 else {}
            return Problem(status, code, str(error), headers)
    raise error


def response(request: Request, problem: Problem) -> Response:
    body = {
        "type": "about:blank",
        "title": http.HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "code": problem.code,
        "detail": problem.detail,
        **problem.more,
        "request_id": request.scope.get("songprint.request_id", ""),
    }
    return Json(body, problem.status, dict(problem.headers), media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """Have the application answer with problems, whatever goes wrong."""
    app.add_exception_handler(Problem, response)
    app.add_exception_handler(errors.SongprintError, lambda request, error: response(request, of(error)))
    app.add_exception_handler(HTTPException, _of_framework)
    app.add_exception_handler(RequestValidationError, _of_validation)


_HINTS = {
    404: "there is nothing at this address. /docs lists what there is",
    405: "this address knows other methods; /docs lists them",
}


def _of_framework(request: Request, error: HTTPException) -> Response:
    code = http.HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    return response(
        request, Problem(error.status_code, code, _HINTS.get(error.status_code, str(error.detail)), error.headers)
    )


def _of_validation(request: Request, error: RequestValidationError) -> Response:
    wrong = [{"where": ".".join(str(part) for part in each["loc"]), "what": each["msg"]} for each in error.errors()]
    return response(
        request,
        Problem(
            422,
            "invalid_request",
            f"{wrong[0]['where']}: {wrong[0]['what']}. See /docs for what is expected",
            errors=wrong[:20],
        ),
    )


def of_bug(request: Request, error: Exception) -> Response:
    """What is said of an error that nobody foresaw; the log has all of it."""
    log.error("request %s failed", request.scope.get("songprint.request_id", ""), exc_info=error)
    return response(
        request,
        Problem(
            500,
            "internal",
            ("this is a bug in Songprint. Its log has the details under the request_id; please report them"),
        ),
    )
