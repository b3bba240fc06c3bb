"""The contract of a provider with an HTTP API. ``mailer/backends/http.py`` does everything else.

A provider says what its requests look like and what its answers mean; it opens nothing, waits for
nothing and knows nothing of the ledger. docs/adding-a-provider.md is the procedure.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Protocol, TypeVar

import orjson

from mailer.backends.answers import Answer, Rule, Said, one_line
from mailer.backends.letter import Letter
from mailer.backends.meanings import Verdict
from mailer.message import Outcome, Phase, Reply, Unknown

__all__ = [
    "NOT_UNDERSTOOD",
    "Facts",
    "Features",
    "Letter",
    "Provider",
    "Record",
    "Request",
    "as_form",
    "as_json",
    "each",
    "joint_key",
    "verdict",
]

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Features:
    """What a provider can express. What a message needs beyond that is refused, never dropped.

    ``headers`` are those it does not take, by lower-case name; None: it takes no custom headers.
    """

    headers: frozenset[str] | None = frozenset()
    reply_to: int = 1000  # addresses
    inline: bool = True  # images shown by cid:
    attachments: bool = True
    text_only: bool = True  # a message without HTML
    both_bodies: bool = True  # a text part beside the HTML
    utf8_local: bool = False  # ü@example.org
    return_path: bool = False  # an envelope sender other than From
    bcc: bool = True  # recipients that no header names
    ascii_headers: bool = False  # custom headers hold ASCII only
    eight_bit: bool = True  # MIME may hold octets over 127
    sender_name: bool = True  # a display name in From
    copies: int | None = None  # Cc, and again Bcc
    subject: int | None = None  # its characters
    text_octets: int | None = None  # of either body
    shortest: int = 0  # characters of the subject and of each body
    kinds: frozenset[str] | None = None  # content types of attachments
    tags: int = 0  # of one message
    tag_length: int | None = None
    tag_form: str = ""  # the pattern of a tag alone
    metadata: bool = False
    metadata_octets: int | None = None  # as JSON, what is added here for matching included
    metadata_pairs: int | None = None  # these included, too
    name_length: int | None = None  # of one name in the metadata
    value_length: int | None = None
    labels: int | None = None  # tags and pairs together, where they are the same to it
    label: str = ""  # the pattern of a tag, and of names and values of metadata


@dataclass(frozen=True, slots=True)
class Record:
    """What a provider needs in the DNS of a sender's domain, where its API does not say what became of it.

    ``name`` has {domain} where that goes; ``pattern`` is what its text holds, ``publish`` what to write.
    """

    what: str
    kind: str
    name: str
    pattern: str
    publish: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What is fixed about a provider. Sources are in docs/reference/providers.md.

    ``bases`` maps a region to where its API lives; the first is the default. ``requests`` is its own limit
    on requests. ``reset`` is a header that says when to try again, and its unit. ``batched`` providers get
    several messages in one request; ``key_seconds`` is how long an idempotency key is remembered.
    """

    title: str
    bases: Mapping[str, str]
    rules: tuple[Rule, ...]
    features: Features = Features()
    raw: bool = False  # takes MIME as it is: nothing has to be expressed
    batch: int = 1  # messages per request
    request_octets: int | None = None
    size: int | None = None  # octets of one message
    recipients: int | None = None  # To, Cc and Bcc of one message together
    requests: tuple[str, ...] = ()
    calls: int = 10  # requests under way at once, unless ``connections`` says otherwise
    key_seconds: float = 0.0
    horizon: float | None = None  # seconds that ``send_at`` may be ahead
    pool: str = ""  # the pattern of a pool's name
    reset: tuple[str, str] | None = None
    records: tuple[Record, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, complete but for its base address. ``repeatable``: it carries an idempotency key.

    ``fine`` are statuses that also count as a good answer to ``check``. ``base`` is another address than the
    account's, for questions.
    """

    path: str
    content: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    method: str = "POST"
    repeatable: bool = False
    fine: tuple[int, ...] = ()
    base: str = ""


class Provider(Protocol):
    """Pure: from messages to a request, from an answer to outcomes."""

    @property
    def facts(self) -> Facts: ...

    def group(self, letter: Letter) -> Hashable:
        """Letters of the same group may share a request; ``letter`` itself where each needs its own."""
        ...

    def request(self, letters: Sequence[Letter]) -> Request: ...

    def read(self, answer: Answer, letters: Sequence[Letter]) -> Sequence[Outcome] | None:
        """One outcome per letter; None: the answer concerns the request as a whole, ``said`` says how.

        May raise ValueError, LookupError, TypeError or AttributeError: then it cannot be understood.
        """
        ...

    def said(self, answer: Answer) -> Said:
        """Code and text of an answer that is not about single letters."""
        ...

    def check(self) -> tuple[Request, ...]:
        """Authenticated requests that send nothing, the telling ones first: a key may be allowed few."""
        ...

    def checked(self, answer: Answer) -> str | None:
        """What a good answer to ``check`` tells, in a few words; None: it is an error after all."""
        ...


def joint_key(letters: Sequence[Letter]) -> str:
    """The idempotency key of one request; empty unless every letter has one.

    The octets of a request are a function of its rows, and so is this: a repeated request is a known one.
    """
    keys = [letter.message.idempotency_key for letter in letters]
    if not all(keys):
        return ""
    return keys[0] if len(keys) == 1 else sha256("\n".join(keys).encode()).hexdigest()


def as_json(
    path: str, payload: Any, headers: Mapping[str, str], *, repeatable: bool = False, method: str = "POST"
) -> Request:
    """The same payload is the same octets, on every attempt."""
    json_headers = {"Content-Type": "application/json", "Accept": "application/json", **headers}
    return Request(path, orjson.dumps(payload), json_headers, method, repeatable)


def as_form(
    path: str,
    fields: Sequence[tuple[str, str]],
    file: tuple[str, bytes],
    headers: Mapping[str, str],
    *,
    boundary: str,
    repeatable: bool = False,
) -> Request:
    """``multipart/form-data`` with text fields and one message. ``boundary`` occurs in none of them."""
    part = 'Content-Disposition: form-data; name="{}"'
    pieces = [
        f"--{boundary}\r\n{part.format(_quoted(name))}\r\n\r\n{value}\r\n".encode() for name, value in fields
    ]
    name, octets = file
    head = f'--{boundary}\r\n{part.format(name)}; filename="message.eml"\r\nContent-Type: message/rfc822'
    content = b"".join([*pieces, head.encode(), b"\r\n\r\n", octets, f"\r\n--{boundary}--\r\n".encode()])
    form = {"Content-Type": f"multipart/form-data; boundary={boundary}", "Accept": "application/json"}
    return Request(path, content, {**form, **headers}, repeatable=repeatable)


def _quoted(name: str) -> str:
    """As browsers write a field's name (WHATWG HTML, 4.10.21.8): it cannot leave its quotes."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


#: What reading an answer raises that has another form than it should.
NOT_UNDERSTOOD = (ValueError, LookupError, TypeError, AttributeError)


def each(items: Iterable[Item], one: Callable[[Item], Outcome]) -> list[Outcome]:
    """The outcome of each result of a batch: one that cannot be understood is Unknown, the others count."""
    return [_read(item, one) for item in items]


def _read(item: Item, one: Callable[[Item], Outcome]) -> Outcome:
    try:
        return one(item)
    except NOT_UNDERSTOOD:
        text = orjson.dumps(item, default=str).decode()[:200]
        reason = "The result of this message cannot be understood; it may have been sent."
        return Unknown(Reply(one_line(text), phase=Phase.REQUEST, reason=reason))


def verdict(facts: Facts, status: int, code: object = "", text: str = "") -> Verdict:
    """What a provider says of one item of a batch."""
    return Said(status, "" if code is None else str(code), text).verdict(facts.rules)
