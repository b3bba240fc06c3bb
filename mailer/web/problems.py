"""What goes wrong, as RFC 9457 problem details: status and fields for a program, a sentence for a person.

No address and no body comes back in it, because clients log what they are told.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import compile_path

from mailer.errors import (
    AccessDenied,
    InputError,
    LedgerError,
    MailerError,
    MissingData,
    RecipientsError,
    SenderRefused,
    StateConflict,
    TemplateError,
    UnknownMessage,
)

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
#: Seconds after which a caller may try again when the ledger or the broker is away.
AGAIN_SECONDS = 5

TITLES = {
    400: "Not understood",
    401: "No valid key",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Too large",
    415: "Wrong content type",
    422: "Not valid",
    429: "Too many",
    500: "Our fault",
    503: "Not available now",
}

#: First match wins. Who hands over a message learns nothing about how we are set up.
_STATUS: tuple[tuple[type[MailerError], int], ...] = (
    (UnknownMessage, 404),
    (SenderRefused, 403),
    (InputError, 422),
    (AccessDenied, 401),
    (StateConflict, 409),
    (LedgerError, 503),
    (MailerError, 503),
)


#: Fields that the sentence for a person speaks of; ``errors`` has all.
MOST_TOLD = 3
_TIME = "must be a time with a zone, such as 2026-12-01T09:00:00Z (in an address, + is written %2B)"
#: By pydantic's own names of what can be wrong.
_SAID = {
    "missing": "is missing",
    "extra_forbidden": "there is no such field",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "dict_type": "must be an object",
    "list_type": "must be a list",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "timezone_aware": _TIME,
    "datetime_parsing": _TIME,
    "datetime_from_date_parsing": _TIME,
    "datetime_type": _TIME,
}


#: What a file is called in a request.
_FILES: tuple[tuple[type[InputError], tuple[str]], ...] = (
    (TemplateError, ("template",)),
    (RecipientsError, ("recipients",)),
)


class Problem(Exception):
    """``fields`` are pairs of a field's name and what is wrong with it."""

    def __init__(
        self,
        status: int,
        detail: str,
        fields: Iterable[tuple[str, str]] = (),
        *,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail
        self.fields = tuple(fields)
        self.headers: dict[str, str] = {}
        if retry_after is not None:
            self.headers["Retry-After"] = str(max(1, round(retry_after + 0.5)))
        if status == 401:
            self.headers["WWW-Authenticate"] = "Bearer"

    def as_json(self) -> dict[str, Any]:
        title = TITLES.get(self.status, "Error")
        about = {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail}
        errors = [{"field": field, "message": message} for field, message in self.fields]
        return about | ({"errors": errors} if errors else {})


def answer(status: int, content: Any, headers: Mapping[str, str] | None = None) -> Response:
    """JSON that nobody may keep."""
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    kind = MEDIA_TYPE if status >= 400 else "application/json"
    return Response(body, status, {"Cache-Control": "no-store", **(headers or {})}, kind)


def respond(problem: Problem) -> Response:
    return answer(problem.status, problem.as_json(), problem.headers)


def of(error: MailerError) -> Problem:
    """What a room below raised."""
    status = next(status for kind, status in _STATUS if isinstance(error, kind))
    if status == 503:
        return unavailable(error, "the message service cannot do this at the moment; nothing was changed")
    if not isinstance(error, InputError):
        return Problem(status, str(error))
    detail = f"{error.message}. {error.hint}" if error.hint else error.message
    return Problem(status, detail, [(field, error.message) for field in _fields(error)])


def unavailable(error: MailerError, detail: str) -> Problem:
    """What it was is for our log alone."""
    log.error("a request failed: %s: %s", type(error).__name__, error)
    return Problem(503, detail, retry_after=AGAIN_SECONDS)


def _fields(error: InputError) -> Sequence[str]:
    if isinstance(error, MissingData):  # or a part of a value that is there
        return [f"data.{name}" for name in error.missing] or ["data"]
    if error.column:
        return [error.column]
    return next((field for kind, field in _FILES if isinstance(error, kind)), ())


def invalid(error: ValidationError | RequestValidationError) -> Problem:
    """What pydantic found. Its input values are left out: they may be addresses."""
    found = [(_place(one["loc"]) or "body", _said(one)) for one in error.errors()]
    if any(one["type"] == "json_invalid" for one in error.errors()):
        return Problem(400, f"this is not JSON: {found[0][1]}")
    return of_fields(found)


def of_fields(wrong: Sequence[tuple[str, str]]) -> Problem:
    """Each field, and what is wrong with it."""
    told = "; ".join(f"{field}: {said}" for field, said in wrong[:MOST_TOLD])
    return Problem(422, told + ("; …" if len(wrong) > MOST_TOLD else ""), wrong)


def _said(one: Mapping[str, Any]) -> str:
    """In our words where pydantic's are about Python."""
    said = str(one["msg"]).removeprefix("Value error, ").removeprefix("Invalid JSON: ")
    return _SAID.get(one["type"], said.replace("Input should be", "must be"))


def _place(loc: Sequence[int | str]) -> str:
    """``attachments[0].content``; what pydantic adds for unions and requests is nobody's field."""
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part not in {"body", "query", "path", "header", "form"} and "[" not in part:
            text += f".{part}" if text else part
    return text


def install(api: FastAPI) -> None:
    """Every error of this application is a problem document."""
    api.exception_handler(Problem)(_problem)
    api.exception_handler(MailerError)(_raised)
    api.exception_handler(RequestValidationError)(_refused)
    api.exception_handler(HTTPException)(_http)
    api.exception_handler(ClientDisconnect)(_gone)
    api.exception_handler(Exception)(_unforeseen)


async def _problem(_: Request, error: Any) -> Response:
    return respond(error)


async def _raised(_: Request, error: Any) -> Response:
    return respond(of(error))


async def _refused(_: Request, error: Any) -> Response:
    return respond(invalid(error))


async def _gone(_: Request, error: Any) -> Response:
    """Whoever sent half a request is not there to read this; and it is no fault of ours, with a traceback."""
    return respond(Problem(400, "the request was cut short; nothing was changed"))


async def _http(request: Request, error: Any) -> Response:
    headers = dict(error.headers or {})
    detail = str(error.detail)
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_allowed(request)) or headers.get("Allow", "")
        detail = f"only this is understood here: {headers['Allow']}"
    elif detail == HTTPStatus(404).phrase:
        detail = "there is nothing at this address; /openapi.json lists what there is"
    problem = Problem(error.status_code, detail)
    problem.headers.update(headers)
    return respond(problem)


def _allowed(request: Request) -> list[str]:
    """What this path understands: the router names only the methods of the first route that fits."""
    paths = request.app.openapi()["paths"]
    found = {way.upper() for path, ways in paths.items() if _fits(path, request.url.path) for way in ways}
    return sorted(found)


def _fits(template: str, path: str) -> bool:
    return compile_path(template)[0].match(path) is not None


async def _unforeseen(_: Request, error: Exception) -> Response:
    return respond(Problem(500, "this should not have happened; nothing was promised"))
