"""Errors as RFC 9457 problems: what happened and what to do, without internals of the server.

Every error of the REST API is `application/problem+json` with `status`, `title`, `detail`, a `code` for programs and
the `request_id` under which the log has the details.

Clients see the messages of errors that they can correct. Errors that the operator must correct, such as an unreachable
database, get a neutral text: their messages contain addresses, paths and the words of other software. The log has
them, and administrators see them.
"""

from __future__ import annotations

import errno
import http
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from songprint import errors
from songprint.formats.objects import to_json
from songprint.processes import pool

log = logging.getLogger(__name__)

RETRY_SECONDS = 2  # for Retry-After when the server is busy
UNAVAILABLE_SECONDS = 30  # for Retry-After when an operator must act
UNAVAILABLE = "The server cannot do this at the moment. Try again later; its operator finds the cause in the log"
ENCODER_CHANGED = (
    "The library was made by a version of Songprint with another encoder and cannot be searched."
    " Its operator has to run `songprint rebuild --reencode`; jobs wait until then"
)
DISK_FULL = "The server's disk is full. Contact its operator"
_MOST_ERRORS = 20  # of a body that is not valid


class Problem(Exception):
    """An error response; `more` are further members of its object."""

    def __init__(
        self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None, **more: object
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.headers, self.more = status, code, detail, headers or {}, more


class Json(Response):
    """JSON of any text. Lone surrogates, which undecodable file names contain, are escaped."""

    media_type = "application/json"

    def __init__(
        self,
        content: Mapping[str, object],
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
    ) -> None:
        super().__init__(to_json(content), status_code, headers, media_type)


# The first entry that matches counts. All other errors are for operators.
_PROBLEMS: list[tuple[type[Exception], int, str]] = [
    (pool.Busy, 503, "busy"),
    (pool.LimitExceeded, 422, "took_too_long"),
    (pool.NotStarted, 503, "busy"),
    (pool.Crashed, 422, "unreadable_audio"),
    (errors.AudioTooLong, 413, "too_long"),
    (errors.AudioError, 422, "unreadable_audio"),
    (errors.RecordingNotFound, 404, "recording_not_found"),
    (errors.UnknownMusicNotFound, 404, "unknown_music_not_found"),
    (errors.JobNotFound, 404, "job_not_found"),
    (errors.JobStateError, 409, "wrong_state"),
    (errors.JobError, 400, "refused"),
    (errors.LibraryConflict, 409, "library_refuses"),
    (errors.FetchError, 400, "refused"),
    (errors.MetadataError, 422, "invalid_request"),
    (errors.StationNotFound, 404, "station_not_found"),
    (errors.StationError, 422, "invalid_request"),
]
_HINTS = {
    404: "There is nothing at this address. /docs lists all addresses",
    405: "This address does not support the method. /docs lists all methods",
}


def of(error: Exception) -> Problem:
    """The problem that reports an expected error to any client; raises any other error."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, HTTPException):
        status = error.status_code
        code = http.HTTPStatus(status).phrase.lower().replace(" ", "_")
        return Problem(status, code, _HINTS.get(status, str(error.detail)), error.headers)
    if isinstance(error, RequestValidationError):
        return invalid(error.errors())
    for kind, status, code in _PROBLEMS:
        if isinstance(error, kind):
            headers = {"Retry-After": str(RETRY_SECONDS)} if status == 503 else {}
            return Problem(status, code, sentence(error), headers)
    if isinstance(error, errors.EncoderChanged):
        return Problem(503, "encoder_changed", ENCODER_CHANGED, {"Retry-After": str(UNAVAILABLE_SECONDS)})
    if isinstance(error, errors.LibraryFull) or is_disk_full(error):
        return Problem(507, "disk_full", DISK_FULL, {"Retry-After": str(UNAVAILABLE_SECONDS)})
    if isinstance(error, errors.SongprintError):
        return Problem(503, "unavailable", UNAVAILABLE, {"Retry-After": str(UNAVAILABLE_SECONDS)})
    raise error


def is_disk_full(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def answer(request: Request, error: Exception, *, to_administrator: bool = False) -> Response:
    """The response to an expected error; raises any other error.

    The log gets the message of an error that the response hides. The response to an administrator contains it.
    """
    problem = of(error)
    if problem.code in ("unavailable", "encoder_changed", "disk_full") and not isinstance(error, Problem):
        log.error("request %s: %s", request.scope.get("songprint.request_id", ""), error)
        if to_administrator:
            problem.detail = sentence(error)
    return response(request, problem)


def invalid(found: Sequence[Any]) -> Problem:
    """The problem for errors that pydantic found in a request."""
    wrong = [{"where": ".".join(map(str, each["loc"])) or "body", "what": each["msg"]} for each in found]
    detail = f"{wrong[0]['where']}: {wrong[0]['what']}. See /docs for the expected values"
    return Problem(422, "invalid_request", detail, errors=wrong[:_MOST_ERRORS])


def sentence(error: Exception) -> str:
    """An error's message with a capital letter, unless it begins with a name or a value.

    >>> sentence(ValueError("cannot read a.mp3")), sentence(ValueError("hop=0 must be positive"))
    ('Cannot read a.mp3', 'hop=0 must be positive')
    """
    text = str(error)
    return text[:1].upper() + text[1:] if text.partition(" ")[0].isalpha() else text


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
    return Json(body, problem.status, problem.headers, media_type="application/problem+json")


def unexpected(request: Request, error: Exception) -> Response:
    """The response to a bug, without its message; the log has the traceback."""
    if is_disk_full(error):
        return answer(request, error)
    log.error("request %s failed", request.scope.get("songprint.request_id", ""), exc_info=error)
    detail = "This is a bug in Songprint. Its log has the details under the request_id; please report them"
    return response(request, Problem(500, "internal", detail))


def install(app: FastAPI, is_administrator: Callable[[Request], bool]) -> None:
    """Have the application answer every expected error with its problem."""
    for kind in (Problem, errors.SongprintError, HTTPException, RequestValidationError):
        app.add_exception_handler(
            kind, lambda request, error: answer(request, error, to_administrator=is_administrator(request))
        )
