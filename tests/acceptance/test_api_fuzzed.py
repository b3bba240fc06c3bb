"""Whatever comes to the HTTP API: an answer of its document, never a failure of ours."""

from __future__ import annotations

import json
from string import printable
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailer.web.models import MessageIn
from tests.serving import serving

TEXTS = st.text(st.characters(), max_size=20) | st.text(printable, max_size=20)
WORDS = st.sampled_from(
    ["receipt", "ada@example.org", "Ada <ada@example.org>", "a" * 1000, "../x", "\0", "=?utf-8?q?=0A?=", ""]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | WORDS, inner, max_size=3),
    max_leaves=5,
)
#: Some are nearly right, so that what lies behind the first check is reached too.
NEARLY = {
    "to": st.just("ada@example.org"),
    "sender": st.just("a@acme.example"),
    "subject": TEXTS,
    "text": TEXTS,
    "headers": st.dictionaries(TEXTS, TEXTS, max_size=2),
    "metadata": st.dictionaries(TEXTS, TEXTS, max_size=2),
    "data": st.dictionaries(TEXTS, VALUES, max_size=3),
}
WILD = st.dictionaries(st.sampled_from(sorted(MessageIn.model_fields)), VALUES, max_size=5)
MESSAGES = st.builds(
    lambda nearly, wild: nearly | wild, st.fixed_dictionaries({}, optional=NEARLY), WILD | st.just({})
)
#: Half of a character pair is no part of a URL: no client can send it.
URL_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.text(printable, max_size=20)
QUERIES = st.dictionaries(
    st.sampled_from(["state", "to", "tag", "template", "since", "cursor", "limit", "other"]),
    URL_TEXTS,
    max_size=3,
)
#: What the document says may be answered.
KNOWN = {200, 202, 400, 401, 403, 404, 409, 413, 415, 422, 429}

fuzz = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzzed")
    (folder / "templates/receipt").mkdir(parents=True)
    (folder / "templates/receipt/mail.toml").write_text('from = "a@acme.example"\nsubject = "{{ x }}"\n')
    (folder / "templates/receipt/body.html").write_text("<p>{{ y }}</p>\n")
    (folder / "mailer.toml").write_text(
        'broker = "redis://127.0.0.1:1/0"\n[backends.main]\nurl = "memory:"\n'
    )
    with serving(folder) as served:
        yield served


def stored(server):
    return server.ledger.listing.waiting()


@fuzz
@given(message=MESSAGES, key=st.none() | st.text(printable[:90], min_size=1, max_size=5))
def test_a_message_is_stored_or_refused(server, message, key):
    before = stored(server)
    content = _json(message)
    headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})

    answer = server.post("/v1/messages", content=content, headers=headers)

    assert answer.status_code in KNOWN
    new = answer.status_code == 202 and "idempotent-replayed" not in answer.headers
    assert stored(server) - before == (1 if new else 0)
    if answer.status_code == 202:
        assert server.get(f"/v1/messages/{answer.json()['id']}").status_code == 200


@fuzz
@given(batch=st.lists(MESSAGES | VALUES, max_size=5))
def test_so_many_of_a_batch_are_stored_as_it_says(server, batch):
    before = stored(server)

    answer = server.post(
        "/v1/messages/batch",
        content=_json({"messages": batch}),
        headers={"Content-Type": "application/json"},
    )

    assert answer.status_code in KNOWN
    assert stored(server) - before == answer.json().get("accepted", 0)


@fuzz
@given(query=QUERIES, path=URL_TEXTS)
def test_any_question_is_answered(server, query, path):
    assert server.get("/v1/messages", params=query).status_code in KNOWN
    for place in ("messages", "campaigns", "templates"):
        answer = server.client.get(f"/v1/{place}/{_quoted(path)}", headers=server.headers())
        assert answer.status_code in KNOWN | {405}


def _json(value):
    """With everything that JSON can say, and some things that it cannot: NaN, lone surrogates."""
    return json.dumps(value).encode()


def _quoted(text):
    return quote(text.encode("utf-8", "replace"), safe="")
