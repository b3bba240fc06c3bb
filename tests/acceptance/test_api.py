"""``mailer serve``: applications hand over messages over HTTP and ask what became of them."""

from __future__ import annotations

import base64
import json
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.servers import PATIENCE, wait_until
from tests.serving import serving

TEMPLATE = """
from = "Acme Shop <shop@acme.example>"
subject = "Your order {{ order.number }}"
variables = ["order", "total"]
"""
RECEIPT = {
    "template": "receipt",
    "to": "Ada <ada@example.org>",
    "data": {"order": {"number": 7}, "total": "12.50"},
}
PLAIN = {
    "sender": "Shop <shop@acme.example>",
    "to": "bob@example.org",
    "subject": "Hi",
    "text": "How are you?",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("api")
    (folder / "templates/receipt").mkdir(parents=True)
    (folder / "templates/receipt/mail.toml").write_text(TEMPLATE)
    (folder / "templates/receipt/body.txt").write_text("You paid {{ total }}.\n")
    (folder / "mailer.toml").write_text('[backends.main]\nurl = "file:out"\n[api]\nmax_body = 90_000\n')
    with serving(folder) as served:
        yield served


def refused(answer, status, *fields):
    """It is a problem document that names these fields."""
    problem = answer.json()

    assert answer.status_code == problem["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert tuple(one["field"] for one in problem.get("errors", ())) == fields
    assert problem["title"]
    return problem["detail"]


def ids(server):
    """Of all messages; their states still change."""
    return [message["id"] for message in server.messages()]


def test_what_is_handed_over_is_sent_and_its_state_can_be_asked_for(server):
    answer = server.post("/v1/messages", RECEIPT | {"tags": ["sent"], "metadata": {"order": "7"}})

    assert answer.status_code == 202
    id_ = answer.json()["id"]
    path = f"/v1/messages/{id_}"
    wait_until(lambda: server.get(path).json()["state"] == "accepted", "accepted")
    status = server.get(path).json()
    assert (status["to"], status["template"], status["tags"]) == ("ada@example.org", "receipt", ["sent"])
    assert status["metadata"] == {"order": "7"}
    assert [(one["number"], one["state"], one["code"]) for one in status["attempts"]] == [
        (1, "accepted", 250)
    ]
    (file,) = [file for file in server.folder.glob("out/new/*") if id_ in file.read_text()]
    assert "You paid 12.50." in file.read_text()
    assert [one["id"] for one in server.messages(tag="sent", state="accepted")] == [id_]


def test_single_messages_belong_to_campaigns_that_can_be_looked_at(server):
    id_ = server.post("/v1/messages", RECEIPT).json()["id"]

    (campaign,) = [
        one for one in server.get("/v1/campaigns").json()["campaigns"] if one["id"].startswith("receipt-")
    ]
    path = f"/v1/campaigns/{campaign['id']}"
    assert server.get(path).json()["name"] == "receipt from acme.example"
    assert id_ in server.get(f"{path}/results").text


def test_an_attachment_and_literal_content_arrive_as_they_are(server):
    attached = {"name": "a.txt", "content": base64.b64encode(b"{{ x }} \xc3\xa9").decode()}
    answer = server.post("/v1/messages", PLAIN | {"text": "{{ not a template }}", "attachments": [attached]})

    assert answer.status_code == 202, answer.text
    id_ = answer.json()["id"]
    wait_until(lambda: server.get(f"/v1/messages/{id_}").json()["state"] == "accepted", "accepted")
    (text,) = [one for f in server.folder.glob("out/new/*") if id_ in (one := f.read_text())]
    assert "{{ not a template }}" in text
    assert attached["content"] in text


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        ({"to": "ada"}, ["to"]),
        ({"to": []}, ["to"]),
        ({"to": None}, ["to"]),
        ({"data": {}}, ["data.order", "data.total"]),
        ({"data": 7}, ["data"]),
        ({"data": {"order": {}, "total": 1}}, ["data"]),
        ({"template": "none-such"}, ["template"]),
        ({"template": "../../etc"}, ["template"]),
        ({"template": "a" * 1000}, ["template"]),
        ({"templat": "receipt"}, ["templat"]),
        ({"headers": {"X-A": "1\r\nBcc: evil@example.org"}}, ["headers.X-A"]),
        ({"headers": {"Bcc": "evil@example.org"}}, ["headers.Bcc"]),
        ({"subject": "Hello\nBcc: evil@example.org"}, ["subject"]),
        ({"attachments": ["/etc/passwd"]}, ["attachments[0]"]),
        ({"attachments": [{"name": "a", "content": "?"}]}, ["attachments[0].content"]),
        ({"attachments": [{"name": "a\nb", "content": ""}]}, ["attachments"]),
        ({"backend": "smtp://evil.example:25"}, ["backend"]),
        ({"send_at": "2030-01-01T00:00:00"}, ["send_at"]),
        ({"send_at": "0001-01-01T00:00:00Z"}, ["send_at"]),
        ({"expires_in": -1}, ["expires_in"]),
        ({"stream": "other"}, ["stream"]),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_stored(server, message, fields):
    before = ids(server)

    refused(server.post("/v1/messages", RECEIPT | message), 422, *fields)

    assert ids(server) == before


@pytest.mark.parametrize(
    ("message", "detail"),
    [
        ({"to": 5}, "to: must be an address, or a list of them"),
        (
            {"to": None, "colour": 1},
            "to: must be an address, or a list of them; colour: there is no such field",
        ),
        (
            {"send_at": "2030-01-01T00:00:00"},
            "send_at: must be a time with a zone, such as 2026-12-01T09:00:00Z",
        ),
        ({"stream": "other"}, "stream: must be '"),
        (
            {"expires_in": "1h", "sensitive": "perhaps"},
            "expires_in: must be a number; sensitive: must be true or f",
        ),
        ({"data": {"order": {}, "total": 1}}, "there is no 'number' (read in Subject, line 1)"),
    ],
)
def test_the_sentence_for_a_person_says_what_to_mend(server, message, detail):
    assert server.post("/v1/messages", RECEIPT | message).json()["detail"].startswith(detail)


def test_what_is_no_message_at_all(server):
    def send(content, kind="application/json"):
        headers = {"Content-Type": kind}
        return server.post("/v1/messages", headers=headers, content=content)

    refused(send(b'{"to": '), 400)
    refused(send(b'{"to": "\xff"}'), 400)
    refused(send(b'{"to": "\\ud800"}'), 400)
    refused(send(b"[" * 50_000), 400)
    refused(send(b"[]"), 422, "body")
    refused(send(b"{}"), 422, "to")
    refused(send(b"to=ada", "application/x-www-form-urlencoded"), 415)
    refused(
        server.post("/v1/messages", PLAIN, headers={"Idempotency-Key": "a" * 201}), 422, "Idempotency-Key"
    )
    refused(server.get("/v1/messages/none"), 404)
    refused(server.get("/v1/messages/0123456789abcdef"), 404)
    refused(server.get("/v1/nowhere"), 404)
    refused(server.get("/v1/messages/"), 404)
    refused(server.post("/healthz"), 405)
    nothing_to_put = server.client.put("/v1/messages", headers=server.headers())
    refused(nothing_to_put, 405)
    assert nothing_to_put.headers["Allow"] == "GET, POST"
    assert nothing_to_put.json()["detail"] == "only this is understood here: GET, POST"
    refused(server.get("/v1/messages", params={"state": "lost"}), 422, "state")
    refused(server.get("/v1/messages", params={"colour": "red"}), 422, "colour")


def test_too_much_is_refused_while_it_comes(server):
    refused(server.post("/v1/messages", PLAIN | {"text": "x" * 100_000}), 413)
    refused(server.post("/v1/messages/batch", {"messages": [PLAIN] * 999}), 413)
    refused(server.post("/v1/messages/batch", {"messages": [1] * 1001}), 422, "messages")

    with socket.create_connection(("127.0.0.1", server.client.base_url.port), timeout=PATIENCE) as connection:
        head = (
            "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
            f"Content-Type: application/json\r\nAuthorization: Bearer {server.key}\r\n\r\n"
        )
        chunk = b"2710\r\n" + b"x" * 10_000 + b"\r\n"
        connection.sendall(head.encode() + chunk * 9)  # as much as is allowed
        connection.sendall(chunk)
        # No end was sent, and the answer is there.
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_key_is_needed_that_may_do_this(server):
    sender = server.new_key(scopes=("send",), senders=("*@other.example",))
    reader = server.new_key(scopes=("read",))
    gone = server.new_key()
    server.ledger.keys.revoke(gone.rpartition("_")[0])
    before = ids(server)

    assert server.client.get("/v1/messages").headers["www-authenticate"] == "Bearer"
    refused(server.client.post("/v1/messages", json=PLAIN), 401)
    refused(server.post("/v1/messages", PLAIN, key="mk_0123456789ab_" + "0" * 40), 401)
    refused(server.post("/v1/messages", PLAIN, key=gone), 401)
    refused(server.post("/v1/messages", PLAIN, key=reader), 403)
    refused(server.get("/v1/messages", key=sender), 403)
    refused(server.post("/v1/messages", PLAIN, key=sender), 403, "sender")
    assert ids(server) == before


def test_a_revoked_key_is_refused_within_seconds_by_a_server_that_knew_it(server):
    key = server.new_key()
    assert server.get("/v1/messages", key=key).status_code == 200

    server.ledger.keys.revoke(key.rpartition("_")[0])

    wait_until(lambda: server.get("/v1/messages", key=key).status_code == 401, "refused")


def test_a_key_that_is_limited_to_senders_sees_only_its_own_messages(server):
    key = server.new_key(senders=("*@acme.example",))
    theirs = server.post("/v1/messages", PLAIN).json()["id"]
    own = server.post("/v1/messages", PLAIN, key=key).json()["id"]

    assert [one["id"] for one in server.get("/v1/messages", key=key).json()["messages"]] == [own]
    assert server.get(f"/v1/messages/{own}", key=key).status_code == 200
    refused(server.get(f"/v1/messages/{theirs}", key=key), 404)
    refused(server.post(f"/v1/messages/{theirs}/cancel", key=key), 404)


def test_a_key_that_is_limited_to_senders_names_no_other_in_another_header(server):
    key = server.new_key(senders=("*@acme.example",))

    def sent(value):
        return server.post("/v1/messages", PLAIN | {"headers": {"sender": value}}, key=key)

    refused(sent("Boss <boss@evil.example>"), 403, "headers.sender")
    refused(sent("boss@evil.example, shop@acme.example"), 422, "headers.sender")
    assert sent("Robot <robot@acme.example>").status_code == 202


def test_the_same_key_and_body_is_one_message_also_at_the_same_time(server):
    def send(text, path="/v1/messages"):
        return server.post(
            path, PLAIN | {"text": text, "tags": ["once"]}, headers={"Idempotency-Key": "once"}
        )

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(send, ["same"] * 16))

    assert {(answer.status_code, answer.text) for answer in answers} == {(202, answers[0].text)}
    replayed = [answer.headers.get("idempotent-replayed") for answer in answers]
    assert sorted(replayed, key=str) == [None, *["true"] * 15]
    refused(send("other"), 409)
    assert len(server.messages(tag="once")) == 1
    other = server.new_key()
    again = server.post("/v1/messages", PLAIN, key=other, headers={"Idempotency-Key": "once"})
    assert again.status_code == 202


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/batch"])
def test_a_request_that_is_cut_short_changes_nothing_and_is_no_fault_of_ours(server, path):
    """``serving`` looks for a traceback in the log at the end."""
    before = ids(server)
    host, port = server.url.removeprefix("http://").split(":")
    headers = f"Host: x\r\nAuthorization: Bearer {server.key}\r\nContent-Length: 9"
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as client:
        client.sendall(f"POST {path} HTTP/1.1\r\n{headers}\r\n\r\n{{".encode())
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""

    assert ids(server) == before


@pytest.mark.parametrize(
    "request_",
    [
        b"GARBAGE\r\n\r\n",
        b"GET /v1/messages HTTP/1.1\r\nno header\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n",
        b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
    ],
)
def test_what_is_no_http_gets_a_problem_document_too(server, request_):
    host, port = server.url.removeprefix("http://").split(":")
    answer = b""
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as client:
        client.sendall(request_)
        while chunk := client.recv(4096):
            answer += chunk

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in head
    assert json.loads(body)["status"] == 400


def test_an_idempotency_key_is_forgotten_after_a_day(server):
    headers, key = {"Idempotency-Key": "daily"}, server.new_key()
    first = server.post("/v1/messages", PLAIN, key=key, headers=headers).json()["id"]
    at, scope = int(first[:11], 16) / 1000, key.rpartition("_")[0]

    assert server.ledger.pruning.forget_keys(scope, at - 1) == 0
    assert server.ledger.pruning.forget_keys(scope, at + 3600) == 1
    second = server.post("/v1/messages", PLAIN | {"text": "other"}, key=key, headers=headers)

    assert second.status_code == 202
    assert second.json()["id"] != first


def test_a_batch_says_for_each_message_what_became_of_it(server):
    batch = {
        "messages": [PLAIN | {"tags": ["batch"]}, PLAIN | {"to": "no"}, {"x": 1}, RECEIPT | {"data": {}}]
    }
    headers = {"Idempotency-Key": "batch"}

    answer = server.post("/v1/messages/batch", batch, headers=headers)
    again = server.post("/v1/messages/batch", batch, headers=headers)

    assert answer.status_code == 202
    assert (answer.json()["accepted"], answer.json()["refused"]) == (1, 3)
    results = answer.json()["results"]
    assert [one["status"] for one in results] == [202, 422, 422, 422]
    assert [error["field"] for error in results[3]["problem"]["errors"]] == ["data.order", "data.total"]
    assert [one["id"] for one in server.messages(tag="batch")] == [results[0]["id"]]
    assert again.json() == answer.json()
    other = {"messages": [PLAIN, *batch["messages"]]}
    refused(server.post("/v1/messages/batch", other, headers=headers), 409)
    nothing = server.post("/v1/messages/batch", {"messages": [1, 2]})
    assert (nothing.status_code, nothing.json()["accepted"]) == (422, 0)


def test_a_message_for_later_can_be_cancelled_and_one_that_is_gone_cannot(server):
    later = server.post("/v1/messages", PLAIN | {"send_at": "2040-01-01T00:00:00Z"}).json()["id"]
    path = f"/v1/messages/{later}"

    assert server.get(path).json()["due_at"] == "2040-01-01T00:00:00+00:00"
    assert server.post(f"{path}/cancel").json() == {"id": later, "state": "cancelled"}
    assert server.get(path).json()["state"] == "cancelled"
    refused(server.post(f"{path}/cancel"), 409)


def test_a_list_goes_on_where_the_page_before_ended(server):
    batch = {"messages": [PLAIN | {"to": f"page{n}@example.org", "tags": ["page"]} for n in range(7)]}
    ids = [one["id"] for one in server.post("/v1/messages/batch", batch).json()["results"]]

    seen, cursor = [], None
    while True:
        params = {"tag": "page", "limit": 3} | ({"cursor": cursor} if cursor else {})
        page = server.get("/v1/messages", params=params).json()
        seen += [one["id"] for one in page["messages"]]
        if (cursor := page["next"]) is None:
            break

    assert seen == sorted(ids, reverse=True)
    assert [one["to"] for one in server.messages(to="PAGE3@example.org")] == ["page3@example.org"]
    assert server.messages(since="2450-01-01T00:00:00Z") == []


def test_a_key_has_its_rate_and_is_told_when_to_come_again(server):
    key = server.new_key(rate="5/d")
    answers = [server.post("/v1/messages", PLAIN, key=key) for _ in range(6)]

    assert [answer.status_code for answer in answers] == [202] * 5 + [429]
    assert 17_000 < int(answers[-1].headers["retry-after"]) <= 17_281


def test_the_log_holds_no_address_and_no_key(server):
    server.get("/v1/messages", params={"to": "canary@example.org"})
    server.post("/v1/messages", PLAIN | {"to": "canary@example.org"})

    log = server.log.read_text()
    assert "canary" not in log
    assert server.key.rpartition("_")[2] not in log


def test_a_full_queue_is_back_pressure_and_several_processes_share_the_ledger(tmp_path):
    (tmp_path / "mailer.toml").write_text('[backends.main]\nurl = "file:out"\n[api]\nqueue_limit = 3\n')
    later = PLAIN | {"send_at": "2040-01-01T00:00:00Z"}
    with serving(tmp_path, "--processes", "2") as served:
        batch = served.post("/v1/messages/batch", {"messages": [later] * 4})
        assert batch.json()["accepted"] == 4
        wait_until(lambda: served.post("/v1/messages", later).status_code == 429, "back-pressure")
        answer = served.post("/v1/messages", later)

        refused(answer, 429)
        assert int(answer.headers["retry-after"]) > 0
