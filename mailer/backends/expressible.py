"""What a message needs beyond what a provider can express: said by name, never dropped."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import orjson

from mailer.backends.provider import Facts, Features, Letter
from mailer.message import Outgoing

#: Octets of the Message-ID and its name, where metadata is bounded: they go along with it.
_IDENTITY = 120


def complaints(facts: Facts, letter: Letter, *, labels: bool = True) -> list[str]:
    """What this message needs and this provider cannot do; empty when it can be sent.

    Without ``labels`` its tags and metadata need not go along. Raises ``structured.Unreadable``.
    """
    recipients = letter.message.recipients
    found = misfits(facts.features, letter.message.tags, dict(letter.message.metadata)) if labels else []
    if facts.recipients is not None and len(recipients) > facts.recipients:
        found.append(f"{len(recipients)} recipients, the limit is {facts.recipients}")
    beyond_ascii = letter.message.smtputf8 or not "".join(recipients).isascii()
    if beyond_ascii and not facts.features.utf8_local:
        found.append("characters beyond ASCII before the @-sign")
    elif facts.raw and not facts.features.eight_bit and not letter.message.data.isascii():
        found.append("octets over 127")
    if not facts.features.return_path and not from_its_sender(letter.message):
        found.append("an envelope sender other than From")
    if not facts.features.bcc and letter.fields.bcc:
        found.append("Bcc copies")
    return found if facts.raw else found + _inexpressible(facts.features, letter)


def misfits(features: Features, tags: Sequence[str], metadata: Mapping[str, str]) -> list[str]:
    """Which of these tags and metadata a provider with these features has no place for."""
    if not tags and not metadata:  # as in most campaigns
        return []
    octets = len(orjson.dumps(dict(metadata))) + _IDENTITY
    pattern = re.compile(features.label or ".*", re.DOTALL)
    odd = [f"the tag {tag!r}" for tag in tags if not pattern.fullmatch(tag)]
    # By its name alone: what it says may be nobody's business.
    odd += [
        f"the metadata {name!r}"
        for name, value in metadata.items()
        if not (pattern.fullmatch(name) and pattern.fullmatch(value))
    ]
    longest = features.tag_length
    tests = (
        (bool(tags) and not features.tags, "tags"),
        (len(tags) > features.tags > 0, f"{len(tags)} tags, the limit is {features.tags}"),
        (
            longest is not None and any(len(tag) > longest for tag in tags),
            f"a tag over {longest} characters",
        ),
        (bool(metadata) and not features.metadata, "metadata"),
        (
            features.metadata_octets is not None and bool(metadata) and octets > features.metadata_octets,
            f"metadata over {features.metadata_octets} octets",
        ),
    )
    return [text for wrong, text in tests if wrong] + odd


def from_its_sender(message: Outgoing) -> bool:
    """Whether bounces go to From, as far as can be told without taking the message apart."""
    return bool(message.sender) and message.sender.lower().encode() in message.head.lower()


def _inexpressible(features: Features, letter: Letter) -> list[str]:
    content = letter.fields
    refused = features.headers
    headers = [name for name in content.headers if refused is None or name.lower() in refused]
    tests = (
        (bool(headers), f"the header {', '.join(headers)}"),
        (len(content.reply_to) > features.reply_to, f"more than {features.reply_to} Reply-To address"),
        (
            features.copies is not None and max(len(content.cc), len(content.bcc)) > features.copies,
            f"more than {features.copies} Cc or Bcc copies",
        ),
        (bool(content.images) and not features.inline, "inline images"),
        (bool(content.attachments) and not features.attachments, "attachments"),
        (content.html is None and not features.text_only, "text without HTML"),
        (bool(content.text and content.html) and not features.both_bodies, "a text part beside the HTML"),
        (
            features.ascii_headers and not "".join(content.headers.values()).isascii(),
            "a custom header beyond ASCII",
        ),
        (bool(content.sender.name) and not features.sender_name, "a name beside the sender's address"),
        (
            not content.sender.addr.isascii() and not features.utf8_local,
            "characters beyond ASCII in the sender's address",
        ),
    )
    return [text for wrong, text in tests if wrong]
