"""Messages as this program writes them, with as many features as a provider can express."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mailer.address import Address
from mailer.backends.provider import Features
from mailer.content import headers, mime
from mailer.message import Outgoing

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
PDF = b"%PDF-1.7\n" + b"x" * 500
SENDER = "Acme Grüße, Inc. <news@acme.example>"


def letter(
    number: int = 1,
    *,
    to: str = "",
    cc: Sequence[str] = (),
    bcc: Sequence[str] = (),
    reply_to: Sequence[str] = (),
    subject: str = "",
    text: str | None = "Hello Ada,\nhow are you?\n",
    html: str | None = '<p class="a">Hello Ädä,<br>\nhow are you?</p>\n',
    more: Mapping[str, str] | None = None,
    image: bool = False,
    file: bool = False,
    sender: str = SENDER,
) -> Outgoing:
    """Made by the room that makes all of them."""
    people = [Address.parse(one) for one in (to or f"Ada Lövelace <r{number}@example.org>", *cc, *bcc)]
    copies = people[1 : 1 + len(cc)]
    origin = Address.parse(sender)
    identity = f"<{number:024x}@acme.example>"
    lines = [
        headers.date(1_800_000_000.0),
        headers.addresses("From", [origin]),
        headers.addresses("To", people[:1]),
        headers.addresses("Cc", copies) if copies else b"",
        headers.addresses("Reply-To", [Address.parse(one) for one in reply_to]) if reply_to else b"",
        headers.text("Subject", subject or f"number {number}"),
        headers.token("Message-ID", identity),
        b"MIME-Version: 1.0\r\n",
        *(headers.text(name, value) for name, value in (more or {}).items()),
    ]
    images = [mime.attachment("logo.png", PNG, content_id="logo@mailer")] if image else []
    files = [mime.attachment("rechnung für ada.pdf", PDF)] if file else []
    if image and html is not None:
        html += '<img src="cid:logo@mailer">'
    body = mime.Body(text, html, mime.Parts(images), files)
    return Outgoing(
        number,
        7,
        origin.addr,
        tuple(one.addr for one in people),
        body.under(b"".join(lines), identity),
        identity,
        idempotency_key=f"{number:024x}.1",
    )


def rich(number: int, features: Features) -> Outgoing:
    """Everything that a provider with these features can express, in one message."""
    season = "autumn" if features.ascii_headers else "Spätherbst"
    custom = {"X-Campaign": season, "X-Entity": "7"} if features.headers is not None else {}
    return letter(
        number,
        cc=["Charles <c@example.net>"],
        bcc=["hidden@example.net"] if features.bcc else [],
        reply_to=["Help, Desk <help@acme.example>", "b@acme.example"][: features.reply_to],
        subject="Grüße: 50 % off, “today”",
        text="Hello Ada,\nhow are you?\n" if features.both_bodies else None,
        more=custom,
        image=features.inline,
        file=features.attachments,
        sender=SENDER if features.sender_name else "news@acme.example",
    )
