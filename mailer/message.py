"""The words every room speaks: what goes out, what became of it, and what state that leaves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable


class State(StrEnum):
    """Where one message stands. The arrows are in docs/architecture.md."""

    PENDING = "pending"  # never tried, or given back unsent
    CLAIMED = "claimed"  # a worker holds it; provably unsent
    SENDING = "sending"  # the body may be on the wire
    ACCEPTED = "accepted"  # a 2xx to the final dot, or the provider's 2xx
    DEFERRED = "deferred"  # refused for now; claimed again when due
    REJECTED = "rejected"  # refused for good
    FAILED = "failed"  # cannot be rendered, or its retry budget is spent
    UNKNOWN = "unknown"  # sent, but no answer came back
    SUPPRESSED = "suppressed"  # this address must not be mailed
    CANCELLED = "cancelled"  # its campaign was cancelled first
    EXPIRED = "expired"  # its time to be sent has passed


#: A row in one of these states is waiting for a worker.
WAITING = frozenset({State.PENDING, State.DEFERRED})
#: A row in one of these states is held by a worker.
IN_FLIGHT = frozenset({State.CLAIMED, State.SENDING})
#: A row in one of these states is settled.
FINAL = frozenset(State) - WAITING - IN_FLIGHT


class Phase(StrEnum):
    """How far a transaction had come. Lost before BODY: unsent. Lost in BODY or DOT: unknown."""

    RENDER = "render"
    CONNECT = "connect"
    GREETING = "greeting"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    BODY = "body"
    DOT = "dot"
    REQUEST = "request"  # an HTTP request, or a local program, from its first byte on
    ANSWER = "answer"  # waiting for it: an attempt that is made again although nobody knows how it ended


@dataclass(frozen=True, slots=True)
class Reply:
    """What the other side said, and what that means.

    ``text`` is one line, at most 500 characters, without the codes. ``reason`` is plain language
    for people; it comes from the reply table.
    """

    text: str
    code: int | None = None
    enhanced: str | None = None  # RFC 3463, "5.1.1"
    phase: Phase | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The other side has taken responsibility. ``reference`` is its own id for the message.

    ``refused_copies`` names the Cc and Bcc recipients that were refused while the row's own
    recipient was accepted.
    """

    reply: Reply
    reference: str | None = None
    refused_copies: tuple[tuple[str, Reply], ...] = ()


@dataclass(frozen=True, slots=True)
class Deferred:
    """Not taken this time. ``retry_after`` (seconds) is a lower bound; ``slow_down`` asks the limiter
    to halve the rate."""

    reply: Reply
    retry_after: float | None = None
    slow_down: bool = False


@dataclass(frozen=True, slots=True)
class Rejected:
    """Refused for good. ``suppress`` says the address itself is bad."""

    reply: Reply
    suppress: bool = False


@dataclass(frozen=True, slots=True)
class Unknown:
    """The body was sent and no answer came back."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Blocked:
    """Refused because of the sender (login, authentication, policy, quota): stop the backend.

    Never counts against the recipient or its retry budget.
    """

    reply: Reply


@dataclass(frozen=True, slots=True)
class Fenced:
    """``mark`` answered False: the lease is lost, and the message was not sent."""


Outcome = Accepted | Deferred | Rejected | Unknown | Blocked | Fenced


@dataclass(frozen=True, slots=True)
class Dsn:
    """Delivery status notification parameters, RFC 3461. Used only where the server offers DSN."""

    notify: tuple[str, ...] = ()  # of NEVER, SUCCESS, FAILURE, DELAY
    ret: str | None = None  # FULL or HDRS
    envid: str | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What the header lines of a message say, before they were encoded. ``more`` is finished lines, of
    headers beyond these."""

    sender: tuple[str, str]  # address and name, as those that follow
    to: tuple[tuple[str, str], ...]
    cc: tuple[tuple[str, str], ...]
    reply_to: tuple[tuple[str, str], ...]
    subject: str
    more: bytes


@dataclass(slots=True)
class Draft:
    """A finished message whose texts are not encoded yet: providers that take fields want them as they are.

    ``head`` is header lines without those of the content. ``text`` and ``html`` end their lines, the last one
    too, with a line feed. ``files`` are finished MIME parts, in ASCII. ``encode`` makes what stands behind
    ``head``, the same each time, and cannot fail. ``told`` says the same as ``head``, where that is known.
    ``size`` is octets of ``data``, about; more where there is text beyond ASCII. See ``most``.
    """

    head: bytes
    text: str | None
    html: str | None
    files: Sequence[bytes]
    encode: Callable[[], Iterable[bytes]] = field(compare=False, repr=False)
    told: Callable[[], Told] | None = field(default=None, compare=False, repr=False)
    _data: bytes | None = field(default=None, init=False, compare=False, repr=False)
    size: int = field(default=0, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        size = len(self.head)
        for text in (self.text, self.html):
            if text:
                size += len(text) if text.isascii() else 4 * len(text)
        self.size = size + sum(map(len, self.files)) if self.files else size

    @property
    def data(self) -> bytes:
        """Made when first asked for."""
        if self._data is None:
            self._data = b"".join((self.head, *self.encode()))
        return self._data

    @property
    def most(self) -> int:
        """``data`` has no more octets. Quoted-printable makes three of one, and line breaks between them."""
        return 4 * self.size + 2000 + 500 * len(self.files)


@dataclass(slots=True)
class Outgoing:
    """One finished message. Not frozen for speed alone; nobody changes it.

    ``data`` is complete RFC 5322 with CRLF line ends only, not dot-stuffed, no line over 998
    octets; ``content`` is the same, or what it will be made of. ``recipients[0]`` is the row's own
    recipient and decides the outcome; the others are its Cc and Bcc copies. Domains are in A-label
    form; a non-ASCII local part sets ``smtputf8``. ``variables`` is what it was made of, as templates
    call it: for one that lies at a provider.
    """

    id: int  # ledger row
    fence: int  # the claim that holds it
    sender: str  # envelope sender; "" is the null sender
    recipients: tuple[str, ...]
    content: bytes | Draft
    message_id: str  # with its angle brackets
    attempt: int = 1
    eight_bit: bool = False  # data holds octets over 127
    smtputf8: bool = False  # an address or a header needs RFC 6531
    dsn: Dsn | None = None
    idempotency_key: str = ""
    variables: Mapping[str, Any] = field(default_factory=dict, repr=False)
    tags: tuple[str, ...] = ()  # labels, for providers that count by them
    metadata: tuple[tuple[str, str], ...] = field(
        default=(), repr=False
    )  # providers give it back in webhooks
    campaign: str = ""  # its name in the ledger; goes along for the same purpose

    @property
    def data(self) -> bytes:
        return self.content if isinstance(self.content, bytes) else self.content.data

    @property
    def head(self) -> bytes:
        """Its header lines; those of the content may be missing."""
        return self.data.partition(b"\r\n\r\n")[0] if isinstance(self.content, bytes) else self.content.head

    @property
    def size(self) -> int:
        """Octets of ``data``, about."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.size

    def exceeds(self, octets: int) -> bool:
        """Whether ``data`` has more."""
        if not isinstance(self.content, bytes) and self.content.most <= octets:
            return False
        return len(self.data) > octets


#: Awaited right before a message can no longer be taken back. False: the lease is lost, do not send.
Mark = Callable[[Outgoing], Awaitable[bool]]


@runtime_checkable
class MarksTogether(Protocol):
    """What a mark can do besides, for those that send many messages in one request."""

    async def together(self, messages: Sequence[Outgoing], /) -> Sequence[bool]:
        """As the mark for each of them, in one commit."""
        ...
