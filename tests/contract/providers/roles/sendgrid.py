"""SendGrid as its OpenAPI document has it."""

from __future__ import annotations

from typing import Any

from mailer.message import Accepted, Blocked, Deferred, Rejected
from tests.contract.providers.fake import Recorded, Response, Taken
from tests.contract.providers.role import KEY, Role, Row, unknown_keys

_KNOWN = (
    "from personalizations content reply_to_list attachments categories ip_pool_name mail_settings "
    "tracking_settings subject reply_to"
)


def said(text: str, field: str | None = None) -> dict[str, Any]:
    return {"errors": [{"message": text, "field": field, "help": None}]}


_TOLD: dict[str, Any] = {
    "/v3/whitelabel/domains": [{"domain": "acme.example", "valid": True}],
    "/v3/scopes": {"scopes": ["mail.send"]},
}


def play(request: Recorded) -> Response:
    if request.headers.get("authorization") != f"Bearer {KEY}":
        return Response(401, said("The provided authorization grant is invalid, expired, or revoked"))
    if request.path in _TOLD:
        return Response(200, _TOLD[request.path])
    if request.path != "/v3/mail/send":
        return Response(404, said("not found"))
    body = request.json
    people = [
        one["email"]
        for each in body["personalizations"]
        for name in ("to", "cc", "bcc")
        for one in each.get(name, ())
    ]
    if len(people) != len(set(people)):
        return Response(400, said("Each email address should be unique.", "personalizations"))
    if unknown_keys(body, _KNOWN) or not 1 <= len(body["personalizations"]) <= 1000:
        return Response(400, said("bad", "personalizations"))
    if not all(each.get("to") and each.get("subject") for each in body["personalizations"]):
        return Response(400, said("The subject is required.", "subject"))
    kinds = [part["type"] for part in body["content"]]
    if kinds not in (["text/plain"], ["text/html"], ["text/plain", "text/html"]):
        return Response(400, said("If present, text/plain must be first", "content"))
    if any(one.startswith("bad") for one in people):
        return Response(400, said("Does not contain a valid address.", "personalizations.0.to.0.email"))
    taken = tuple(
        Taken(
            each["subject"],
            tuple(one["email"] for name in ("to", "cc", "bcc") for one in each.get(name, ())),
        )
        for each in body["personalizations"]
    )
    sandboxed = body.get("mail_settings", {}).get("sandbox_mode", {}).get("enable") is True
    if sandboxed:
        return Response(200, "", taken=taken)
    return Response(202, "", {"X-Message-Id": f"sg-{len(people)}"}, taken)


SOON = {"X-RateLimit-Reset": "now+3000"}
BAD_TO = said("Does not contain a valid address.", "personalizations.0.to.0.email")
ROWS = (
    Row("taken", 202, "", Accepted, headers={"X-Message-Id": "sg-1"}, reference="sg-1"),
    Row("bad-to", 400, BAD_TO, Rejected, suppress=True),
    Row("bad-to-word", 400, said("Invalid email", "personalizations.0.to.0.email"), Rejected, suppress=True),
    Row("bad-to-other", 400, said("No such address", "personalizations.0.to.0"), Rejected, suppress=True),
    Row("no-to", 400, said("The to array is required", "personalizations.0.to"), Rejected),
    Row("bad-cc", 400, said("Does not contain a valid address.", "personalizations.0.cc.0.email"), Rejected),
    Row("bad-from-email", 400, said("Does not contain a valid address.", "from.email"), Blocked),
    Row("bad-from", 400, said("The from address does not match a verified Sender", "from"), Blocked),
    Row("bad-content", 400, said("The content value must be a string", "content.0.value"), Rejected),
    Row("no-field", 400, said("Bad Request"), Rejected),
    Row("key", 401, said("authorization required"), Blocked),
    Row("credits", 401, said("Maximum credits exceeded"), Blocked),
    Row("unverified", 403, said("does not match a verified Sender Identity", "from"), Blocked),
    Row("blocked", 403, said("access forbidden"), Blocked),
    Row("not-found", 404, said("not found"), Blocked),
    Row("method", 405, said("method not allowed"), Blocked),
    Row("too-large", 413, said("payload too large"), Rejected),
    Row("rate", 429, said("too many requests"), Deferred, headers=SOON, slow_down=True, wait=2900.0),
    Row("fault", 500, said("internal"), Deferred),
    Row("unavailable", 503, "", Deferred),
)
ROLE = Role(
    "sendgrid",
    "sendgrid://{key}@?base={base}",
    play,
    ROWS,
    sandbox="sandbox=true",
    is_sandboxed=lambda request: request.json["mail_settings"]["sandbox_mode"]["enable"] is True,
    ids=False,
)
