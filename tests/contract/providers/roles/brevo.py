"""Brevo as its SDK and documentation have it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from mailer.message import Accepted, Blocked, Deferred, Rejected, Unknown
from tests.contract.providers.fake import Recorded, Response, Taken
from tests.contract.providers.role import KEY, Role, Row, unknown_keys

_KNOWN = "sender to cc bcc replyTo subject htmlContent textContent headers attachment tags"


def said(code: str, text: str = "said so") -> dict[str, Any]:
    return {"code": code, "message": text}


def play(request: Recorded) -> Response:
    if request.headers.get("api-key") != KEY:
        return Response(401, said("unauthorized", "Key not found"))
    if request.path == "/senders/domains":
        domain = {"domain_name": "acme.example", "authenticated": True, "verified": True}
        return Response(200, {"domains": [domain]})
    if request.path != "/smtp/email":
        return Response(404, said("document_not_found"))
    body = request.json
    for name in ("sender", "to", "subject", "htmlContent"):
        if not body.get(name):
            return Response(400, said("missing_parameter", f"{name} is missing"))
    headers = body.get("headers", {})
    if unknown_keys(body, _KNOWN) or not "".join(headers.values()).isascii():
        return Response(400, said("invalid_parameter", "unknown"))
    if "idempotencyKey" in headers:
        UUID(headers["idempotencyKey"])
    people = tuple(one["email"] for name in ("to", "cc", "bcc") for one in body.get(name, ()))
    identity = f"<{body['subject']}@smtp-relay.mailin.fr>"
    return Response(201, {"messageId": identity}, taken=(Taken(body["subject"], people),))


ROWS = (
    Row("taken", 201, {"messageId": "<1@mailin.fr>"}, Accepted, reference="<1@mailin.fr>"),
    Row("no-id", 201, {}, type(None)),
    Row("invalid", 400, said("invalid_parameter", "subject is too long"), Rejected),
    Row("to", 400, said("invalid_parameter", "email is not valid in to"), Rejected, suppress=True),
    Row(
        "named",
        400,
        said("invalid_parameter", "email sender@x.y is not valid in to"),
        Rejected,
        suppress=True,
    ),
    Row("name", 400, said("invalid_parameter", "name is not valid in to"), Rejected),
    Row("cc", 400, said("invalid_parameter", "email is not valid in cc"), Rejected),
    Row("words", 400, said("invalid_parameter", "scheduledAt has to be a valid date"), Rejected),
    Row("sender", 400, said("invalid_parameter", "sender is not valid"), Blocked),
    Row("missing", 400, said("missing_parameter", "htmlContent is missing"), Rejected),
    Row("range", 400, said("out_of_range"), Rejected),
    Row("repeated", 400, said("duplicate_request", "idempotency key was used"), Unknown),
    Row("duplicate", 400, said("invalid_request", "Duplicate request"), Unknown),
    Row("recipient", 400, said("invalid_parameter", "recipient is not valid"), Rejected, suppress=True),
    Row("key", 401, said("unauthorized", "Key not found"), Blocked),
    Row("credits", 402, said("not_enough_credits"), Blocked),
    Row("permission", 403, said("permission_denied"), Blocked),
    Row("not-found", 404, said("document_not_found"), Blocked),
    Row("method", 405, said("method_not_allowed"), Blocked),
    Row("not-acceptable", 406, said("not_acceptable"), Rejected),
    Row("rate", 429, said("too_many_requests"), Deferred, {"x-sib-ratelimit-reset": "5"}, False, True, 5.0),
    Row("until", 429, said("rate"), Deferred, {"x-sib-ratelimit-reset": "now+3000"}, False, True, 2900.0),
    Row("fault", 500, said("internal_error"), Deferred),
)
ROLE = Role(
    "brevo",
    "brevo://{key}@?base={base}",
    play,
    ROWS,
    sandbox="sandbox=true",
    is_sandboxed=lambda request: request.json["headers"]["X-Sib-Sandbox"] == "drop",
    html_only=True,
)
