"""Resend as its documentation has it."""

from __future__ import annotations

from typing import Any

from mailer.message import Accepted, Blocked, Deferred, Rejected
from tests.contract.providers.fake import Recorded, Response, Taken
from tests.contract.providers.role import KEY, Role, Row, unknown_keys

_KNOWN = "from to cc bcc reply_to subject html text headers attachments tags"


def error(status: int, name: str, text: str = "said so") -> Response:
    return Response(status, {"statusCode": status, "name": name, "message": text})


def play(request: Recorded) -> Response:
    if not request.headers.get("user-agent", "").startswith("mailer-worker/"):
        return Response(403, "error code: 1010")
    if request.headers.get("authorization") != f"Bearer {KEY}":
        return error(403, "invalid_api_key")
    if request.path == "/domains":
        return Response(200, {"data": [{"name": "acme.example", "status": "verified"}]})
    if not 1 <= len(request.headers.get("idempotency-key", "x")) <= 256:
        return error(400, "invalid_idempotency_key")
    if request.path == "/emails":
        wrong, taken = _one(request.json)
        return wrong or Response(200, {"id": f"id-{taken.subject}"}, taken=(taken,))
    if request.path != "/emails/batch" or not 1 <= len(request.json) <= 100:
        return error(422, "invalid_parameter")
    assert request.headers["x-batch-validation"] == "permissive"
    results = [_one(message) for message in request.json]
    wrong = [
        {"index": index, "message": bad.body["message"]} for index, (bad, _) in enumerate(results) if bad
    ]
    if any("attachments" in message for message in request.json):
        return error(422, "invalid_attachment")
    taken = tuple(taken for bad, taken in results if not bad)
    body = {"data": [{"id": f"id-{one.subject}"} for one in taken]}
    return Response(200, body | ({"errors": wrong} if wrong else {}), taken=taken)


def _one(message: dict[str, Any]) -> tuple[Response | None, Taken]:
    people = [*message.get("to", ()), *message.get("cc", ()), *message.get("bcc", ())]
    taken = Taken(message.get("subject", ""), tuple(people))
    if unknown_keys(message, _KNOWN) or not message.get("from") or not message.get("subject"):
        return error(422, "missing_required_field"), taken
    if not 1 <= len(message["to"]) <= 50 or not (message.get("html") or message.get("text")):
        return error(422, "validation_error", "Invalid `to` field."), taken
    if any(not one.get("filename") for one in message.get("attachments", ())):
        return error(422, "invalid_attachment"), taken
    return None, taken


def said(name: str, text: str = "said so") -> dict[str, Any]:
    return {"statusCode": 0, "name": name, "message": text}


ROWS = (
    Row("taken", 200, {"id": "re-1"}, Accepted, reference="re-1"),
    Row("no-id", 200, {"object": "email"}, type(None)),
    Row("invalid", 400, said("validation_error"), Rejected),
    Row("bad-to", 422, said("validation_error", "Invalid `to` field."), Rejected, suppress=True),
    Row("bad-cc", 422, said("validation_error", "Invalid `cc` field. Write to@acme.example."), Rejected),
    Row("bad-from", 422, said("validation_error", "Invalid `from` field."), Blocked),
    Row("unverified", 422, said("validation_error", "The acme.example domain is not verified."), Blocked),
    Row("own", 422, said("validation_error", "You can only send to your own email address."), Blocked),
    Row("bad-key", 400, said("invalid_idempotency_key"), Rejected),
    Row("missing-key", 401, said("missing_api_key"), Blocked),
    Row("restricted-key", 401, said("restricted_api_key"), Blocked),
    Row("invalid-key", 403, said("invalid_api_key"), Blocked),
    Row("suspended-key", 403, said("suspended_api_key"), Blocked),
    Row("permission", 403, said("invalid_permission"), Blocked),
    Row("domain", 403, said("validation_error", "The domain is not verified."), Blocked),
    Row("above-quota", 403, said("email_above_quota"), Blocked),
    Row("not-found", 404, said("not_found"), Blocked),
    Row("method", 405, said("method_not_allowed"), Blocked),
    Row("other-body", 409, said("invalid_idempotent_request"), Rejected),
    Row("concurrent", 409, said("concurrent_idempotent_requests"), Deferred),
    Row("locked", 409, said("resource_locked"), Deferred),
    Row("missing-field", 422, said("missing_required_field"), Rejected),
    Row("parameter", 422, said("invalid_parameter"), Rejected),
    Row("attachment", 422, said("invalid_attachment"), Rejected),
    Row("from", 422, said("invalid_from_address"), Blocked),
    Row("access", 422, said("invalid_access"), Blocked),
    Row("region", 422, said("invalid_region"), Blocked),
    Row(
        "rate",
        429,
        said("rate_limit_exceeded"),
        Deferred,
        headers={"ratelimit-reset": "3"},
        slow_down=True,
        wait=3.0,
    ),
    Row("daily", 429, said("daily_quota_exceeded"), Blocked),
    Row("monthly", 429, said("monthly_quota_exceeded"), Blocked),
    Row("application", 500, said("application_error"), Deferred),
    Row("unavailable", 503, said("service_unavailable"), Deferred),
)
ROLE = Role(
    "resend",
    "resend://{key}@?base={base}",
    play,
    ROWS,
    sandbox="sandbox=true&batch=1",
    is_sandboxed=lambda request: (
        {key: request.json.get(key) for key in ("to", "cc", "bcc")}
        == {"to": ["delivered@resend.dev"], "cc": None, "bcc": None}
    ),
)
