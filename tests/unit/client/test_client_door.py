"""Whatever is wrong with a message is said before anything is stored."""

from __future__ import annotations

import string
import time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from email.headerregistry import Address as HeaderAddress
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailer import Attachment, Mailer, Message
from mailer.errors import (
    ConfigError,
    FieldError,
    IdempotencyConflict,
    InputError,
    MissingData,
    TemplateError,
)
from mailer.testing import outbox
from tests.unit.client.conftest import DATA

GOOD = {"template": "receipt", "to": "ada@example.org", "data": DATA}
INLINE = {"to": "ada@example.org", "sender": "a@acme.example", "subject": "S", "text": "T"}

DEEP: list[object] = []
for _ in range(3000):
    DEEP = [DEEP]

WRONG = {
    "nobody to send to": (GOOD | {"to": ()}, "recipient"),
    "not an address": (GOOD | {"to": "ada"}, "^to: "),
    "two addresses in one": (GOOD | {"to": "a@example.org, b@example.org"}, "more than one"),
    "an address with a line feed": (GOOD | {"to": "ada@example.org\nBcc: x@example.org"}, "^to: "),
    "a copy that is none": (GOOD | {"cc": ["ok@example.org", "no"]}, "^cc: "),
    "a reply-to that is none": (GOOD | {"reply_to": "no"}, "^reply_to: "),
    "a sender that is none": (GOOD | {"sender": "Acme"}, "^sender: "),
    "a header with a line feed": (GOOD | {"headers": {"X-A": "b\r\nBcc: x@example.org"}}, "headers.X-A"),
    "a header name that is none": (GOOD | {"headers": {"X A": "b"}}, "X A"),
    "a header that is ours": (GOOD | {"headers": {"Bcc": "x@example.org"}}, "Bcc"),
    "a header that is no text": (GOOD | {"headers": {"X-A": 5}}, "headers"),
    "a subject with a line feed": (INLINE | {"subject": "S\nBcc: x@example.org"}, "subject"),
    "data with a line feed in a header": (GOOD | {"data": DATA | {"order": {"number": "1\nX"}}}, "subject"),
    "data that JSON cannot hold": (GOOD | {"data": DATA | {"total": object()}}, "^data: "),
    "a number that is none": (GOOD | {"data": DATA | {"total": float("nan")}}, "^data: "),
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
    "a line feed in an attachment's name": (GOOD | {"attachments": [Attachment("\n", b"")]}, "^attachments"),
    "an attachment id with a bracket": (GOOD | {"attachments": [Attachment("a", b"", None, ">")]}, "Content"),
    "no template of that name": (GOOD | {"template": "recipt"}, "recipt"),
    "a template outside": (GOOD | {"template": "../x"}, "below the template folder"),
    "a name and an address": (GOOD | {"to": [("Ada", "ada@example.org")]}, "^to: .* 'Ada <ada@example.org>'"),
    "a list of bytes": (GOOD | {"to": [b"ada@example.org"]}, "^to: .*bytes"),
    "addresses of names": (GOOD | {"to": {"ada@example.org": "Ada"}}, "^to: .*dict"),
    "addresses in no order": (GOOD | {"cc": {"ada@example.org"}}, "^cc: .*set"),
    "an address object": (GOOD | {"to": HeaderAddress("Ada", "ada", "x.org")}, "^to: .*Address"),
    "copies to None": (GOOD | {"bcc": None}, "^bcc: .*NoneType"),
    "a sender that is no text": (GOOD | {"sender": ("Acme", "a@acme.example")}, "^sender: .*tuple"),
    "a header without a value": (GOOD | {"headers": {"X-A": None}}, "headers.X-A"),
    "one attachment, no list": (GOOD | {"attachments": Attachment("a", b"")}, "^attachments: "),
    "attachments as a text": (GOOD | {"attachments": "a.txt"}, "^attachments: .*str"),
    "an attachment without a name": (GOOD | {"attachments": [Attachment("", b"")]}, "needs a name"),
    "a type that is no text": (GOOD | {"attachments": [Attachment("a", b"", 5)]}, "attachments"),
    "a template that is no text": (GOOD | {"template": 5}, "^template: "),
    "a language without a template": (INLINE | {"language": "de"}, "^language: "),
    "tags as one text": (GOOD | {"tags": "abc"}, "^tags: "),
    "metadata that is no text": (GOOD | {"metadata": {"order": 7}}, "metadata.order"),
    "an empty stream": (GOOD | {"stream": ""}, "^stream: "),
    "a backend that is not there": (GOOD | {"backend": "mian"}, "^backend: "),
    "a backend that is no text": (GOOD | {"backend": ["main"]}, "^backend: "),
    "secret, perhaps": (GOOD | {"sensitive": "no"}, "^sensitive: "),
    "milliseconds": (GOOD | {"send_at": 1_900_000_000_000}, "seconds since the epoch"),
    "never": (GOOD | {"send_at": float("nan")}, "^send_at: "),
    "words for a length": (GOOD | {"expires_in": "1h"}, "^expires_in: "),
    "without an end": (GOOD | {"expires_in": float("inf")}, "^expires_in: "),
    "a key that is no text": (GOOD | {"idempotency_key": 7}, "idempotency_key"),
    "half a character": (INLINE | {"text": "\ud800"}, "^text: "),
    "data without an end": (GOOD | {"data": DATA | {"more": DEEP}}, "nested too deep"),
    "bytes as data": (GOOD | {"data": DATA | {"pdf": b"%PDF"}}, "^data: .*bytes"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_is_said_and_nothing_is_stored(name, site, stored):
    wish, words = WRONG[name]

    with pytest.raises(InputError, match=words):
        stored.send_many([Message(**GOOD), Message(**wish)])

    ledger = stored._open.office._ledger
    assert [
        one.id for one in ledger.campaigns.list() if any(ledger.campaigns.counts(one.id).states.values())
    ] == []


def test_every_form_that_is_documented_is_taken(site, stored):
    """And reads in the mail as the application meant it."""
    (site.folder / "price.txt").write_bytes(b"7 EUR")
    (site.folder / "templates/all/body.html").parent.mkdir()
    (site.folder / "templates/all/body.html").write_text("{{ data }}|{{ at }}|{{ day }}|{{ sum }}|{{ id }}")
    (site.folder / "templates/all/mail.toml").write_text('from = "a@acme.example"\nsubject = "S"\n')
    berlin = datetime(2030, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    data = {
        "data": {"list": [1, (2, None)], "none": None},
        "at": berlin,
        "day": date(2030, 7, 1),
        "sum": Decimal("1.50"),
        "id": UUID(int=7),
    }
    with outbox(site.folder / "templates", site.folder) as box:
        for to in ("Ünï <u@exämple.org>", ["ada@example.org", "bob@example.org"], ("ünï@example.org",)):
            stored.send(
                to=to, sender="a@acme.example", subject="S", text="T", reply_to=["a@x.org", "b@x.org"]
            )
        stored.send("all", to=(to for to in ["ada@example.org"]), data=data, send_at=berlin)
        stored.send(
            **INLINE, attachments=[Path("price.txt"), "price.txt", Attachment("a.png", b"x", None, "i")]
        )

    named, several, smtputf8, all_, files = box.messages
    assert named.message["To"].addresses[0].display_name == "Ünï"
    assert (named.to, several.to) == (("u@xn--exmple-cua.org",), ("ada@example.org", "bob@example.org"))
    assert smtputf8.outgoing.smtputf8
    assert several.message["Reply-To"] == "a@x.org, b@x.org"
    assert all_.html.split("|")[1:] == ["2030-07-01T12:00:00+02:00", "2030-07-01", "1.50", f"{UUID(int=7)}\n"]
    attached = list(files.message.iter_attachments())
    assert [part.get_filename() for part in attached] == ["price.txt", "price.txt", "a.png"], "none is lost"
    assert attached[0].get_content() == "7 EUR"


@pytest.mark.parametrize("at", [datetime(2000, 1, 1, tzinfo=UTC), -5.0, 0, datetime.min.replace(tzinfo=UTC)])
def test_a_time_that_has_passed_is_now(stored, at):
    status = stored.status(stored.send(**GOOD, send_at=at, expires_in=60).id)

    assert status.due_at is None
    assert int(status.id[:11], 16) / 1000 == pytest.approx(time.time(), abs=3600)


def test_every_missing_variable_is_named(stored):
    with pytest.raises(MissingData) as caught:
        stored.send("receipt", to="ada@example.org", data={"name": "Ada"})

    assert caught.value.missing == ("order", "total")
    assert str(caught.value) == "the template 'receipt' needs data for: order, total"


def test_a_missing_part_of_a_variable_is_named_with_its_place(stored):
    with pytest.raises(MissingData, match=r"^there is no 'number' \(read in Subject, line 1\)$"):
        stored.send("receipt", to="ada@example.org", data={"order": {}, "total": 1})


def test_a_value_that_the_template_cannot_use_is_named_with_its_place(site, stored):
    (site.folder / "templates/receipt/body.txt").write_text("You paid\n{{ total | money('EUR') }}.\n")

    with pytest.raises(
        FieldError, match=r"^data: not a number: 'a lot' .*\(read in receipt/body\.txt, line 2\)$"
    ):
        stored.send(**GOOD | {"data": DATA | {"total": "a lot"}})


def test_what_is_no_message_is_said_too(stored):
    with pytest.raises(InputError, match=r"^a message is a Message\(\.\.\.\), not dict$"):
        stored.send_many([GOOD])
    with pytest.raises(ConfigError, match=r"Settings\.load"):
        Mailer("mailer.toml")


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
