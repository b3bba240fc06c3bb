"""Netcore as its SDK and its callers have it."""

from __future__ import annotations

from mailer.message import Accepted, Blocked, Deferred, Rejected
from tests.contract.providers.fake import Recorded, Response, Taken
from tests.contract.providers.role import KEY, Role, Row, unknown_keys

_KNOWN = "from reply_to subject content personalizations attachments tags settings"
_PERSON = "to cc bcc headers token_to"


def play(request: Recorded) -> Response:
    if request.headers.get("api_key") != KEY:
        return Response(401, {"error": {"message": "Invalid API key"}})
    if request.path == "/v5/domain/getDomains":
        return Response(200, {"data": [{"domain": "acme.example", "status": "active"}], "status": "success"})
    if request.path != "/v5.1/mail/send":
        return Response(405, {"error": "Method not allowed"})
    body = request.json
    if unknown_keys(body, _KNOWN) or not body.get("from") or not body.get("subject"):
        return Response(400, [{"field": "subject", "description": "is required"}])
    if [part["type"] for part in body["content"]] != ["html"] or not body["content"][0]["value"]:
        return Response(400, [{"field": "content", "description": "html is required"}])
    (person,) = body["personalizations"]
    assert not unknown_keys(person, _PERSON)
    assert isinstance(person["token_to"], str)
    assert isinstance(body.get("reply_to", ""), str)
    people = tuple(one["email"] for name in ("to", "cc", "bcc") for one in person.get(name, ()))
    done = {"data": {"message_id": f"{body['subject']}-id"}, "message": "OK", "status": "success"}
    return Response(202, done, taken=(Taken(body["subject"], people),))


ROWS = (
    Row("taken", 202, {"data": {"message_id": "nc-1"}, "status": "success"}, Accepted, reference="nc-1"),
    Row("id-with-500", 500, {"data": {"message_id": "nc-3"}}, Deferred),
    Row("no-id", 200, {"status": "success"}, type(None)),
    Row("list-with-200", 200, [{"field": "subject", "message": "is too long"}], Rejected),
    Row("error-with-200", 200, {"error": "something is wrong"}, Rejected),
    Row("status-with-200", 200, {"status": "error", "message": "no"}, Rejected),
    Row("message-with-200", 200, {"message": "An error occurred"}, Rejected),
    Row(
        "id-says-more",
        202,
        {"data": {"message_id": "nc-2"}, "message": "0 errors"},
        Accepted,
        reference="nc-2",
    ),
    Row("from-422", 422, {"message": "The from address is missing"}, Blocked),
    Row("unable", 400, {"message": "unable to read the message from the request"}, Rejected),
    Row("domain", 400, {"error": "Sending domain is not verified"}, Blocked),
    Row("to-words", 422, {"error": {"message": "Invalid recipient: sender@x.y"}}, Rejected, suppress=True),
    Row("from", 400, [{"field": "from", "description": "domain not approved"}], Blocked),
    Row("to", 400, [{"field": "to", "description": "email is invalid"}], Rejected, suppress=True),
    Row("bad", 400, {"message": "some error"}, Rejected),
    Row("key", 401, {"error": {"message": "Invalid API key"}}, Blocked),
    Row("forbidden", 403, {"error": "Forbidden"}, Blocked),
    Row("method", 405, {"error": "Method not allowed"}, Blocked),
    Row("rate", 429, {"error": "rate"}, Deferred, slow_down=True),
    Row("fault", 500, {"error": "internal"}, Deferred),
)
ROLE = Role("netcore", "netcore://{key}@?base={base}", play, ROWS, html_only=True, plain={"text": None})
