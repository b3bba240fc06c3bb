"""Nylas v3 as its OpenAPI document has it."""

from __future__ import annotations

from email import message_from_bytes
from email.utils import getaddresses
from typing import Any

from mailer.message import Accepted, Blocked, Deferred, Rejected, Unknown
from tests.contract.providers.fake import Recorded, Response, Taken
from tests.contract.providers.role import KEY, Role, Row
from tests.contract.providers.roles.mailgun import form

_GRANT = "/v3/grants/8ab0e9c1-77"


def said(kind: str, text: str = "said so", **more: Any) -> dict[str, Any]:
    return {"request_id": "r", "error": {"type": kind, "message": text, **more}}


def play(request: Recorded) -> Response:
    if request.headers.get("authorization") != f"Bearer {KEY}":
        return Response(401, said("unauthorized"))
    if request.path == _GRANT:
        return Response(200, {"data": {"provider": "google", "grant_status": "valid"}})
    if request.path != f"{_GRANT}/messages/send" or request.query != {"type": ["mime"]}:
        return Response(404, said("not_found_error"))
    assert 1 <= len(request.headers.get("idempotency-key", "x")) <= 256
    ((name, mime),) = form(request)
    parsed = message_from_bytes(mime)
    people = tuple(addr for _, addr in getaddresses([*parsed.get_all("To", []), *parsed.get_all("Cc", [])]))
    if name != "mime" or not people:
        return Response(400, said("invalid_request_error"))
    done = {"request_id": "r", "grant_id": "g", "data": {"id": f"{parsed['Message-ID']}"}}
    return Response(200, done, taken=(Taken(str(parsed["Subject"]), people, mime),))


ROWS = (
    Row("taken", 200, {"data": {"id": "ny-1", "thread_id": "t"}}, Accepted, reference="ny-1"),
    Row("bad", 400, said("invalid_request_error"), Rejected),
    Row("bad-key", 400, said("api.invalid_idempotency_key"), Rejected),
    Row("key", 401, said("unauthorized"), Blocked),
    Row("scope", 403, said("insufficient_scopes"), Blocked),
    Row("grant", 404, said("not_found_error"), Blocked),
    Row("other-body", 409, said("api.invalid_idempotent_request"), Rejected),
    Row("concurrent", 409, said("api.concurrent_idempotent_request"), Deferred),
    Row(
        "rate",
        429,
        said("rate_limit_error"),
        Deferred,
        headers={"Retry-After": "9"},
        slow_down=True,
        wait=9.0,
    ),
    Row(
        "kept",
        429,
        said("rate_limit_error"),
        Deferred,
        headers={"Retry-After": "9", "Idempotent-Response": "true"},
        slow_down=True,
        wait=3600.0,
    ),
    Row("fault", 500, said("api.internal_error"), Deferred, wait=3600.0),
    Row("unavailable", 503, said("provider_error"), Deferred, wait=3600.0),
    Row("timeout", 504, said("provider_error", provider_error={"message": "timeout"}), Unknown),
    Row("address", 750, said("provider_error", provider_error="recipient address rejected"), Rejected),
    Row("address-500", 500, said("provider_error", "address not found"), Rejected),
    Row("mailbox", 750, said("provider_error"), Deferred, wait=3600.0),
)
ROLE = Role("nylas", "nylas://{key}@8ab0e9c1-77?base={base}", play, ROWS, raw=True)
