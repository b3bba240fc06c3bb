"""Tells people what a campaign did while nobody watched: by webhook, by e-mail, or both.

Whatever happens here, no message waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from functools import partial
from typing import Any

from mailer.backends import connect
from mailer.backends.contract import BackendConfig
from mailer.errors import LedgerError, MailerError
from mailer.ledger.contract import Event
from mailer.ledger.writer import GroupCommit
from mailer.message import Accepted, Outgoing

log = logging.getLogger(__name__)

#: Seconds before each try. After the last one it is left at that, and logged.
WAITS = (0.0, 2.0, 10.0, 60.0)
TIMEOUT_SECONDS = 10.0

#: Replies quote addresses; a notice holds none.
_ADDRESS = re.compile(r"[^\s<>\"'(),;:]+@[^\s<>\"'(),;:]+")


@dataclass(frozen=True, slots=True)
class NotifyConfig:
    """``[notify]``, made plain. The URL of a webhook is a secret: whoever knows it can write there."""

    webhook: str | None = field(default=None, repr=False)
    email: str | None = None
    sender: str | None = None
    backend: BackendConfig | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Notice:
    """What is to be told of a campaign: its status object, and why it was paused."""

    campaign_id: int
    event: Event
    status: Mapping[str, Any]
    reason: str | None = None

    def payload(self) -> dict[str, Any]:
        """The status object, ``event``, and ``reason`` in words without addresses."""
        return {**self.status, "event": str(self.event), "reason": self.words()}

    def words(self) -> str | None:
        if self.reason is not None:
            return _ADDRESS.sub("<address>", self.reason)
        if unknown := self.status["counts"]["unknown"]:
            how = f"`mailer retry {self.status['id']} --unknown`"
            return f"{unknown} unknown: sent, but no answer came; {how} sends them again"
        return None


#: Tells one person or program. Raises what kept it from that.
Channel = Callable[[Notice], Awaitable[None]]


class Notifier:
    """Each notice is told once it could be; one that could not is told by the next run of a pump.

    Belongs to one event loop.
    """

    def __init__(
        self, config: NotifyConfig, writer: GroupCommit, *, waits: tuple[float, ...] = WAITS
    ) -> None:
        self._writer = writer
        self._waits = waits
        self._channels: list[Channel] = []
        if config.webhook:
            self._channels.append(partial(post, config.webhook))
        if config.email and config.backend:
            self._channels.append(partial(mail, config.email, config.sender or config.email, config.backend))
        self._under_way: dict[tuple[int, Event], asyncio.Task[None]] = {}

    def tell(self, notices: Iterable[Notice]) -> None:
        """In the background."""
        for notice in notices:
            key = (notice.campaign_id, notice.event)
            if key not in self._under_way:
                self._under_way[key] = asyncio.create_task(self._tell(key, notice))

    async def finish(self, seconds: float) -> None:
        """Wait that long for what is being told; the rest is told another time."""
        tasks = list(self._under_way.values())
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _tell(self, key: tuple[int, Event], notice: Notice) -> None:
        try:
            await asyncio.gather(*(self._try(channel, notice) for channel in self._channels))
            await self._writer.run(lambda ledger: ledger.events.told(*key))
        except LedgerError as error:
            log.warning("campaign %d: not noted as told: %s", notice.campaign_id, error)
        finally:
            del self._under_way[key]

    async def _try(self, channel: Channel, notice: Notice) -> None:
        for number, wait in enumerate(self._waits, 1):
            await asyncio.sleep(wait)
            try:
                async with asyncio.timeout(2 * TIMEOUT_SECONDS):
                    await channel(notice)
            except Exception as error:  # noqa: BLE001 - a notice that fails must not end the pump
                log.warning(
                    "campaign %d: notice not delivered, try %d: %s", notice.campaign_id, number, _said(error)
                )
            else:
                return


async def post(url: str, notice: Notice) -> None:
    """As JSON. Anything but a 2xx is a failure; redirections are not followed."""
    import httpx

    async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS) as client:
        answer = await client.post(url, json=notice.payload())
    if not answer.is_success:
        raise MailerError(f"the webhook answered {answer.status_code}")


async def mail(to: str, sender: str, config: BackendConfig, notice: Notice) -> None:
    """Straight through the backend: no campaign, no ledger, no limits."""
    backend = connect(config)
    try:
        (outcome,) = await backend.send([_message(to, sender, notice)], _always)
    finally:
        await backend.close()
    if not isinstance(outcome, Accepted):
        raise MailerError(f"backend {config.name!r} did not take it: {type(outcome).__name__}")


async def _always(_: Outgoing) -> bool:
    return True


def _message(to: str, sender: str, notice: Notice) -> Outgoing:
    text = EmailMessage(policy=SMTP)
    text["From"], text["To"] = sender, to
    text["Subject"] = f"mailer: {notice.status['id']} {notice.event}"
    text["Date"] = format_datetime(datetime.now(UTC))
    text["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2])
    text["Auto-Submitted"] = "auto-generated"
    text.set_content(_body(notice), cte="quoted-printable")
    return Outgoing(
        id=0,
        fence=0,
        sender=sender,
        recipients=(to,),
        content=text.as_bytes(),
        message_id=text["Message-ID"],
        attempt=1,
    )


def _body(notice: Notice) -> str:
    status = notice.status
    numbers = [f"{number:>9,}  {state}" for state, number in status["counts"].items() if number]
    lines = [f"{status['id']} is {notice.event}.", notice.words() or "", "", *numbers]
    if status["invalid_rows"]:
        lines.append(f"{status['invalid_rows']:>9,}  invalid rows, never part of the campaign")
    return "\n".join([*lines, "", f"mailer status {status['id']}", ""])


def _said(error: Exception) -> str:
    """httpx names the host, never the path or a token in it; other messages are our own."""
    return str(error) if isinstance(error, MailerError) else type(error).__name__
