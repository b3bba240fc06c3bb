"""Azure Communication Services Email as its REST specification has it."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from typing import Any

from mailer.message import Accepted, Blocked, Deferred, Rejected
from tests.contract.providers.fake import Recorded, Response, Taken
from tests.contract.providers.role import KEY, Role, Row, unknown_keys

_KNOWN = "senderAddress recipients content headers replyTo attachments userEngagementTrackingDisabled"


def said(code: str, text: str = "said so") -> dict[str, Any]:
    return {"error": {"code": code, "message": text, "target": None, "details": []}}


def ended(code: str, text: str = "said so") -> dict[str, Any]:
    return {"id": "az-1", "status": "Failed", **said(code, text)}


def is_signed(request: Recorded) -> bool:
    """Calculated from what came in, as the service does."""
    digest = b64encode(hashlib.sha256(request.body).digest()).decode()
    date, host = request.headers["x-ms-date"], request.headers["host"]
    text = f"{request.method}\n{request.target}\n{date};{host};{digest}"
    signature = b64encode(hmac.digest(b64decode(KEY), text.encode(), "sha256")).decode()
    proof = f"HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature={signature}"
    return request.headers["x-ms-content-sha256"] == digest and request.headers["authorization"] == proof


def play(request: Recorded) -> Response:
    if not is_signed(request):
        return Response(401, said("Unauthorized"))
    if request.path.startswith("/emails/operations/"):
        return Response(404, said("NotFound"))
    if request.method == "GET":  # nothing else is asked for
        return Response(500, said("InternalServerError"))
    if request.path != "/emails:send" or request.query != {"api-version": ["2025-09-01"]}:
        return Response(404, said("NotFound"))
    body = request.json
    if unknown_keys(body, _KNOWN) or not body["content"].get("subject"):
        return Response(400, said("BadRequest"))
    if "<" in body["senderAddress"] or not (body["content"].get("plainText") or body["content"].get("html")):
        return Response(400, said("BadRequest", "sender"))
    people = tuple(one["address"] for group in body["recipients"].values() for one in group)
    done = {"id": f"{body['content']['subject']}-id", "status": "Running", "error": None}
    return Response(202, done, {"retry-after": "60"}, (Taken(body["content"]["subject"], people),))


ROWS = (
    Row("taken", 202, {"id": "az-1", "status": "Running"}, Accepted, reference="az-1"),
    Row("no-id", 202, {}, type(None)),
    Row("suppressed", 202, ended("EmailDroppedAllRecipientsSuppressed"), Rejected, suppress=True),
    Row("failed", 202, ended("Unspecified"), Rejected),
    Row("canceled", 202, {"id": "az-1", "status": "Canceled", "error": None}, Rejected),
    Row("not-linked", 202, ended("DomainNotLinked", "The specified domain is not linked"), Blocked),
    Row("from", 400, said("BadRequest", "The from address is unknown"), Blocked),
    Row("recipients", 400, said("BadRequest", "Recipients are not right"), Rejected, suppress=True),
    Row("unable", 400, said("BadRequest", "unable to read the body from the request"), Rejected),
    Row("format", 400, said("BadRequest", "Invalid format for email address"), Rejected, suppress=True),
    Row("sender", 400, said("InvalidSenderUserName", "sender username is invalid"), Blocked),
    Row("to", 400, said("BadRequest", "invalid recipient address"), Rejected, suppress=True),
    Row("bad", 400, said("BadRequest", "subject is missing"), Rejected),
    Row("key", 401, said("Unauthorized"), Blocked),
    Row("denied", 403, said("Denied"), Blocked),
    Row("domain", 404, said("DomainNotLinked", "The specified domain is not linked"), Blocked),
    Row("conflict", 409, said("Conflict"), Rejected),
    Row("too-large", 413, said("RequestBodyTooLarge"), Rejected),
    Row("rate", 429, said("TooManyRequests"), Deferred, {"Retry-After": "62"}, slow_down=True, wait=62.0),
    Row("fault", 500, said("InternalServerError"), Deferred),
)
ROLE = Role(
    "azure",
    "azure://{key}@acme.communication.azure.com?base={base}",
    play,
    ROWS,
    plain={"sender": "news@acme.example"},
)
