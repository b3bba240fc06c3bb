"""What a message needs beyond what a provider can express: said by name, never dropped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import orjson

from mailer.backends.provider import Facts, Features, Letter
from mailer.backends.structured import Fields
from mailer.message import Outgoing

#: What goes along with metadata to match webhooks by, where it is bounded: a campaign and a Message-ID.
_IDS = {"mailer_campaign": "x" * 53, "mailer_message": "x" * 80}
_NONE: Mapping[str, str] = {}


def complaints(
    facts: Facts, letter: Letter, *, labels: bool = True, fixed: Mapping[str, str] = _NONE
) -> list[str]:
    """What this message needs and this provider cannot do; empty when it can be sent.

    Without ``labels`` its tags and metadata need not go along; ``fixed`` is the account's metadata, which
    stands beside its own. Raises ``structured.Unreadable``.
    """
    recipients = letter.message.recipients
    found = (
        misfits(facts.features, letter.message.tags, dict(letter.message.metadata), fixed) if labels else []
    )
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


def misfits(
    features: Features, tags: Sequence[str], metadata: Mapping[str, str], fixed: Mapping[str, str] = _NONE
) -> list[str]:
    """Which of these tags and metadata a provider with these features has no place for."""
    if not tags and not metadata:  # as in most campaigns
        return []
    found = _odd_tags(features, tags) + (_odd_metadata(features, metadata, fixed) if metadata else [])
    pairs = len(tags) + len({**_IDS, **fixed, **metadata})
    if features.labels is not None and pairs > features.labels:
        found.append(f"{pairs} tags and pairs of metadata with ours, the limit is {features.labels}")
    return found


def _odd_tags(features: Features, tags: Sequence[str]) -> list[str]:
    form = re.compile(features.tag_form or features.label or ".*", re.DOTALL)
    tests = (
        (bool(tags) and not features.tags, "tags"),
        (len(tags) > features.tags > 0, f"{len(tags)} tags, the limit is {features.tags}"),
        (_over(tags, features.tag_length), f"a tag over {features.tag_length} characters"),
    )
    odd = [f"the tag {tag!r}" for tag in tags if features.tags and not form.fullmatch(tag)]
    return [text for wrong, text in tests if wrong] + odd


def _odd_metadata(features: Features, metadata: Mapping[str, str], fixed: Mapping[str, str]) -> list[str]:
    if not features.metadata:
        return ["metadata"]
    form = re.compile(features.label or ".*", re.DOTALL)
    whole = {**_IDS, **fixed, **metadata}
    octets, pairs = features.metadata_octets, features.metadata_pairs
    tests = (
        (octets is not None and len(orjson.dumps(whole)) > octets, f"metadata over {octets} octets"),
        (
            pairs is not None and len(whole) > pairs,
            f"{len(metadata)} pairs, {_room(pairs, fixed)}",
        ),
        (_over(metadata, features.name_length), f"a name in metadata over {features.name_length} characters"),
        (
            _over(metadata.values(), features.value_length),
            f"a value in metadata over {features.value_length} characters",
        ),
    )
    # By its name alone: what it says may be nobody's business.
    odd = [
        f"the metadata {name!r}"
        for name, value in metadata.items()
        if not (form.fullmatch(name) and form.fullmatch(value))
    ]
    return [text for wrong, text in tests if wrong] + odd


def _room(pairs: int | None, fixed: Mapping[str, str]) -> str:
    ours = f"the account's {len(fixed)} and " if fixed else ""
    return f"the limit is {pairs} with {ours}ours for campaign and message"


def _over(texts: Iterable[str], longest: int | None) -> bool:
    return longest is not None and any(len(text) > longest for text in texts)


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
    return [text for wrong, text in tests if wrong] + _sizes(features, content)


def _sizes(features: Features, content: Fields) -> list[str]:
    """Limits beside the octets of the whole, which every backend knows."""
    texts = [text for text in (content.text, content.html) if text]
    odd = [file.kind for file in content.attachments if file.kind not in (features.kinds or {file.kind})]
    shortest = min(map(len, (content.subject, *texts)))
    tests = (
        (_over([content.subject], features.subject), f"a subject over {features.subject} characters"),
        (_heavy(texts, features.text_octets), f"a text over {(features.text_octets or 0) // 1_000_000} MB"),
        (shortest < features.shortest, f"a subject or text under {features.shortest} characters"),
        (bool(odd), f"attachments of type {', '.join(odd)}"),
    )
    return [text for wrong, text in tests if wrong]


def _heavy(texts: Iterable[str], octets: int | None) -> bool:
    return octets is not None and any(
        len(text) > octets // 4 and len(text.encode()) > octets for text in texts
    )
