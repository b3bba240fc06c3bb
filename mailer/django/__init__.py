"""Django's e-mail through the mailer: ``EMAIL_BACKEND = "mailer.django.EmailBackend"``.

Understands the attributes of django-anymail: ``template_id``, ``merge_data``, ``merge_global_data``,
``merge_metadata``, ``merge_headers``, ``metadata``, ``tags`` and ``send_at``; sets ``anymail_status``. What
cannot be expressed is an error, not a silence: ``esp_extra``, ``envelope_sender``, tracking, a body beside a
template, a To or Cc that names others than those who get it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parseaddr
from functools import cache

from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

from mailer import Mailer, Message
from mailer.django.reading import wishes
from mailer.errors import MailerError

#: What anymail calls a message that was taken and has not left yet.
QUEUED = "queued"


@dataclass(frozen=True, slots=True)
class RecipientStatus:
    """What is known of one recipient right after sending."""

    message_id: str
    status: str = QUEUED


@dataclass(frozen=True, slots=True)
class AnymailStatus:
    """As anymail's, after sending: ``message_id`` is an id for ``Mailer.status``; of several, the set."""

    message_id: str | set[str] | None
    recipients: Mapping[str, RecipientStatus]
    esp_response: None = None

    @property
    def status(self) -> set[str]:
        return {one.status for one in self.recipients.values()}


@cache
def shared_mailer() -> Mailer:
    """The one Mailer of this process; its settings are those of ``mailer.toml``."""
    return Mailer()


class EmailBackend(BaseEmailBackend):
    """Returns when the messages are in the ledger; each gets ``mailer_ids``, to ask ``Mailer.status``, and
    ``anymail_status``."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """How many were handed over. Raises InputError and LedgerError unless ``fail_silently``."""
        count = 0
        for message in email_messages or ():
            try:
                count += self._send(message)
            except MailerError:
                if not self.fail_silently:
                    raise
        return count

    def _send(self, message: EmailMessage) -> int:
        found = list(wishes(message))
        receipts = shared_mailer().send_many(found)
        ids = [receipt.id for receipt in receipts]
        message.mailer_ids = ids
        message.anymail_status = _status(found, ids)
        return bool(receipts)


def _status(found: Sequence[Message], ids: Sequence[str]) -> AnymailStatus:
    recipients = {
        parseaddr(address)[1]: RecipientStatus(id_)
        for wish, id_ in zip(found, ids, strict=True)
        for address in (*wish.to, *wish.cc, *wish.bcc)
    }
    return AnymailStatus(ids[0] if len(ids) == 1 else set(ids) or None, recipients)
