"""An existing Django product moves by one setting."""

from __future__ import annotations

import email
import email.policy
from datetime import UTC, datetime
from email.mime.image import MIMEImage
from email.mime.message import MIMEMessage
from email.utils import parseaddr

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

from mailer.errors import FieldError, InputError
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


def gist(message):
    """What a reader sees of it."""
    bodies = {
        kind: body.get_content().replace("\r\n", "\n").rstrip("\n")
        for kind in ("plain", "html")
        if (body := message.get_body((kind,))) is not None
    }
    files = [
        (part.get_filename(), part.get_content_type(), part.get_payload(decode=True))
        for part in message.walk()
        if part.get_filename()
    ]
    names = ("From", "To", "Cc", "Bcc", "Reply-To", "Subject", "X-Shop")
    return {name: message[name] and str(message[name]) for name in names} | bodies, files


def with_attachments(message):
    message.attach("Übersicht.csv", "x,ü\n", "text/csv")
    message.attach("a.bin", b"\0\xff")
    message.attach("latin.txt", "ü".encode("latin-1"))
    message.attach_file(__file__)
    message.attach("invite.ics", b"BEGIN:VCALENDAR", "text/calendar; method=REQUEST")
    return message


def related():
    message = mail.EmailMultiAlternatives("S", "T", "a@acme.example", ["ada@example.org"])
    message.mixed_subtype = "related"
    message.attach_alternative('<img src="cid:logo">', "text/html")
    image = MIMEImage(b"\x89PNG\r\n\x1a\n", "png")
    image.add_header("Content-ID", "<logo>")
    image.add_header("Content-Disposition", "inline", filename="logo.png")
    message.attach(image)
    return message


def html_only():
    message = mail.EmailMessage("S", "<p>Ünï</p>", "a@acme.example", ["ada@example.org"])
    message.content_subtype, message.encoding = "html", "iso-8859-1"
    return message


def plain(**more):
    about = {
        "subject": "Ünï, 100 %",
        "body": "How are you?\n.\nFrom me",
        "from_email": "Acme <a@acme.example>",
    }
    return mail.EmailMessage(**about | {"to": ["Ada Ü <ada@example.org>", "bob@example.org"]} | more)


LIKE_DJANGO = {
    "an answer with a name": lambda: plain(headers={"Reply-To": "Hüte <h@x.example>, i@x.example"}),
    "copies and answers": lambda: plain(
        cc=["c@example.org"], bcc=["d@example.org"], reply_to=["e@x.example"]
    ),
    "its own From": lambda: plain(headers={"From": '"Acme, Ltd" <sales@acme.example>', "X-Shop": "7"}),
    "To in other words": lambda: plain(headers={"To": '"Ü, both" <bob@example.org>, ada@example.org'}),
    "Cc in other words": lambda: plain(cc=["c@example.org"], headers={"Cc": "Carl <c@example.org>"}),
    "lazy texts": lambda: plain(subject=lazystr("S"), body=lazystr("T"), to=[lazystr("ada@example.org")]),
    "attachments": lambda: with_attachments(plain()),
    "an image in the HTML": related,
    "HTML alone, and another encoding": html_only,
    "no body": lambda: plain(body=""),
}


@pytest.mark.parametrize("name", LIKE_DJANGO)
def test_a_reader_sees_what_djangos_own_backend_would_have_sent(box, name):
    message = LIKE_DJANGO[name]()
    assert message.send() == 1

    policy = email.policy.default
    ours, files = gist(box.messages[0].message)
    theirs, their_files = gist(email.message_from_bytes(message.message().as_bytes(), policy=policy))
    if name == "HTML alone, and another encoding":
        ours.pop("plain", None)  # every HTML gets a text beside it
    assert ours == theirs
    assert sorted(files) == sorted(their_files)
    assert sorted(box.messages[0].to) == sorted(parseaddr(str(one))[1] for one in message.recipients())


def test_a_message_id_and_a_date_of_ones_own(box):
    headers = {"Message-ID": "<order-7@acme.example>", "Date": "Sat, 21 Nov 2026 09:00:00 +0100"}
    plain(headers=headers | {"References": "<order-6@acme.example>"}).send()

    sent = box.messages[0].message
    assert (sent["Message-ID"], sent["References"]) == ("<order-7@acme.example>", "<order-6@acme.example>")
    assert sent["Date"].datetime == datetime(2026, 11, 21, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ({"To": "list@example.org"}, "headers.To.*put them into to"),
        ({"Cc": "boss@example.org"}, "headers.Cc.*into cc"),
        ({"Bcc": "x@example.org"}, "headers.Bcc"),
        ({"Message-ID": "order-7"}, "headers.Message-ID"),
        ({"Date": "yesterday"}, "headers.Date"),
        ({"X-Shop": "7\nBcc: x@example.org"}, "headers.X-Shop"),
    ],
)
def test_a_header_that_cannot_be_is_named(box, headers, field):
    with pytest.raises(InputError, match=field):
        plain(headers=headers).send()
    assert box.messages == []


def test_line_breaks_are_djangos_own_error_too(box):
    """Views catch it: ``except BadHeaderError``."""
    with pytest.raises(mail.BadHeaderError):
        mail.send_mail("S\nBcc: x@example.org", "T", "a@acme.example", ["ada@example.org"])
    assert mail.send_mail("S\n", "T", "a@acme.example", ["ada@example.org"], fail_silently=True) == 0
    assert box.messages == []


def test_attached_messages_become_files(box):
    """Their own type could not be encoded."""
    inner = plain(subject="Inner")
    message = plain()
    message.attach("one.eml", inner, "message/rfc822")
    message.attach(MIMEMessage(inner.message()))
    message.attach("two.eml", inner.message().as_bytes(), "message/rfc822")
    message.send()

    files = [part.get_payload(decode=True) for part in box.messages[0].message.iter_attachments()]
    assert [email.message_from_bytes(file, policy=email.policy.default)["To"] for file in files] == [
        "Ada Ü <ada@example.org>, bob@example.org"
    ] * 3


@pytest.mark.parametrize("kind", ["text/calendar", "text/x-amp-html", "text/html"])
def test_other_alternatives_are_refused_with_what_to_do(box, kind):
    message = related()
    message.attach_alternative("BEGIN:VCALENDAR", kind)

    with pytest.raises(InputError, match="attach it"):
        message.send()


def test_many_at_once_and_one_connection_for_several(box):
    both = [("S", "T", "a@acme.example", [f"{name}@example.org"]) for name in ("ada", "bob")]
    assert mail.send_mass_mail(both, auth_user="shop", auth_password="secret") == 2
    with mail.get_connection() as connection:
        assert connection.send_messages([plain(), plain(to=[]), plain()]) == 2
        assert plain(connection=connection).send() == 1
        assert connection.send_messages([]) == 0
    assert plain(to=[]).send() == 0

    assert len(box.messages) == 5


@pytest.mark.parametrize("at", ["tomorrow", "", [2030], "2030-13-01"])
def test_a_time_that_is_none_is_an_input_error(box, at):
    message = mail.EmailMessage("S", "T", "a@acme.example", ["ada@example.org"])
    message.send_at = at

    with pytest.raises(FieldError, match=r"^send_at: must be a "):
        message.send()
    assert box.messages == []


def test_anymails_own_message_class(box):
    """Marks what was not given with a class that is true."""
    unset = type("UNSET", (object,), {})
    message = related()
    for name in (
        "esp_extra",
        "envelope_sender",
        "metadata",
        "send_at",
        "tags",
        "track_clicks",
        "track_opens",
    ):
        setattr(message, name, unset)
    for name in ("template_id", "merge_data", "merge_global_data", "merge_metadata", "merge_headers"):
        setattr(message, name, unset)
    message.to.append("bob@example.org")
    message.send()

    assert [sent.to for sent in box.messages] == [("ada@example.org", "bob@example.org")]
