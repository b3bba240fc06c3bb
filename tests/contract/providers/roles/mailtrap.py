"""Mailtrap as its OpenAPI document has it."""

from __future__ import annotations

from typing import Any

from mailer.message import Accepted, Blocked, Deferred, Rejected
from tests.contract.providers.fake import Recorded, Response, Taken
from tests.contract.providers.role import KEY, Role, Row, unknown_keys

_KNOWN = "from to cc bcc reply_to subject text html headers attachments category custom_variables"


def play(request: Recorded) -> Response:
    if KEY not in {request.headers.get("api-token"), request.headers.get("authorization", "")[7:]}:
        return Response(401, {"error": "Unauthorized"})
    if request.path == "/api/accounts":
        return Response(200, [{"id": 26730, "name": "Acme", "access_levels": [1000]}])
    if request.path == "/api/accounts/26730/sending_domains":
        domain = {"id": 1, "domain_name": "acme.example", "dns_verified": True, "demo": False}
        return Response(200, {"data": [domain]})
    if request.path.startswith("/api/send"):
        return Response(400, {"success": False, "errors": ["'from' is missing"]})
    if request.path not in {"/api/batch", "/api/batch/77"}:
        return Response(404, {"error": "Not found"})
    if not {"from", "subject"} <= set(request.json["base"]) or not 1 <= len(request.json["requests"]) <= 500:
        return Response(400, {"success": False, "errors": ["bad batch"]})
    answers = [_one(message) for message in request.json["requests"]]
    taken = tuple(taken for _, taken in answers if taken)
    return Response(200, {"success": True, "responses": [one for one, _ in answers]}, taken=taken)


def _one(message: dict[str, Any]) -> tuple[dict[str, Any], Taken | None]:
    people = [one["email"] for name in ("to", "cc", "bcc") for one in message.get(name, ())]
    wrong = [f"unknown field {name}" for name in unknown_keys(message, _KNOWN)]
    wrong += [f"'{name}' is missing" for name in ("from", "subject") if not message.get(name)]
    if not message.get("text") and not message.get("html"):
        wrong.append("'text' or 'html' is missing")
    if not all(isinstance(value, str) for value in message.get("headers", {}).values()):
        wrong.append("header values must be strings")
    if not all(file.get("filename") for file in message.get("attachments", ())):
        wrong.append("'attachments' need a filename")
    if wrong or not people:
        return {"success": False, "errors": wrong or ["no recipient"]}, None
    ids = [f"{message['subject']}-{one}" for one in people]
    return {"success": True, "message_ids": ids}, Taken(message["subject"], tuple(people))


def item(text: str) -> dict[str, Any]:
    return {"success": True, "responses": [{"success": False, "errors": [text]}]}


def whole(text: str) -> dict[str, Any]:
    return {"success": False, "errors": [text]}


DONE = {"success": True, "responses": [{"success": True, "message_ids": ["mt-1"]}]}
COUNT = {"success": True, "responses": []}
IDS = {"success": True, "responses": [{"success": True, "message_ids": ["mt-1", "mt-2"]}]}
ROWS = (
    Row("taken", 200, DONE, Accepted, reference="mt-1"),
    Row("wrong-count", 200, COUNT, type(None)),
    Row("other-ids", 200, IDS, type(None)),
    Row("failed-with-200", 200, whole("'subject' is too long"), Rejected),
    Row("item-refused", 200, item("'subject' is too long"), Rejected),
    Row("item-to", 200, item("'to' address is invalid"), Rejected, suppress=True),
    Row("item-from", 200, item("'from' is invalid"), Blocked),
    Row("item-domain", 200, item("Domain is not verified"), Blocked),
    Row("item-unable", 200, item("unable to send, it is not possible"), Rejected),
    Row("item-cc", 200, item("'cc' address is invalid"), Rejected),
    Row("item-from-words", 200, item("attachment from an address that is not a URL"), Rejected),
    Row("item-hour", 200, item("Hourly limit reached"), Deferred, slow_down=True),
    Row("item-day", 200, item("Daily sending limit reached"), Blocked),
    Row("month", 429, whole("Monthly emails limit exceeded"), Blocked),
    Row("item-size", 200, item("'custom_variables' exceed the limit of 1000 bytes"), Rejected),
    Row("item-limit", 200, item("Too many emails per second"), Deferred, slow_down=True),
    Row("bad", 400, whole("bad"), Rejected),
    Row("key", 401, {"error": "Unauthorized"}, Blocked),
    Row("permission", 403, {"errors": {"base": ["no permission"]}}, Blocked),
    Row("inbox", 404, {"error": "Not found"}, Blocked),
    Row("too-large", 413, whole("too large"), Rejected),
    Row("unprocessable", 422, whole("cannot"), Rejected),
    Row("rate", 429, whole("slow"), Deferred, slow_down=True),
    Row("fault", 500, whole("internal server error"), Deferred),
)
ROLE = Role(
    "mailtrap",
    "mailtrap://{key}@?base={base}",
    play,
    ROWS,
    sandbox="sandbox=true&inbox=77",
    is_sandboxed=lambda request: request.path == "/api/batch/77",
)
