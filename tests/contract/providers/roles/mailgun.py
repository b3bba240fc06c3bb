"""Mailgun as its OpenAPI document has it."""

from __future__ import annotations

from base64 import b64encode
from email import message_from_bytes

from mailer.message import Accepted, Blocked, Deferred, Rejected
from tests.contract.providers.fake import Recorded, Response, Taken
from tests.contract.providers.role import KEY, Role, Row

_LOGIN = f"Basic {b64encode(f'api:{KEY}'.encode()).decode()}"


def form(request: Recorded) -> list[tuple[str, bytes]]:
    """The parts of multipart/form-data, cut by hand so that octets stay what they are."""
    kind, _, boundary = request.headers["content-type"].partition("boundary=")
    assert kind.startswith("multipart/form-data")
    pieces = request.body.split(b"--" + boundary.encode())
    assert pieces[0] == b""
    assert pieces[-1] == b"--\r\n"
    parts = []
    for piece in pieces[1:-1]:
        head, _, value = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        name = message_from_bytes(head).get_param("name", header="content-disposition")
        parts.append((str(name), value.removesuffix(b"\r\n")))
    return parts


def play(request: Recorded) -> Response:
    if request.headers.get("authorization") != _LOGIN:
        return Response(401, "Forbidden")
    if request.path == "/v4/domains/mg.acme.example":
        return Response(200, {"domain": {"name": "mg.acme.example", "state": "active"}})
    if request.path != "/v3/mg.acme.example/messages.mime":
        return Response(200, "Mailgun Magnificent API")
    parts = form(request)
    people = tuple(value.decode() for name, value in parts if name == "to")
    (mime,) = [value for name, value in parts if name == "message"]
    unknown = {name for name, _ in parts} - {"to", "message"}
    if not people or any(not name.startswith(("o:", "v:")) for name in unknown):
        return Response(400, {"message": "to parameter is missing"})
    subject = str(message_from_bytes(mime)["Subject"])
    identity = f"<{message_from_bytes(mime)['Message-ID']}.{len(people)}@mg>"
    done = {"id": identity, "message": "Queued. Thank you."}
    return Response(200, done, taken=(Taken(subject, people, mime),))


ROWS = (
    Row("taken", 200, {"id": "<2@mg>", "message": "Queued."}, Accepted, reference="<2@mg>"),
    Row("elsewhere", 200, "Mailgun Magnificent API", Blocked),
    Row("to", 400, {"message": "to parameter is not a valid address. please check"}, Rejected, suppress=True),
    Row("html", 200, "<html>hello</html>", Blocked),
    Row("no-id", 200, {"message": "Queued."}, type(None)),
    Row("inactive", 400, {"message": "Please activate your Mailgun account"}, Blocked),
    Row("not-allowed", 400, {"message": "Domain mg.acme.example is not allowed to send"}, Blocked),
    Row("unauthorized", 400, {"message": "not among the authorized recipients"}, Blocked),
    Row("disabled", 400, {"message": "Domain mg.acme.example is disabled"}, Blocked),
    Row("quoted-to", 400, {"message": "'to' parameter is not a valid address."}, Rejected, suppress=True),
    Row("quoted-from", 400, {"message": "'from' parameter is not a valid address."}, Blocked),
    Row(
        "named",
        400,
        {"message": "to parameter is not a valid address: disabled@x.y"},
        Rejected,
        suppress=True,
    ),
    Row("from", 400, {"message": "from parameter is not a valid address"}, Blocked),
    Row("bad", 400, {"message": "bad mime"}, Rejected),
    Row("activate", 403, {"message": "Please activate your Mailgun account"}, Blocked),
    Row("sandbox", 403, {"message": "add the address to your authorized recipients"}, Blocked),
    Row("key", 401, "Forbidden", Blocked),
    Row("plan", 402, {"message": "payment required"}, Blocked),
    Row("domain", 404, {"message": "Domain not found: mg.acme.example"}, Blocked),
    Row("too-large", 413, {"message": "Request Entity Too Large"}, Rejected),
    Row(
        "rate",
        429,
        {"message": "limit exceeded, try again after 42 seconds"},
        Deferred,
        slow_down=True,
        wait=42.0,
    ),
    Row("fault", 500, {"message": "Internal Server Error"}, Deferred),
    Row("unavailable", 503, "", Deferred),
)
ROLE = Role(
    "mailgun",
    "mailgun://{key}@mg.acme.example?base={base}",
    play,
    ROWS,
    sandbox="sandbox=true",
    is_sandboxed=lambda request: ("o:testmode", b"yes") in form(request),
    raw=True,
)
