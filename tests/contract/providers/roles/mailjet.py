"""Mailjet's Send API v3.1 as its documentation has it."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from mailer.message import Accepted, Blocked, Deferred, Rejected
from tests.contract.providers.fake import Recorded, Response, Taken
from tests.contract.providers.role import KEY, Role, Row, unknown_keys

_KNOWN = (
    "From To Cc Bcc ReplyTo Subject TextPart HTMLPart Headers Attachments InlinedAttachments CustomID "
    "CustomCampaign EventPayload TrackOpens TrackClicks"
)
_LOGIN = f"Basic {b64encode(f'{KEY}:secret-0123456789'.encode()).decode()}"


def whole(status: int, code: str, text: str = "said so") -> dict[str, Any]:
    return {"ErrorIdentifier": "x", "ErrorCode": code, "StatusCode": status, "ErrorMessage": text}


def item(status: int, code: str, text: str = "said so", related: str = "To[0].Email") -> dict[str, Any]:
    error = {**whole(status, code, text), "ErrorRelatedTo": [related]}
    return {"Messages": [{"Status": "error", "Errors": [error]}]}


def play(request: Recorded) -> Response:
    if request.headers.get("authorization") != _LOGIN:
        return Response(401, whole(401, "mj-0001", "API key authentication/authorization failure."))
    if request.path == "/v3/REST/sender":
        return Response(200, {"Data": [{"Email": "*@acme.example", "Status": "Active"}]})
    if request.path != "/v3.1/send":
        return Response(404, whole(404, "mj-0000"))
    messages = request.json["Messages"]
    if not 1 <= len(messages) <= 50:
        return Response(400, whole(400, "mj-0005"))
    results, taken = [], []
    for message in messages:
        if unknown_keys(message, _KNOWN) or not message.get("From") or not message.get("Subject"):
            results += item(400, "send-0003")["Messages"]
            continue
        people = [one["Email"] for name in ("To", "Cc", "Bcc") for one in message.get(name, ())]
        taken.append(Taken(message["Subject"], tuple(people)))
        number = int.from_bytes(message["CustomID"].encode()[:24][-7:], "big") + 2**56
        results.append({"Status": "success", "To": [{"Email": one, "MessageID": number} for one in people]})
    return Response(200, {"Messages": results}, taken=tuple(taken))


DONE = {"Messages": [{"Status": "success", "To": [{"Email": "r1@example.org", "MessageID": 2**60}]}]}
ROWS = (
    Row("taken", 200, DONE, Accepted, reference=str(2**60)),
    Row("taken-with-400", 400, DONE, Accepted, reference=str(2**60)),
    Row("wrong-count", 200, {"Messages": []}, type(None)),
    Row("bad-to", 400, item(400, "mj-0013", "is an invalid email address."), Rejected, suppress=True),
    Row("bad-cc", 400, item(400, "mj-0013", "is an invalid email address.", "Cc[0].Email"), Rejected),
    Row("bad-from", 400, item(400, "mj-0013", "is invalid.", "From.Email"), Blocked),
    Row("sender", 403, item(403, "send-0008", "not validated"), Blocked),
    Row("item", 400, item(400, "mj-0004"), Rejected),
    Row("text-missing", 400, item(400, "send-0003"), Rejected),
    Row("item-fault", 500, item(500, "mj-0009"), Deferred),
    Row("suspended", 401, whole(401, "mj-0001"), Blocked),
    Row("key", 401, whole(401, "mj-0015"), Blocked),
    Row("key-suspended", 403, whole(403, "mj-0015"), Blocked),
    Row("unknown-key", 400, whole(400, "mj-0001"), Blocked),
    Row("global", 400, whole(400, "mj-0002"), Rejected),
    Row("rate", 429, whole(429, ""), Deferred, slow_down=True),
    Row("fault", 500, whole(500, ""), Deferred),
)
ROLE = Role(
    "mailjet",
    "mailjet://{key}:secret-0123456789@?base={base}",
    play,
    ROWS,
    sandbox="sandbox=true",
    is_sandboxed=lambda request: request.json["SandboxMode"] is True,
)
