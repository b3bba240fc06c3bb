"""Postal as its source has it: every answer has status 200."""

from __future__ import annotations

from base64 import b64decode
from email import message_from_bytes
from typing import Any

from mailer.message import Accepted, Blocked, Deferred, Rejected
from tests.contract.providers.fake import Recorded, Response, Taken
from tests.contract.providers.role import KEY, Role, Row


def said(code: str, **more: Any) -> dict[str, Any]:
    return {"status": "error", "time": 0.0, "flags": {}, "data": {"code": code, "message": "no", **more}}


def play(request: Recorded) -> Response:
    if request.headers.get("x-server-api-key") != KEY:
        token = request.headers.get("x-server-api-key", "")
        return Response(200, said("InvalidServerAPIKey", token=token))
    if request.path == "/api/v1/messages/message":
        return Response(200, said("MessageNotFound", id=request.json["id"]))
    body = request.json
    if request.path != "/api/v1/send/raw" or set(body) != {"mail_from", "rcpt_to", "data"}:
        return Response(404)
    mime = b64decode(body["data"], validate=True)
    people = tuple(body["rcpt_to"])
    if b"\r\n\r\n" not in mime:  # what is before it is the header
        return Response(500)
    parsed = message_from_bytes(mime)
    if not parsed["From"].rstrip(">").endswith("@acme.example"):
        return Response(200, said("UnauthenticatedFromAddress"))
    messages = {one: {"id": hash((parsed["Message-ID"], one)), "token": "t"} for one in people}
    done = {"status": "success", "data": {"message_id": "x@rp.acme.example", "messages": messages}}
    return Response(200, done, taken=(Taken(str(parsed["Subject"]), people, mime),))


DONE = {"status": "success", "data": {"message_id": "x", "messages": {"r1@example.org": {"id": 7}}}}
ROWS = (
    Row("taken", 200, DONE, Accepted, reference="7"),
    Row("other-recipient", 200, {"status": "success", "data": {"messages": {}}}, type(None)),
    Row("done-with-500", 500, DONE, Deferred),
    Row("recipients", 200, said("NoRecipients"), Rejected),
    Row("content", 200, said("NoContent"), Rejected),
    Row("too-many", 200, said("TooManyToAddresses"), Rejected),
    Row("from", 200, said("FromAddressMissing"), Rejected),
    Row("attachment", 200, said("AttachmentMissingName"), Rejected),
    Row("unauthenticated", 200, said("UnauthenticatedFromAddress"), Blocked),
    Row("denied", 200, said("AccessDenied"), Blocked),
    Row("key", 200, said("InvalidServerAPIKey", token=KEY), Blocked),
    Row("suspended", 200, said("ServerSuspended"), Blocked),
    Row("parameter", 200, {"status": "parameter-error", "data": {"message": "`data` is missing"}}, Rejected),
    Row("proxy-header", 400, "<html>nginx</html>", Deferred),
    Row("proxy-size", 413, "<html>nginx</html>", Rejected),
    Row("proxy-path", 404, "<html>nginx</html>", Blocked),
    Row("proxy-rate", 429, "<html>nginx</html>", Deferred, slow_down=True),
    Row("proxy", 500, "<html>nginx</html>", Deferred),
    Row("unavailable", 503, "<html>nginx</html>", Deferred),
)
ROLE = Role("postal", "postal://{key}@postal.acme.example?base={base}", play, ROWS, raw=True)
