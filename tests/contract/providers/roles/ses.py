"""Amazon SES v2 as botocore's service model has it."""

from __future__ import annotations

from base64 import b64decode
from email import message_from_bytes
from typing import Any

from mailer.message import Accepted, Blocked, Deferred, Rejected
from tests.contract.providers.fake import Recorded, Response, Taken
from tests.contract.providers.role import KEY, Role, Row, unknown_keys

_KNOWN = "Destination Content FeedbackForwardingEmailAddress EmailTags ConfigurationSetName FromEmailAddress"


def error(status: int, kind: str, text: str = "said so") -> Response:
    return Response(status, {"message": text}, {"x-amzn-ErrorType": f"{kind}:http://internal.amazon.com/"})


def play(request: Recorded) -> Response:
    authorization = request.headers.get("authorization", "")
    if not authorization.startswith(f"AWS4-HMAC-SHA256 Credential={KEY}/"):
        return error(403, "UnrecognizedClientException", "The security token is invalid.")
    if "x-amz-date" not in request.headers or "/eu-west-1/ses/aws4_request" not in authorization:
        return error(403, "SignatureDoesNotMatch")
    if request.path == "/v2/email/account":
        quota = {"Max24HourSend": 50000.0, "MaxSendRate": 14.0, "SentLast24Hours": 0.0}
        return Response(200, {"SendQuota": quota, "ProductionAccessEnabled": True})
    if request.path == "/v2/email/list-identities":
        domain = {"IdentityType": "DOMAIN", "IdentityName": "acme.example", "VerificationStatus": "PENDING"}
        return Response(200, {"EmailIdentities": [domain]})
    if request.path != "/v2/email/outbound-emails":
        return error(404, "NotFoundException")
    body = request.json
    if unknown_keys(body, _KNOWN) or set(body["Content"]) != {"Raw"}:
        return error(400, "BadRequestException")
    to = body["Destination"]
    people = (*to["ToAddresses"], *to["BccAddresses"])
    mime = b64decode(body["Content"]["Raw"]["Data"], validate=True)
    if not 1 <= len(people) <= 50:
        return error(400, "BadRequestException")
    parsed = message_from_bytes(mime)
    return Response(
        200, {"MessageId": f"{parsed['Message-ID']}-0"}, taken=(Taken(str(parsed["Subject"]), people, mime),)
    )


def row(name: str, status: int, kind: str, outcome: type, text: str = "said so", **more: Any) -> Row:
    return Row(name, status, {"message": text}, outcome, headers={"x-amzn-ErrorType": kind}, **more)


ROWS = (
    Row("taken", 200, {"MessageId": "ses-1"}, Accepted, reference="ses-1"),
    row("too-many", 429, "TooManyRequestsException", Deferred, slow_down=True),
    row("throttled", 400, "ThrottlingException", Deferred, "Maximum sending rate exceeded.", slow_down=True),
    row("daily", 400, "ThrottlingException", Blocked, "Daily message quota exceeded."),
    row("rejected", 400, "MessageRejected", Rejected),
    row("unverified", 400, "MessageRejected", Blocked, "Email address is not verified."),
    row("bad", 400, "BadRequestException", Rejected),
    row("mail-from", 400, "MailFromDomainNotVerifiedException", Blocked),
    row("suspended", 400, "AccountSuspendedException", Blocked),
    row("paused", 400, "SendingPausedException", Blocked),
    row("limit", 400, "LimitExceededException", Blocked),
    row("not-found", 404, "NotFoundException", Blocked),
    row("signature", 403, "SignatureDoesNotMatch:http://x", Blocked),
    row("clock", 403, "RequestTimeTooSkewed", Blocked, "The difference to the current time is too large."),
    row("clock-signature", 403, "SignatureDoesNotMatch", Blocked, "Signature expired: 20260101T000000Z"),
    row("expired", 403, "ExpiredTokenException", Blocked),
    row("client", 403, "InvalidClientTokenId", Blocked),
    row("denied", 403, "AccessDeniedException", Blocked),
    Row("type-in-body", 400, {"__type": "com.amazon#MessageRejected", "message": "no"}, Rejected),
    row("fault", 500, "InternalFailure", Deferred),
    row("unavailable", 503, "ServiceUnavailable", Deferred),
)
ROLE = Role(
    "ses",
    "ses://{key}:secret-0123456789@?region=eu-west-1&base={base}",
    play,
    ROWS,
    sandbox="sandbox=true",
    is_sandboxed=lambda request: (
        request.json["Destination"]
        == {
            "ToAddresses": ["success@simulator.amazonses.com"],
            "BccAddresses": [],
        }
    ),
    raw=True,
)
