"""What can go wrong, sorted by what the caller should do next.

* MailerError
  x ConfigError             fix the settings; the process should not start
  x InputError              fix what the sender gave us
    + CampaignError         … the campaign file
    + RecipientsError       … the recipients, at this line and column
    + TemplateError         … the template, at this line
    + ContentError          … this one row: it cannot become a message
      * MissingData         … because its template needs more than it was given
      * FieldError          … because this field of what an application handed over is wrong
    + UnknownMessage        … the id: there is no such message
    + SenderRefused         … the sender: who hands it over may not use this one
  x AccessDenied            show another key, or get one: mailer keys create
  x StateConflict           the campaign is not in a state that allows this
    + IdempotencyConflict   the key was used for another message
  x BackendUnusable         nothing was sent; let the backend rest, or stop it
  x BrokerUnavailable       no hint was published, as far as we know; the ledger keeps the rows
  x LimitsUnavailable       nobody can say what may go, so nothing goes; ask again
  x LedgerError             the ledger cannot be read or written
    + LedgerBusy            … right now; try again
    + LedgerInterrupted     … any more: its transaction was broken off; the same again may succeed

Every class takes positional arguments only and keeps them in ``args``, so all survive pickling.
"""

from __future__ import annotations


class MailerError(Exception):
    """Base of everything this project raises on purpose."""

    #: What a command exits with when this reaches the user.
    exit_code = 2


class ConfigError(MailerError):
    """A setting is wrong: ``ConfigError(message)``."""


class InputError(MailerError):
    """``InputError(message, file, line, column, hint)``; all but the message may be absent."""

    def __init__(
        self,
        message: str,
        file: str | None = None,
        line: int | None = None,
        column: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, file, line, column, hint)
        self.message = message
        self.file = file
        self.line = line
        self.column = column
        self.hint = hint

    def __str__(self) -> str:
        place = ", ".join(
            text
            for text in (
                self.file,
                f"line {self.line}" if self.line is not None else None,
                f"column {self.column!r}" if self.column else None,
            )
            if text
        )
        head = f"{place}: {self.message}" if place else self.message
        return f"{head}\n  {self.hint}" if self.hint else head


class CampaignError(InputError):
    """The campaign file, or what it refers to."""


class RecipientsError(InputError):
    """The recipients cannot be read any further."""


class TemplateError(InputError):
    """A template cannot be loaded, compiled or rendered."""


class ContentError(InputError):
    """One row cannot become a message; the others may."""


class MissingData(ContentError):
    """The template reads what it was not given; ``missing`` names all of it."""

    @property
    def missing(self) -> tuple[str, ...]:
        return tuple(self.column.split(", ")) if self.column else ()

    def __str__(self) -> str:
        return self.message if self.column else super().__str__()


class FieldError(ContentError):
    """A message that an application handed over; ``field`` says where, as ``to`` or ``headers.X-Shop``."""

    @property
    def field(self) -> str:
        return self.column or ""

    def __str__(self) -> str:
        head = f"{self.field}: {self.message}"
        return f"{head}\n  {self.hint}" if self.hint else head


class UnknownMessage(InputError):
    """No message has this id."""


class SenderRefused(InputError):
    """From is an address that this key may not use."""


class AccessDenied(MailerError):
    """``AccessDenied(message)``: the key is unknown, over, or not good for this. Never says the key."""


class StateConflict(MailerError):
    """``StateConflict(message)``: the ledger says no, and the message says what to do."""


class IdempotencyConflict(StateConflict):
    """The same key came with other content. Nothing was stored."""


class BackendUnusable(MailerError):
    """``BackendUnusable(backend, reason, lasting)``. Nothing was sent.

    ``lasting`` tells a fault that a person must mend (login, certificate, policy) from one that
    passes (refused connection, 421 in the greeting).
    """

    def __init__(self, backend: str, reason: str, lasting: bool = False) -> None:
        super().__init__(backend, reason, lasting)
        self.backend = backend
        self.reason = reason
        self.lasting = lasting

    def __str__(self) -> str:
        return f"backend {self.backend!r}: {self.reason}"


class BrokerUnavailable(MailerError):
    """``BrokerUnavailable(message)``: names the broker without its password."""


class LimitsUnavailable(MailerError):
    """``LimitsUnavailable(message)``: names the server of the limits without its password."""


class LedgerError(MailerError):
    """``LedgerError(message)``: the message says what to do."""


class LedgerBusy(LedgerError):
    """Another process held the ledger for too long."""


class LedgerInterrupted(LedgerError):
    """The connection broke, or the database broke the transaction off: nothing of it is confirmed."""
