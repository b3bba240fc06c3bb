"""Tags, metadata and ids as header lines: for providers that are given MIME, and for their SMTP relays.

Each name below stands for the headers of one provider's SMTP relay, as its documentation has them.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from email.header import Header

from mailer.backends.provider import Facts, Letter
from mailer.message import Draft, Outgoing

Pairs = list[tuple[str, str]]
#: What a header may be called, and what none may hold (RFC 5322 section 2.2).
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
#: A space to break a long line at: what is read back is the same.
_BREAK = re.compile(r"(.{1,200}) (?=.)")
_SHORT, _LONGEST_LINE = 200, 998


def marked(message: Outgoing, pairs: Pairs) -> bytes | Draft:
    """Its content under these headers. One that it has already stays the only one of its name."""
    known = b"\n" + message.head.lower()
    new = [(name, value) for name, value in pairs if f"\n{name.lower()}:".encode() not in known]
    above, content = b"".join(_line(*pair) for pair in new), message.content
    return above + content if isinstance(content, bytes) else replace(content, head=above + content.head)


def octets(content: bytes | Draft) -> bytes:
    return content if isinstance(content, bytes) else content.data


def relayed(name: str, message: Outgoing) -> Outgoing:
    """The message as the relay of this provider is given it.

    Tags and metadata that the provider has no place for stay here, as with ``labels=drop``; ids go along.
    """
    letter = Letter(message)
    if (message.tags or message.metadata) and not _holds(name, letter):
        letter = Letter(replace(message, tags=(), metadata=()))
    return replace(message, content=marked(message, RELAYS[name](letter)))


def _holds(name: str, letter: Letter) -> bool:
    from mailer.backends.expressible import misfits

    facts: Facts = importlib.import_module(f"mailer.backends.{name}").FACTS
    lines = b"".join(_line(*pair) for pair in RELAYS[name](letter)).split(b"\r\n")
    fits = not misfits(facts.features, letter.message.tags, dict(letter.message.metadata))
    return fits and max(map(len, lines)) <= _LONGEST_LINE


def _line(name: str, value: str) -> bytes:
    value = _CONTROL.sub(" ", value)
    if value.isascii():
        folded = value if len(value) <= _SHORT else _BREAK.sub("\\1\r\n ", value)
    else:
        folded = Header(value, "utf-8", header_name=name).encode(linesep="\r\n")
    return f"{name}: {folded}\r\n".encode()


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def _listed(tags: Iterable[str]) -> str:
    return ",".join(tag.replace(",", " ") for tag in tags)


def _given(*pairs: tuple[str, str]) -> Pairs:
    return [(name, value) for name, value in pairs if value]


def plain(letter: Letter) -> Pairs:
    """Where there is nothing else: headers of our own."""
    return [(f"X-Mailer-{name.title()}", value) for name, value in letter.ids().items()]


def campaign(letter: Letter) -> Pairs:
    """Where the Message-ID goes along as it is."""
    return _given(("X-Mailer-Campaign", letter.message.campaign))


def mandrill(letter: Letter, tags: Iterable[str] = (), metadata: Mapping[str, str] | None = None) -> Pairs:
    known = letter.metadata(metadata or {})
    return _given(("X-MC-Tags", _listed(letter.tags([*tags]))), ("X-MC-Metadata", _json(known)))


def postal(letter: Letter, tags: Iterable[str] = ()) -> Pairs:
    """One tag is all there is; the Message-ID stays ours, and comes back."""
    return _given(("X-Postal-Tag", next(iter(letter.tags([*tags])), letter.message.campaign)))


def _postmark(letter: Letter) -> Pairs:
    known = letter.metadata({}, longest=80)
    own = [(f"X-PM-Metadata-{name}", value) for name, value in known.items() if _NAME.fullmatch(name)]
    return [*own, *_given(("X-PM-Tag", _first(letter)))]


def _sendgrid(letter: Letter) -> Pairs:
    wishes = {"unique_args": letter.metadata({}, "mailer_"), "category": letter.tags(())}
    return [("X-SMTPAPI", _json({name: value for name, value in wishes.items() if value}))]


def _mailtrap(letter: Letter) -> Pairs:
    return _given(("X-MT-Category", _first(letter)), ("X-MT-Custom-Variables", _json(letter.metadata({}))))


def _mailgun(letter: Letter) -> Pairs:
    known = ("X-Mailgun-Variables", _json(letter.metadata({})))
    return [known, *(("X-Mailgun-Tag", tag) for tag in letter.tags(()))]


def _ses(letter: Letter) -> Pairs:
    pairs = letter.labels((), {}).items()
    return [("X-SES-MESSAGE-TAGS", ", ".join(f"{name}={value}" for name, value in pairs))]


def _brevo(letter: Letter) -> Pairs:
    return _given(("X-Mailin-custom", _json(letter.ids())), ("X-Mailin-Tag", _first(letter)))


def _mailersend(letter: Letter) -> Pairs:
    return _given(("X-MailerSend-Tags", _listed(with_campaign(letter, (), 5))))


def _mailjet(letter: Letter) -> Pairs:
    return _given(
        ("X-Mailjet-Campaign", _first(letter) or letter.message.campaign),
        ("X-MJ-CustomID", letter.identity),
        ("X-MJ-EventPayload", _json(letter.metadata({}))),
    )


def _sparkpost(letter: Letter) -> Pairs:
    wishes = {
        "campaign_id": (_first(letter) or letter.message.campaign)[:64],
        "metadata": letter.metadata({}),
        "tags": letter.tags(()),
    }
    return [("X-MSYS-API", _json({name: value for name, value in wishes.items() if value}))]


def _netcore(letter: Letter) -> Pairs:
    return _given(("X-APIHEADER", _json(letter.metadata({}))), ("X-TAGS", _listed(letter.tags(()))))


def _first(letter: Letter) -> str:
    return next(iter(letter.tags(())), "")


def with_campaign(letter: Letter, tags: Iterable[str], most: int) -> list[str]:
    """Tags, and the campaign among them where there is room: for who knows nothing else."""
    return letter.tags([*tags, letter.message.campaign] if letter.message.campaign else [*tags], most)


#: By the name behind ``smtp+``. Resend, Gmail and Microsoft 365 know no such headers.
RELAYS: Mapping[str, Callable[[Letter], Pairs]] = {
    "postmark": _postmark,
    "sendgrid": _sendgrid,
    "mailtrap": _mailtrap,
    "mailgun": _mailgun,
    "ses": _ses,
    "brevo": _brevo,
    "mailersend": _mailersend,
    "mailjet": _mailjet,
    "sparkpost": _sparkpost,
    "mandrill": mandrill,
    "netcore": _netcore,
    "postal": postal,
    "scaleway": plain,
    "azure": plain,
}
