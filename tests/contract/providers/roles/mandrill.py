"""Mandrill as its OpenAPI document has it."""

from __future__ import annotations

from email import message_from_string
from typing import Any

from mailer.message import Accepted, Blocked, Deferred, Rejected
from tests.contract.providers.fake import Recorded, Response, Taken
from tests.contract.providers.role import KEY, Role, Row, unknown_keys


def said(name: str, code: int = -1) -> dict[str, Any]:
    return {"status": "error", "code": code, "name": name, "message": "said so"}


def result(status: str, **more: Any) -> list[dict[str, Any]]:
    return [{"email": "r1@example.org", "status": status, "_id": "md-1", **more}]


def play(request: Recorded) -> Response:
    body = request.json
    if body.get("key") != KEY:
        return Response(500, said("Invalid_Key"))
    if request.path == "/senders/domains.json":
        return Response(200, [{"domain": "acme.example", "valid_signing": False}])
    if request.path == "/users/ping2.json":
        return Response(200, {"PING": "PONG!"})
    if request.path != "/messages/send-raw.json":
        return Response(404, said("Unknown_Method"))
    if unknown_keys(body, "key raw_message to async ip_pool") or not body["to"]:
        return Response(500, said("ValidationError", -2))
    parsed = message_from_string(body["raw_message"])
    items = [{"email": one, "status": "sent", "_id": f"{parsed['Message-ID']}{one}"} for one in body["to"]]
    taken = Taken(str(parsed["Subject"]), tuple(body["to"]), body["raw_message"].encode())
    return Response(200, items, taken=(taken,))


ROWS = (
    Row("sent", 200, result("sent"), Accepted, reference="md-1"),
    Row("queued", 200, result("queued", queued_reason="hourly-quota-exhausted"), Accepted, reference="md-1"),
    Row("scheduled", 200, result("scheduled"), Accepted),
    Row("invalid", 200, result("invalid"), Rejected, suppress=True),
    *(
        Row(reason, 200, result("rejected", reject_reason=reason), Rejected, suppress=True)
        for reason in ("hard-bounce", "spam", "unsub", "custom", "invalid")
    ),
    *(
        Row(reason, 200, result("rejected", reject_reason=reason), Rejected)
        for reason in ("soft-bounce", "rule")
    ),
    *(
        Row(reason, 200, result("rejected", reject_reason=reason), Blocked)
        for reason in ("invalid-sender", "unsigned", "test-mode-limit")
    ),
    Row("new-reason", 200, result("rejected", reject_reason="something-new"), Rejected),
    Row("no-reason", 200, result("rejected"), Rejected),
    Row("general-400", 400, said("GeneralError"), Deferred),
    Row("unavailable-400", 400, said("ServiceUnavailable"), Deferred),
    Row("key", 500, said("Invalid_Key"), Blocked),
    Row("key-401", 401, said("Invalid_Key"), Blocked),
    Row("payment", 402, said("PaymentRequired"), Blocked),
    Row("subaccount", 500, said("Unknown_Subaccount"), Blocked),
    Row("pool", 500, said("Unknown_Pool"), Blocked),
    Row("validation", 500, said("ValidationError", -2), Rejected),
    Row("rate", 429, said("RequestLimitExceeded"), Deferred, slow_down=True),
    Row("general", 500, said("GeneralError"), Deferred),
    Row("unavailable", 503, said("ServiceUnavailable"), Deferred),
    Row("other-recipient", 200, [{"email": "x@example.org", "status": "sent", "_id": "x"}], type(None)),
)
ROLE = Role("mandrill", "mandrill://{key}@?base={base}", play, ROWS)
