"""MailerSend as its documentation has it."""

from __future__ import annotations

from typing import Any

from mailer.message import Accepted, Blocked, Deferred, Rejected
from tests.contract.providers.fake import Recorded, Response, Taken
from tests.contract.providers.role import KEY, Role, Row, unknown_keys

_KNOWN = "from to cc bcc reply_to subject text html attachments tags settings headers"


def said(text: str, code: str = "", field: str = "x") -> dict[str, Any]:
    return {"message": text, "errors": {field: [f"{text} #{code}"]} if code else {}}


def play(request: Recorded) -> Response:
    if request.headers.get("authorization") != f"Bearer {KEY}":
        return Response(401, said("Unauthenticated."))
    if request.path == "/domains":
        return Response(200, {"data": [{"name": "acme.example", "is_verified": True}]})
    if request.path != "/email":
        return Response(404, said("not found"))
    body = request.json
    if unknown_keys(body, _KNOWN) or not body.get("from") or not body.get("subject"):
        return Response(422, said("The from.email field is required.", "MS42209"))
    everybody = [one for name in ("from", "to", "cc", "bcc") for one in _list(body.get(name, []))]
    if any(set(";,") & set(one.get("name", "")) for one in everybody):
        return Response(422, said("name", "MS42209"))
    if not 1 <= len(body["to"]) <= 50 or not (body.get("text") or body.get("html")):
        return Response(422, said("to", "MS42208", "to"))
    if max(len(body.get("cc", ())), len(body.get("bcc", ()))) > 10 or len(body.get("tags", ())) > 5:
        return Response(422, said("too many", "MS42209"))
    people = tuple(one["email"] for name in ("to", "cc", "bcc") for one in body.get(name, ()))
    return Response(
        202, "", {"X-Message-Id": body["subject"].encode().hex()}, (Taken(body["subject"], people),)
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def warned(kind: str, email: str) -> dict[str, Any]:
    person = {"email": email, "name": "", "reasons": ["hard_bounced"]}
    return {"message": "warning", "warnings": [{"type": kind, "recipients": [person]}]}


ID = {"X-Message-Id": "ms-1"}
ROWS = (
    Row("taken", 202, "", Accepted, ID, reference="ms-1"),
    Row("all-suppressed", 202, warned("ALL_SUPPRESSED", "r1@example.org"), Rejected, suppress=True),
    Row("all-of-them", 202, warned("ALL_SUPPRESSED", "other@example.org"), Rejected, suppress=True),
    Row("suppressed", 202, warned("SOME_SUPPRESSED", "R1@example.org"), Rejected, ID, suppress=True),
    Row("copy-suppressed", 202, warned("SOME_SUPPRESSED", "c@example.net"), Accepted, ID, reference="ms-1"),
    Row("no-id", 202, "", type(None)),
    Row("bad", 400, said("bad", "MS40001"), Rejected),
    Row("key", 401, said("Unauthenticated."), Blocked),
    Row("suspended", 403, said("suspended", "MS40301"), Blocked),
    Row("not-found", 404, said("not found"), Blocked),
    Row("timeout", 408, "", Deferred),
    Row("maintenance", 421, said("maintenance"), Deferred),
    Row("domain", 422, said("The from.email domain must be verified", "MS42207"), Blocked),
    Row("quota", 422, said("quota", "MS42222"), Blocked),
    Row("limit", 422, said("limit", "MS42204"), Blocked),
    Row("recipient", 422, said("The recipient is not valid", "MS42208", "x"), Rejected, suppress=True),
    Row("trial", 422, said("trial", "MS42225"), Blocked),
    Row("to", 422, said("The to.0.email must be valid", "MS42208", "to.0.email"), Rejected, suppress=True),
    Row("cc", 422, said("The cc.0.email has to be valid", "MS42208", "cc.0.email"), Rejected),
    Row("from", 422, said("The from.email has to be valid", "MS42208", "from.email"), Blocked),
    Row("reply-to", 422, said("The reply_to.email is custom", "MS42208", "reply_to.email"), Rejected),
    Row("twice", 422, said("duplicate recipient", "MS42201"), Rejected),
    Row("size", 422, said("size", "MS42206"), Rejected),
    Row("type", 422, said("file type", "MS42210"), Rejected),
    Row("empty", 422, "", Rejected),
    Row(
        "reset",
        429,
        said("rate", "MS42903"),
        Deferred,
        {"x-ratelimit-reset": "now+3000"},
        False,
        True,
        2900.0,
    ),
    Row("rate", 429, said("rate", "MS42903"), Deferred, {"Retry-After": "11"}, slow_down=True, wait=11.0),
    Row("day", 429, said("daily quota", "MS42901"), Blocked),
    Row("fault", 500, said("server error"), Deferred),
)
ROLE = Role("mailersend", "mailersend://{key}@?base={base}", play, ROWS)
