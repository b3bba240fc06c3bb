"""SparkPost as its API documentation has it."""

from __future__ import annotations

import re
from email import message_from_string
from typing import Any

from mailer.message import Accepted, Blocked, Deferred, Rejected, Unknown
from tests.contract.providers.fake import Recorded, Response, Taken
from tests.contract.providers.role import KEY, Role, Row, unknown_keys

_KNOWN = "recipients content options metadata campaign_id return_path"


def said(code: str, text: str = "said so") -> dict[str, Any]:
    return {"errors": [{"message": text, "description": "more", "code": code}]}


def done(accepted: int, rejected: int) -> dict[str, Any]:
    counts = {"total_accepted_recipients": accepted, "total_rejected_recipients": rejected}
    return {"results": {**counts, "id": "sp-1"}}


def play(request: Recorded) -> Response:
    if request.headers.get("authorization") != KEY:
        return Response(401, said("", "Unauthorized."))
    if request.path == "/sending-domains":
        return Response(
            200, {"results": [{"domain": "acme.example", "status": {"ownership_verified": True}}]}
        )
    if request.path != "/transmissions":
        return Response(404, said("1600"))
    body = request.json
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,255}", request.headers.get("idempotency-key", "x")):
        return Response(400, said("1400"))
    if unknown_keys(body, _KNOWN) or set(body["content"]) != {"email_rfc822"} or not body["recipients"]:
        return Response(422, said("1300", "invalid data format/type"))
    assert body["options"]["perform_substitutions"] is False
    people = tuple(one["address"]["email"] for one in body["recipients"])
    mime = body["content"]["email_rfc822"]
    parsed = message_from_string(mime)
    results = {**done(len(people), 0)["results"], "id": f"{parsed['Message-ID']}"}
    return Response(200, {"results": results}, taken=(Taken(str(parsed["Subject"]), people, mime.encode()),))


ROWS = (
    Row("taken", 200, done(1, 0), Accepted, reference="sp-1"),
    Row("refused", 200, done(0, 1), Rejected, suppress=True),
    Row("mixed", 200, done(1, 1), Unknown),
    Row("domain", 400, said("7001", "Invalid domain"), Blocked),
    Row("bad", 400, said("1100"), Rejected),
    Row("key", 401, said("", "Unauthorized."), Blocked),
    Row("forbidden", 403, said("", "Forbidden."), Blocked),
    Row("not-found", 404, said("1600"), Blocked),
    Row("other-body", 409, said("1600"), Rejected),
    Row("concurrent", 409, said("1601"), Deferred),
    Row("too-large", 413, said(""), Rejected),
    Row("media", 415, said(""), Rejected),
    Row("limit", 420, said("2101", "sending limit exceeded"), Blocked),
    Row("address", 422, said("1300", "invalid recipient address"), Rejected, suppress=True),
    Row("domain-1603", 400, said("1603"), Blocked),
    Row("recipient", 422, said("1400", "invalid recipient"), Rejected, suppress=True),
    Row("nobody", 400, said("5002", "At least one valid recipient is required"), Rejected, suppress=True),
    Row("header", 422, said("1300", "Error validating domain name syntax for header address"), Rejected),
    Row("message", 422, said("2000", "limits exceeded"), Rejected),
    Row("rate", 429, said("", "Too many requests"), Deferred, slow_down=True),
    Row("fault", 500, said(""), Deferred),
)
ROLE = Role(
    "sparkpost",
    "sparkpost://{key}@?base={base}",
    play,
    ROWS,
    sandbox="sandbox=true",
    is_sandboxed=lambda request: request.json["options"]["sandbox"] is True,
)
