"""What a message needs beyond what a provider can express: said by name, never dropped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import orjson

from mailer.backends.provider import Facts, Features, Letter
from mailer.backends.structured import Fields, File
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
    message, recipients = letter.message, letter.message.recipients
    found = misfits(facts.features, message.tags, dict(message.metadata), fixed) if labels else []
    if facts.recipients is not None and len(recipients) > facts.recipients:
        found.append(f"{len(recipients)} recipients, the limit is {facts.recipients}")
    beyond_ascii = message.smtputf8 or not "".join(recipients).isascii()
    if beyond_ascii and not facts.features.utf8_local:
        found.append("characters beyond ASCII before the @-sign")
    elif facts.raw and not facts.features.eight_bit and not message.data.isascii():
        found.append("octets over 127")
    if not facts.features.return_path and not from_its_sender(message):
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
    return _odd_people(features, content) + _odd_parts(features, content) + _sizes(features, content)


def _odd_people(features: Features, content: Fields) -> list[str]:
    found = []
    if len(content.reply_to) > features.reply_to:
        found.append(f"more than {features.reply_to} Reply-To address")
    if features.copies is not None and max(len(content.cc), len(content.bcc)) > features.copies:
        found.append(f"more than {features.copies} Cc or Bcc copies")
    if content.sender.name and not features.sender_name:
        found.append("a name beside the sender's address")
    if not features.utf8_local and not content.sender.addr.isascii():
        found.append("characters beyond ASCII in the sender's address")
    return found


def _odd_parts(features: Features, content: Fields) -> list[str]:
    found = _odd_headers(features, content.headers) if content.headers else []
    if content.images and not features.inline:
        found.append("inline images")
    if content.attachments:
        found += _odd_files(features, content.attachments)
    if content.html is None and not features.text_only:
        found.append("text without HTML")
    if content.text and content.html and not features.both_bodies:
        found.append("a text part beside the HTML")
    return found


def _odd_headers(features: Features, headers: Mapping[str, str]) -> list[str]:
    refused = features.headers
    names = [name for name in headers if refused is None or name.lower() in refused]
    found = [f"the header {', '.join(names)}"] if names else []
    if features.ascii_headers and not "".join(headers.values()).isascii():
        found.append("a custom header beyond ASCII")
    return found


def _odd_files(features: Features, files: Sequence[File]) -> list[str]:
    if not features.attachments:
        return ["attachments"]
    odd = [file.kind for file in files if features.kinds is not None and file.kind not in features.kinds]
    return [f"attachments of type {', '.join(odd)}"] if odd else []


def _sizes(features: Features, content: Fields) -> list[str]:
    """Limits beside the octets of the whole, which every backend knows."""
    found = []
    texts = [text for text in (content.text, content.html) if text]
    if features.subject is not None and len(content.subject) > features.subject:
        found.append(f"a subject over {features.subject} characters")
    if features.text_octets is not None and _heavy(texts, features.text_octets):
        found.append(f"a text over {features.text_octets // 1_000_000} MB")
    if features.shortest and min(map(len, (content.subject, *texts))) < features.shortest:
        found.append(f"a subject or text under {features.shortest} characters")
    return found


def _heavy(texts: Iterable[str], octets: int) -> bool:
    return any(len(text) > octets // 4 and len(text.encode()) > octets for text in texts)
