"""Scaleway TEM as its SDK has it."""

from __future__ import annotations

from typing import Any

from mailer.message import Accepted, Blocked, Deferred, Rejected
from tests.contract.providers.fake import Recorded, Response, Taken
from tests.contract.providers.role import KEY, Role, Row, unknown_keys

_KNOWN = "project_id from to cc bcc subject text html attachments additional_headers"


def said(kind: str, text: str = "said so") -> dict[str, Any]:
    return {"type": kind, "message": text}


def detail(name: str) -> dict[str, Any]:
    return {"details": [{"argument_name": name, "reason": "constraint", "help_message": "must be valid"}]}


def entry(recipient: str, status: str = "sending", **more: Any) -> dict[str, Any]:
    return {"id": f"id-{recipient}", "mail_rcpt": recipient, "status": status, "try_count": 0, **more}


def play(request: Recorded) -> Response:
    if request.headers.get("x-auth-token") != KEY:
        return Response(401, said("denied_authentication"))
    if request.path == "/domains":
        assert request.query == {"project_id": ["11111111-2222"]}
        return Response(200, {"domains": [{"name": "acme.example", "status": "checked"}]})
    if request.path != "/emails":
        return Response(404, said("not_found"))
    body = request.json
    if unknown_keys(body, _KNOWN) or body["project_id"] != "11111111-2222" or not body.get("subject"):
        return Response(400, said("invalid_arguments"))
    if any(len(body[name]) < 10 for name in ("subject", "text", "html") if name in body):
        return Response(400, said("invalid_arguments"))
    if not all(set(one) == {"key", "value"} for one in body.get("additional_headers", ())):
        return Response(400, said("invalid_arguments"))
    people = tuple(one["email"] for name in ("to", "cc", "bcc") for one in body.get(name, ()))
    entries = [entry(one) | {"id": f"{body['subject']}-{one}"} for one in reversed(people)]
    return Response(200, {"emails": entries}, taken=(Taken(body["subject"], people),))


FAILED = entry("r1@example.org", "failed", status_details="cannot")
ROWS = (
    Row("taken", 200, {"emails": [entry("r1@example.org")]}, Accepted, reference="id-r1@example.org"),
    Row("failed", 200, {"emails": [FAILED]}, Rejected),
    Row("canceled", 200, {"emails": [entry("r1@example.org", "canceled")]}, Rejected),
    Row("other-recipient", 200, {"emails": [entry("x@example.org")]}, type(None)),
    Row("bad", 400, said("invalid_arguments", "text: too short"), Rejected),
    Row("to", 400, said("invalid_arguments", "to: invalid"), Rejected, suppress=True),
    Row("to-before", 400, said("invalid_arguments", "invalid recipient"), Rejected, suppress=True),
    Row("to-after", 400, said("invalid_arguments", "recipient is not valid"), Rejected, suppress=True),
    Row("sender", 400, said("invalid_arguments", "sender is unknown"), Blocked),
    Row("used-up", 403, said("permissions_denied", "quota is used up"), Blocked),
    Row("unable", 400, said("invalid_arguments", "unable to read the body from the request"), Rejected),
    Row("to-detail", 400, said("invalid_arguments") | detail("to[0].email"), Rejected, suppress=True),
    Row("cc-detail", 400, said("invalid_arguments") | detail("cc[0].email"), Rejected),
    Row("from-detail", 400, said("invalid_arguments") | detail("from.email"), Blocked),
    Row("from", 400, said("invalid_arguments", "from: domain not checked"), Blocked),
    Row("key", 401, said("denied_authentication"), Blocked),
    Row("permission", 403, said("permissions_denied"), Blocked),
    Row("quota", 403, said("quotas_exceeded"), Blocked),
    Row("project", 404, said("not_found"), Blocked),
    Row("conflict", 409, said("resource_conflict"), Rejected),
    Row("rate", 429, said("too_many_requests"), Deferred, slow_down=True),
    Row("fault", 500, said("internal"), Deferred),
)
ROLE = Role(
    "scaleway",
    "scaleway://{key}@11111111-2222?base={base}",
    play,
    ROWS,
    plain={"subject": "Hello to everybody"},
)
