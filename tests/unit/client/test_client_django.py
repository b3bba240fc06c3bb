"""An existing Django product moves by one setting."""

from __future__ import annotations

from datetime import UTC, datetime
from email.mime.image import MIMEImage

import django
import pytest
from django.conf import settings
from django.core import mail

if not settings.configured:
    settings.configure(
        EMAIL_BACKEND="mailer.django.EmailBackend", USE_TZ=True, TIME_ZONE="Europe/Berlin", USE_I18N=False
    )
    django.setup()

from django.utils.functional import lazystr

from mailer.errors import InputError
from mailer.testing import outbox
from tests.unit.client.conftest import DATA


@pytest.fixture
def box(site):
    with outbox() as box:
        yield box


@pytest.fixture(autouse=True)
def ours(monkeypatch):
    """pytest-django and Django's own runner put another in its place."""
    monkeypatch.setattr(settings, "EMAIL_BACKEND", "mailer.django.EmailBackend")


def test_send_mail(box):
    count = mail.send_mail(
        "Hello", "How are you?", "Acme <a@acme.example>", ["ada@example.org", "bob@example.org"]
    )

    (sent,) = box.messages
    assert count == 1
    assert (sent.subject, sent.text, sent.html) == ("Hello", "How are you?\n", None)
    assert sent.message["To"] == "ada@example.org, bob@example.org"


def test_alternatives_attachments_copies_and_headers(box):
    message = mail.EmailMultiAlternatives(
        "Hello {{ x }}",
        "Text",
        "a@acme.example",
        ["ada@example.org"],
        cc=["carl@example.org"],
        bcc=["dora@example.org"],
        reply_to=["help@acme.example"],
        headers={"X-Shop": "7"},
    )
    message.attach_alternative('<p>HTML</p><img src="cid:logo">', "text/html")
    message.attach("a.csv", "x,y", "text/csv")
    image = MIMEImage(b"\x89PNG\r\n\x1a\n", "png")
    image.add_header("Content-ID", "<logo>")
    message.attach(image)
    message.send()

    (sent,) = box.messages
    assert sent.to == ("ada@example.org", "carl@example.org", "dora@example.org")
    assert (sent.subject, sent.text) == ("Hello {{ x }}", "Text\n")
    assert "<p>HTML</p>" in sent.html
    assert (sent.message["Reply-To"], sent.message["X-Shop"]) == ("help@acme.example", "7")
    assert [part["Content-ID"] for part in sent.message.walk() if part["Content-ID"]] == ["<logo>"]
    assert [part.get_filename() for part in sent.message.iter_attachments()] == ["a.csv"]
    assert message.mailer_ids == [sent.id]


def test_anymails_attributes(box):
    message = mail.EmailMessage(None, None, None, ["Ada <ada@example.org>", "bob@example.org"])
    message.from_email = None
    message.template_id = "receipt"
    message.merge_global_data = DATA
    message.merge_data = {"ada@example.org": {"name": "Ada"}, "bob@example.org": {"total": 3}}
    message.metadata = {"shop": 7}
    message.merge_metadata = {"bob@example.org": {"vip": "yes"}}
    message.tags = ["receipt"]
    message.send_at = datetime(2030, 1, 1, 12, 0)  # noqa: DTZ001 - as anymail takes it: Django's zone
    message.send()

    ada, bob = box.messages
    assert (ada.to, bob.to) == (("ada@example.org",), ("bob@example.org",))
    assert ada.message["To"] == "Ada <ada@example.org>"
    assert ada.message["From"] == "Acme Shop <shop@acme.example>"
    assert (ada.text, bob.text) == ("Ada, you paid 12.50.\n", "Dear customer, you paid 3.\n")
    assert (ada.wish.metadata, bob.wish.metadata) == ({"shop": "7"}, {"shop": "7", "vip": "yes"})
    assert ada.wish.tags == ["receipt"]
    assert ada.wish.send_at.astimezone(UTC) == datetime(2030, 1, 1, 11, 0, tzinfo=UTC)
    assert bob.data["total"] == 3, "what is merged stays what it is: a template may count it, or loop over it"


def test_anymails_status(box):
    message = mail.EmailMessage("S", "T", "a@acme.example", ["Ada <ada@example.org>"], cc=["c@example.org"])
    message.send()
    together = message.anymail_status
    message.merge_metadata, message.to = {}, ["ada@example.org", "bob@example.org"]
    message.send()
    apart = message.anymail_status

    first, ada, bob = (sent.id for sent in box.messages)
    assert (together.message_id, together.status, together.esp_response) == (first, {"queued"}, None)
    assert {to: one.message_id for to, one in together.recipients.items()} == {
        "ada@example.org": first,
        "c@example.org": first,
    }
    assert apart.message_id == {ada, bob}
    assert (apart.recipients["bob@example.org"].message_id, apart.recipients["bob@example.org"].status) == (
        bob,
        "queued",
    )


@pytest.mark.parametrize(("attribute", "messages"), [("merge_data", 2), ("merge_global_data", 1)])
def test_only_merging_makes_a_message_for_each(box, attribute, messages):
    message = mail.EmailMessage("S", "T", "a@acme.example", ["ada@example.org", "bob@example.org"])
    setattr(message, attribute, {})
    message.track_opens = False
    message.send()

    assert len(box.messages) == messages


def test_nobody_sees_a_blind_copy(box):
    mail.EmailMessage("S", "T", "a@acme.example", bcc=["ada@example.org", "bob@example.org"]).send()
    mail.EmailMessage("S", "T", "a@acme.example", cc=["ada@example.org"], bcc=["bob@example.org"]).send()

    assert [(sent.to, sent.message["To"]) for sent in box.messages] == [
        (("ada@example.org",), "ada@example.org"),
        (("bob@example.org",), "bob@example.org"),
        (("ada@example.org", "bob@example.org"), "ada@example.org"),
    ]
    assert all("bob" not in sent.outgoing.data.decode() for sent in box.messages[::2])


def test_headers_as_products_set_them(box):
    message = mail.EmailMessage("S", "T", "a@acme.example", ["ada@example.org"], reply_to=["no@acme.example"])
    message.extra_headers = {
        "Reply-To": '"Help, please" <help@acme.example>, b@acme.example',
        "Auto-Submitted": "auto-generated",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }
    message.merge_headers = {"ada@example.org": {"List-Unsubscribe": "<https://acme.example/u/ada>"}}
    message.send()

    sent = box.messages[0].message
    assert [one.addr_spec for one in sent["Reply-To"].addresses] == ["help@acme.example", "b@acme.example"]
    assert [one.display_name for one in sent["Reply-To"].addresses] == ["Help, please", ""]
    assert sent["List-Unsubscribe"] == "<https://acme.example/u/ada>"
    assert sent["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert sent["Auto-Submitted"] == "auto-generated"
    message.merge_headers = {"ada@example.org": {"List-Unsubscribe": "acme.example/u"}}
    with pytest.raises(InputError, match="<https://"):
        message.send()


def test_lazy_translations_are_read(box):
    message = mail.EmailMessage(lazystr("S"), None, None, ["ada@example.org"])
    message.from_email, message.template_id = None, "receipt"
    message.merge_global_data = DATA | {"total": lazystr("7"), "more": [lazystr("x")]}
    message.send()

    assert box.messages[0].subject == "S"
    assert box.messages[0].data == DATA | {"total": "7", "more": ["x"]}


def test_a_body_beside_a_template_is_refused(box):
    message = mail.EmailMessage("S", "This would be lost.", "a@acme.example", ["ada@example.org"])
    message.template_id, message.merge_global_data = "receipt", DATA

    with pytest.raises(InputError, match="beside a template_id"):
        message.send()
    assert box.messages == []


@pytest.mark.parametrize("name", ["esp_extra", "track_opens", "envelope_sender"])
def test_what_cannot_be_expressed_is_an_error(box, name):
    message = mail.EmailMessage("S", "T", "a@acme.example", ["ada@example.org"])
    setattr(message, name, "something")

    with pytest.raises(InputError, match=name):
        message.send()
    message.connection = None  # the one that is loud
    message.send(fail_silently=True)
    assert box.messages == []


def test_a_header_that_is_none_is_refused_before_anything_is_stored(box):
    message = mail.EmailMessage("S\nBcc: x@example.org", "T", "a@acme.example", ["ada@example.org"])

    with pytest.raises(InputError, match="subject"):
        message.send()
    assert box.messages == []
