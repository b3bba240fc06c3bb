"""What backends ask right before a message can no longer be taken back."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from mailer.errors import LedgerError
from mailer.ledger.writer import GroupCommit
from mailer.message import Outgoing

log = logging.getLogger(__name__)


class Marks:
    """A ``Mark``, and ``MarksTogether``. What is not durably marked may not be sent: False. Its slice hears
    of the ledger's trouble when it is closed."""

    def __init__(self, writer: GroupCommit) -> None:
        self._writer = writer

    async def __call__(self, message: Outgoing) -> bool:
        try:
            return await self._writer.mark(message.id, message.fence)
        except LedgerError as error:
            log.error("message %d: mark not written: %s", message.id, error)
            return False

    async def together(self, messages: Sequence[Outgoing]) -> Sequence[bool]:
        try:
            return await self._writer.mark_all([(message.id, message.fence) for message in messages])
        except LedgerError as error:
            log.error("messages %d to %d: marks not written: %s", messages[0].id, messages[-1].id, error)
            return [False] * len(messages)
