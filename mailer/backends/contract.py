"""The contract of everything that carries mail away. Implementations stand beside this file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from mailer.message import Mark, Outcome, Outgoing


@dataclass(frozen=True, slots=True)
class BackendLimits:
    """What one backend can take: messages per ``send``, ``send`` calls at once, bytes per message.

    More calls than ``concurrency`` may be made; they wait. ``batched`` says that one call with many
    messages is cheaper than many calls. Without it the engine sends one message per call and settles
    each as soon as it is answered.

    ``idempotent``: who gets the same ``idempotency_key`` again within ``idempotency_window`` seconds does
    not send it twice. An Unknown outcome is then tried again there, without anybody having to ask for it.
    """

    batch: int = 1000
    concurrency: int = 8
    size: int | None = None
    batched: bool = False
    idempotent: bool = False
    idempotency_window: float = 0.0


@dataclass(frozen=True, slots=True)
class BackendConfig:
    """One backend as the settings describe it.

    ``url`` holds no secret once it was split by the settings: ``user`` and ``password`` are apart and
    never shown by ``repr``. ``options`` are the URL's query, for the implementation to read and check.
    """

    name: str
    url: str
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    connections: int = 10  # in total, over all processes of this run
    rates: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)


class Backend(Protocol):
    """Carries finished messages away. Safe for concurrent calls from one event loop.

    Awaits ``mark(message)`` right before a message can no longer be taken back; a mark that answers
    False means the lease is lost: that message is not sent and its outcome is Fenced. Returns one
    Outcome per message, in order. Raises only BackendUnusable: nothing of the batch was sent.
    A batch of which a part was sent before the backend became unusable is not an exception: the rest
    of it is Deferred (a passing fault) or Blocked (a lasting one).
    """

    @property
    def limits(self) -> BackendLimits: ...

    async def send(self, batch: Sequence[Outgoing], mark: Mark, /) -> Sequence[Outcome]: ...

    async def probe(self) -> str:
        """Connect and log in, send nothing; one line that says what answered. Raises BackendUnusable."""
        ...

    async def close(self) -> None:
        """Let go of every connection. Messages in flight are finished or Unknown first."""
        ...


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether mail may be sent from a domain, and how that was said; None: it did not say."""

    good: bool | None
    text: str


@runtime_checkable
class KnowsDomain(Protocol):
    """What a backend can do besides that may be asked about one domain of the sender's, by name."""

    async def standing(self, domain: str, /) -> Standing | None:
        """Sends nothing and raises nothing; None where that cannot be asked."""
        ...


@dataclass(frozen=True, slots=True)
class Use:
    """Connections that are open, or may be any moment, and how many could be used."""

    open: int = 0
    wanted: int = 0


@runtime_checkable
class SharesConnections(Protocol):
    """What a backend can do besides whose ``connections`` are a total over all processes."""

    def share(self, wake: Callable[[], None], /) -> None:
        """From now on it opens only what ``allow`` grants, and calls ``wake`` when it could use more."""
        ...

    def demand(self) -> Use:
        """How many it has, and could have used since asked last. Opens none until ``allow`` is called."""
        ...

    def allow(self, most: int, /) -> None:
        """At most so many from now on; what is open beyond that is closed as soon as its message is done."""
        ...
