"""Finished messages: RFC 5322 bytes and an envelope, from applications that can only speak SMTP.

Nothing is rendered and nothing is changed. The bytes are a blob that all recipients share; each recipient
is a row with a state of its own.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mailer.address import Address
from mailer.content.contract import MailSpec
from mailer.content.letters import INLINE
from mailer.content.snapshot import pack
from mailer.ledger.contract import NewCampaign, Runner
from mailer.ledger.ledger import Ledger
from mailer.ledger.single_rows import Added, CampaignClosed, Single
from mailer.ledger.singles import Group
from mailer.outbox import names
from mailer.outbox.contract import Receipt

#: Rows of one hint of the pump: bounded, because each may be as large as a message can be.
RECIPIENTS_PER_TASK = 10


@dataclass(frozen=True, slots=True)
class Finished:
    """One message as it leaves, for ``recipients``; whoever made it has checked it.

    ``data`` follows the rules of ``Outgoing``. ``domain`` is that of From, whose limits hold. Of two with
    the same ``key`` of the same ``client`` and ``stream``, each recipient gets one; ``fingerprint`` is equal
    when they are the same message.
    """

    data: bytes = field(repr=False)
    sender: str  # of the envelope; "" is the null sender
    recipients: tuple[Address, ...]
    domain: str
    message_id: str
    smtputf8: bool = False
    stream: str = "transactional"
    tags: tuple[str, ...] = ()
    client: str = ""
    key: str | None = None
    fingerprint: str = ""


class Intake:
    """Puts finished messages into the ledger. Safe for threads."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        runner: Runner,
        backends: Mapping[str, str],
        announce: Callable[[Sequence[int], str], None],
    ) -> None:
        """``backends``: for each stream the name by which the ledger knows what carries its messages."""
        self._ledger = ledger
        self._runner = runner
        self._backends = backends
        self._announce = announce
        self._campaigns: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()

    def put(self, messages: Sequence[Finished]) -> list[list[Receipt] | Exception]:
        """A receipt per recipient of each message, or why that message was not stored: IdempotencyConflict,
        LedgerError. All share one commit, which is durable when this returns."""
        answers = self._stored(messages)
        if closed := [at for at, answer in enumerate(answers) if isinstance(answer, CampaignClosed)]:
            with self._lock:  # cancelled by a person: what comes now belongs to a new one
                self._campaigns.clear()
            for at, answer in zip(closed, self._stored([messages[at] for at in closed]), strict=True):
                answers[at] = answer
        self._tell(messages, answers)
        return [_receipts(answer) for answer in answers]

    def _stored(self, messages: Sequence[Finished]) -> list[list[Added] | BaseException]:
        return self._ledger.singles.add_each([self._group(message) for message in messages])

    def _tell(self, messages: Sequence[Finished], answers: Sequence[list[Added] | BaseException]) -> None:
        new: dict[str, list[int]] = {}
        for message, answer in zip(messages, answers, strict=True):
            if isinstance(answer, list):
                new.setdefault(message.stream, []).extend(added.id for added in answer if added.created)
        for stream, ids in new.items():
            if ids:
                self._announce(ids, stream)

    def _group(self, message: Finished) -> Group:
        campaign_id = self._campaign(message.domain, message.stream)
        # A name of its own, whatever its bytes: it can be removed without looking for others that share it.
        content = names.of_content()
        own = {
            "content": content,
            "from": message.sender,
            "message_id": message.message_id,
            "eight_bit": not message.data.isascii(),
            "smtputf8": message.smtputf8,
        }
        if message.tags:
            own["tags"] = list(message.tags)
        singles = [
            _single(message, to, campaign_id, own | {"place": [number, len(message.recipients)]})
            for number, to in enumerate(message.recipients)
        ]
        return Group(singles, {content: message.data})

    def _campaign(self, domain: str, stream: str) -> int:
        with self._lock:
            if (domain, stream) not in self._campaigns:
                self._campaigns[domain, stream] = self._opened(domain, stream)
            return self._campaigns[domain, stream]

    def _opened(self, domain: str, stream: str) -> int:
        package, _ = pack(INLINE, MailSpec(sender=f"mail@{domain}", stream=stream))
        backend = self._backends[stream]
        digest = hashlib.sha256(json.dumps(["finished", domain, stream, backend]).encode()).hexdigest()
        new = NewCampaign(
            slug=f"smtp-{domain}-{digest[:6]}",
            name=f"SMTP from {domain}",
            digest=digest,
            spec=_spec(package, backend),
            runner=self._runner,
            stream=stream,
            backend=backend,
        )
        return self._ledger.singles.campaign(new).id


def _spec(package: dict[str, Any], backend: str) -> dict[str, Any]:
    return {
        "letters": True,  # rows come one by one, and it never finishes
        "finished": True,
        "package": package,
        "mail": package["spec"],
        "backend": backend,
        "on_unknown": "hold",
        "recipients_per_task": RECIPIENTS_PER_TASK,
        "recipients": {"headers": ["id", "to"]},
    }


def _single(message: Finished, to: Address, campaign_id: int, own: dict[str, Any]) -> Single:
    now = time.time()
    id_ = names.public(now)
    return Single(
        public=id_,
        campaign_id=campaign_id,
        address=to.addr,
        lane=to.lane,
        cells=json.dumps({"id": id_, "date": float(int(now)), **own}, ensure_ascii=False),
        scope=f"smtp:{message.client}/{message.stream}",
        key=None if message.key is None else f"{message.key} {to.key}",
        fingerprint=message.fingerprint,
    )


def _receipts(answer: list[Added] | BaseException) -> list[Receipt] | Exception:
    if isinstance(answer, list):
        return [Receipt(added.public, added.created) for added in answer]
    if isinstance(answer, Exception):
        return answer
    raise answer  # an interrupt is nobody's answer
