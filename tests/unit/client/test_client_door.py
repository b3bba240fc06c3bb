"""Whatever is wrong with a message is said before anything is stored."""

from __future__ import annotations

import string
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailer import Attachment, Message
from mailer.errors import IdempotencyConflict, InputError, MissingData, TemplateError
from tests.unit.client.conftest import DATA

GOOD = {"template": "receipt", "to": "ada@example.org", "data": DATA}
INLINE = {"to": "ada@example.org", "sender": "a@acme.example", "subject": "S", "text": "T"}

WRONG = {
    "nobody to send to": (GOOD | {"to": ()}, "recipient"),
    "not an address": (GOOD | {"to": "ada"}, "column 'to'"),
    "two addresses in one": (GOOD | {"to": "a@example.org, b@example.org"}, "more than one"),
    "an address with a line feed": (GOOD | {"to": "ada@example.org\nBcc: x@example.org"}, "column 'to'"),
    "a copy that is none": (GOOD | {"cc": ["ok@example.org", "no"]}, "column 'cc'"),
    "a reply-to that is none": (GOOD | {"reply_to": "no"}, "column 'reply_to'"),
    "a sender that is none": (GOOD | {"sender": "Acme"}, "column 'sender'"),
    "a header with a line feed": (GOOD | {"headers": {"X-A": "b\r\nBcc: x@example.org"}}, "headers.X-A"),
    "a header name that is none": (GOOD | {"headers": {"X A": "b"}}, "X A"),
    "a header that is ours": (GOOD | {"headers": {"Bcc": "x@example.org"}}, "Bcc"),
    "a header that is no text": (GOOD | {"headers": {"X-A": 5}}, "headers"),
    "a subject with a line feed": (INLINE | {"subject": "S\nBcc: x@example.org"}, "subject"),
    "data with a line feed in a header": (GOOD | {"data": DATA | {"order": {"number": "1\nX"}}}, "subject"),
    "data that JSON cannot hold": (GOOD | {"data": DATA | {"total": object()}}, "column 'data'"),
    "a number that is none": (GOOD | {"data": DATA | {"total": float("nan")}}, "column 'data'"),
    "no content": ({"to": "ada@example.org", "sender": "a@acme.example", "subject": "S"}, "html or text"),
    "no subject": ({"to": "ada@example.org", "sender": "a@acme.example", "text": "T"}, "subject"),
    "no sender": ({"to": "ada@example.org", "subject": "S", "text": "T"}, "sender"),
    "a template and a text": (GOOD | {"text": "T"}, "either"),
    "data without a template": (INLINE | {"data": {"a": 1}}, "literal"),
    "an unknown stream": (GOOD | {"stream": "fast"}, "stream"),
    "an unknown answer to doubt": (GOOD | {"on_unknown": "guess"}, "on_unknown"),
    "a time without a zone": (GOOD | {"send_at": datetime.fromisoformat("2030-01-01")}, "time zone"),
    "no time at all": (GOOD | {"send_at": "tomorrow"}, "send_at"),
    "over before it began": (GOOD | {"expires_in": timedelta(0)}, "expires_in"),
    "an empty key": (GOOD | {"idempotency_key": ""}, "idempotency_key"),
    "a path outside": (GOOD | {"attachments": ["../../etc/passwd"]}, "attachment"),
    "a file that is not there": (GOOD | {"attachments": ["missing.pdf"]}, "missing.pdf"),
    "an attachment that is text": (GOOD | {"attachments": [Attachment("a.txt", "text")]}, "bytes"),
    "an attachment of no type": (GOOD | {"attachments": [Attachment("a", b"", "text/x\r\nX: y")]}, "type"),
    "an attachment's name with a line feed": (GOOD | {"attachments": [Attachment("\n", b"")]}, "filename"),
    "an attachment id with a bracket": (GOOD | {"attachments": [Attachment("a", b"", None, ">")]}, "Content"),
    "no template of that name": (GOOD | {"template": "recipt"}, "recipt"),
    "a template outside": (GOOD | {"template": "../x"}, "below the template folder"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_is_said_and_nothing_is_stored(name, site, stored):
    wish, words = WRONG[name]

    with pytest.raises(InputError, match=words):
        stored.send_many([Message(**GOOD), Message(**wish)])

    assert stored._open.office._ledger.campaigns.list() == []


def test_every_missing_variable_is_named(stored):
    with pytest.raises(MissingData) as caught:
        stored.send("receipt", to="ada@example.org", data={"name": "Ada"})

    assert caught.value.missing == ("order", "total")
    assert str(caught.value) == "the template 'receipt' needs data for: order, total"


def test_a_missing_part_of_a_variable_is_named_with_its_place(stored):
    with pytest.raises(MissingData, match="number"):
        stored.send("receipt", to="ada@example.org", data={"order": {}, "total": 1})


def test_a_broken_template_is_a_template_error(site, stored):
    (site.folder / "templates/receipt/body.txt").write_text("{% if %}")

    with pytest.raises(TemplateError, match=r"receipt/body\.txt"):
        stored.send(**GOOD)


def test_a_key_with_other_content_is_a_conflict(stored):
    stored.send(**GOOD, idempotency_key="k")

    with pytest.raises(IdempotencyConflict, match="'k'"):
        stored.send(**GOOD | {"to": "bob@example.org"}, idempotency_key="k")


TEXT = st.text(st.one_of(st.sampled_from('\r\n\0\u2028<>@,;:"\\ {}%=?'), st.characters()), max_size=40)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(subject=TEXT, name=TEXT, header=TEXT, text=TEXT)
def test_any_text_is_sent_or_refused(stored, subject, name, header, text):
    """And what is sent says exactly what was asked for."""
    wish = INLINE | {"subject": subject, "text": text, "headers": {"X-Any": header}}
    wish |= {"attachments": [Attachment(name, b"x")]}
    try:
        receipt = stored.send(**wish)
    except InputError:
        return
    assert set(receipt.id) <= set(string.hexdigits)
