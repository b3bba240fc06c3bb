"""Postmark as its documentation has it."""

from __future__ import annotations

from typing import Any

from mailer.message import Accepted, Blocked, Deferred, Rejected
from tests.contract.providers.fake import Recorded, Response, Taken
from tests.contract.providers.role import KEY, Role, Row, unknown_keys

_KNOWN = (
    "From To Cc Bcc ReplyTo Subject TextBody HtmlBody Headers Attachments Metadata MessageStream Tag "
    "TrackOpens TrackLinks"
)


def play(request: Recorded) -> Response:
    if request.path == "/domains":
        return _domains(request)
    for_tests = {"POSTMARK_API_TEST"} if request.method == "POST" else set()
    if request.headers.get("x-postmark-server-token") not in {KEY, *for_tests}:
        return Response(401, {"ErrorCode": 10, "Message": "Bad or missing server API token."})
    if request.path == "/server":
        return Response(200, {"Name": "Acme", "DeliveryType": "Live"})
    if request.path != "/email/batch":
        return Response(404)
    if request.headers.get("content-type") != "application/json":
        return Response(415)
    if len(request.json) > 500:
        return Response(422, {"ErrorCode": 410, "Message": "Too many batch messages."})
    answers = [_one(message, number) for number, message in enumerate(request.json)]
    taken = tuple(taken for _, taken in answers if taken)
    return Response(200, [answer for answer, _ in answers], taken=taken)


def _domains(request: Recorded) -> Response:
    """A server token is not the account's."""
    if request.headers.get("x-postmark-account-token") != "account-token-1":
        return Response(401, {"ErrorCode": 10, "Message": "Bad or missing Account API token."})
    domain = {"ID": 1, "Name": "acme.example", "SPFVerified": True, "DKIMVerified": False}
    return Response(200, {"TotalCount": 1, "Domains": [domain]})


def _one(message: dict[str, Any], number: int) -> tuple[dict[str, Any], Taken | None]:
    to = [one for name in ("To", "Cc", "Bcc") for one in message.get(name, "").split(", ") if one]
    if unknown := unknown_keys(message, _KNOWN):
        return {"ErrorCode": 403, "Message": f"unknown {unknown}"}, None
    for name in ("From", "To", "Subject"):
        if not message.get(name):
            return {"ErrorCode": 300, "Message": f"Zero {name}."}, None
    if not message.get("TextBody") and not message.get("HtmlBody"):
        return {"ErrorCode": 300, "Message": "Provide either email TextBody or HtmlBody or both."}, None
    assert all(isinstance(value, str) for value in message.get("Metadata", {}).values())
    identity = f"{message['Subject']}-{number}"
    done = {"ErrorCode": 0, "Message": "OK", "MessageID": identity, "To": message["To"]}
    return done, Taken(message["Subject"], tuple(to))


def item(code: int, text: str, **more: Any) -> list[dict[str, Any]]:
    return [{"ErrorCode": code, "Message": text, **more}]


def whole(code: int, text: str) -> dict[str, Any]:
    return {"ErrorCode": code, "Message": text}


INACTIVE = "will not deliver to the following inactive addresses: r1@example.org. Inactive recipients are"
ELSEWHERE = "will not deliver to the following inactive addresses: c@example.org. Inactive recipients are"
ROWS = (
    Row("taken", 200, item(0, "OK", MessageID="pm-1"), Accepted, reference="pm-1"),
    Row("delayed", 200, [{"Message": "may be delayed", "MessageID": "pm-2"}], Accepted, reference="pm-2"),
    Row("inactive", 200, item(0, f"Message OK, but {INACTIVE}", MessageID="x"), Rejected, suppress=True),
    Row("copy-inactive", 200, item(0, f"Message OK, but {ELSEWHERE}", MessageID="x"), Accepted),
    Row("maintenance", 200, item(100, "Maintenance"), Deferred),
    Row("bad-to", 200, item(300, "Invalid 'To' address: 'x@'."), Rejected, suppress=True),
    Row("bad-from", 200, item(300, "Invalid 'From' address: 'x@'."), Blocked),
    Row("bad-to-sender", 200, item(300, "Error parsing 'To': Illegal 'sender@x'."), Rejected, suppress=True),
    Row("bad-copy", 200, item(300, "Error parsing 'Cc': Illegal email domain 'x'."), Rejected),
    Row("bad-reply-to", 200, item(300, "Invalid 'ReplyTo' address: 'x'. Illegal syntax"), Rejected),
    Row("bad-header", 200, item(300, "Illegal syntax in the name of a header."), Rejected),
    Row("bad-sender", 200, item(300, "The sender is not valid."), Blocked),
    Row("no-body", 200, item(300, "Provide either email TextBody or HtmlBody or both."), Rejected),
    Row("no-signature", 200, item(400, "Sender signature not found"), Blocked),
    Row("unconfirmed", 200, item(401, "Sender signature not confirmed"), Blocked),
    Row("bad-json", 422, whole(402, "Invalid JSON"), Rejected),
    Row("bad-field", 422, whole(403, "Incompatible JSON"), Rejected),
    Row("no-credits", 200, item(405, "Not allowed to send: out of credits"), Blocked),
    Row("all-inactive", 200, item(406, "Found inactive addresses: r1@example.org."), Rejected, suppress=True),
    Row("not-json", 422, whole(409, "JSON required"), Rejected),
    Row("too-many", 422, whole(410, "Too many batch messages"), Rejected),
    Row("forbidden-type", 200, item(411, "Forbidden attachment type"), Rejected),
    Row("pending", 200, item(412, "Account is pending"), Blocked),
    Row("may-not", 200, item(413, "Account may not send"), Blocked),
    Row("template", 200, item(1101, "The Template's 'Alias' associated is not valid"), Blocked),
    Row("several", 200, item(11, "Multiple errors", Errors=item(401, "not confirmed")), Blocked),
    Row("several-unnamed", 200, item(11, "Multiple errors"), Rejected),
    Row("stream-unknown", 200, item(1226, "The stream does not exist"), Blocked),
    Row("stream-cannot", 200, item(1236, "The stream cannot send"), Blocked),
    Row("rate", 429, "", Deferred, slow_down=True),
    Row("rate-with-code", 429, whole(429, "Rate limit exceeded"), Deferred, slow_down=True),
    Row("fault-with-code", 500, whole(500, "Internal Server Error"), Deferred),
    Row("fault", 500, "", Deferred),
    Row("unavailable", 503, "", Deferred),
    Row("stream", 200, item(1235, "The stream does not exist"), Blocked),
    Row("token", 401, whole(10, "Bad or missing token"), Blocked),
    Row("too-large", 413, "", Rejected),
    Row("media-type", 415, "", Rejected),
)
ROLE = Role(
    "postmark",
    "postmark://{key}@?base={base}",
    play,
    ROWS,
    sandbox="sandbox=true",
    is_sandboxed=lambda request: request.headers["x-postmark-server-token"] == "POSTMARK_API_TEST",
)
