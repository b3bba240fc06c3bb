"""One transaction: MAIL, RCPT, DATA (RFC 5321 3.3), and what a session must know for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from mailer.address import Address, AddressError
from mailer.gateway.admission import Guest
from mailer.gateway.auth import MECHANISMS
from mailer.gateway.message import Handed
from mailer.sink import envelope
from mailer.sink.dialogue import Dialogue
from mailer.sink.envelope import Envelope, Refusal
from mailer.sink.wire import has_bare_line_end

if TYPE_CHECKING:
    from mailer.gateway.server import Gateway

T = TypeVar("T")

#: Refusals on one connection since its last message; who makes more mistakes than this speaks something else.
MOST_FAULTS = 30
SHUTTING_DOWN = "421 4.3.2 Shutting down"
#: What every login hears that lets nobody in.
NO_ENTRY = "535 5.7.8 Login refused: user is the id of a key, mk_..., and password its secret"

#: What may follow MAIL FROM.
FOR_MAIL = frozenset({"SIZE", "8BITMIME", "SMTPUTF8", "AUTH"})
EXTENSIONS = ("PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES")


class Transaction(Dialogue):
    """Framing is the wire's: a message ends at CRLF.CRLF and nowhere else, and bare CR or LF is refused."""

    def __init__(self, gateway: Gateway, *, encrypted: bool) -> None:
        super().__init__(gateway.config.hostname)
        self.guest: Guest | None = None
        self._gateway = gateway
        self._config = gateway.config
        self._encrypted = encrypted
        self._login = ("", "")
        self._believed_until = 0.0
        self._faults = 0
        self._envelope: Envelope | None = None
        self._recipients: dict[str, Address] = {}

    @property
    def busy(self) -> bool:
        """A message is being received or stored."""
        return self._envelope is not None or self.at_rest

    def give_notice(self, reply: str) -> None:
        """Say why, and close; a message that is being stored is answered first."""
        if not self.at_rest:
            self.write(reply)
            self.close()

    def _answer(self, reply: str) -> None:
        """Answer; 421 closes, and so does one mistake too many."""
        self._faults += reply.startswith("5")
        if self._faults > MOST_FAULTS:
            reply = "421 4.7.0 Too many errors"
        self.write(reply)
        if reply.startswith("421"):
            self.close()

    def refuse(self, phase: str, reply: str) -> None:
        self._answer(reply)

    def _after(self, work: Coroutine[Any, Any, T], then: Callable[[T], None]) -> None:
        self.wait_for(asyncio.get_running_loop().create_task(work), then)

    # What is offered

    def _keywords(self) -> Iterable[str]:
        yield f"SIZE {self._config.max_size}"
        yield from EXTENSIONS
        if self._may_encrypt:
            yield "STARTTLS"
        if self._encrypted:
            yield f"AUTH {' '.join(MECHANISMS)}"

    @property
    def _may_encrypt(self) -> bool:
        return self._gateway.tls is not None and not self._encrypted

    def _welcome(self, guest: Guest) -> None:
        self.guest = guest
        self._believed_until = asyncio.get_running_loop().time() + self._config.key_seconds

    # The envelope

    def _mail(self, argument: str) -> None:
        try:
            begun = self._begin(argument)
        except Refusal as refusal:
            self._answer(str(refusal))
            return
        if self._login[0] and asyncio.get_running_loop().time() >= self._believed_until:
            # A key that was revoked lets nobody in, not even those who are in.
            again = self._gateway.log_in(*self._login)
            self._after(again, lambda said: self._go_on_as(said, begun))
        else:
            self._accept(begun)

    def _begin(self, argument: str) -> Envelope:
        if self._gateway.closing:
            raise Refusal(SHUTTING_DOWN)
        if not self._greeted:
            raise Refusal("503 5.5.1 EHLO first")
        if self._envelope is not None:
            raise Refusal("503 5.5.1 One MAIL at a time")
        if self.guest is None:
            first = "Encrypt with STARTTLS and log in" if self._may_encrypt else "Log in"
            raise Refusal(f"530 5.7.0 {first} first")
        begun = envelope.read_mail(argument, FOR_MAIL, self._config.max_size)
        begun.sender = _address(begun.sender, "sender").addr if begun.sender else ""
        return begun

    def _go_on_as(self, said: Guest | str, begun: Envelope) -> None:
        if isinstance(said, Guest):
            self._welcome(said)
            self._accept(begun)
        else:
            self._answer("421 4.7.0 The key is no longer valid" if said == NO_ENTRY else said)

    def _accept(self, begun: Envelope) -> None:
        guest = self.guest
        if guest is None or (begun.sender and not guest.may_send_as(begun.sender)):
            self._answer("550 5.7.1 This key may not send as that address")
        elif wait := self._gateway.meter.wait(guest):
            self._answer(f"451 4.7.1 Too fast: again in {max(1, round(wait))} s")
        else:
            self._envelope = begun
            self.write("250 2.1.0 Ok")

    def _rcpt(self, argument: str) -> None:
        try:
            if self._envelope is None:
                raise Refusal("503 5.5.1 MAIL first")
            if len(self._recipients) >= self._config.max_recipients:
                raise Refusal("452 4.5.3 Too many recipients")
            text, _ = envelope.read_rcpt(argument, EXTENSIONS, self._envelope.utf8)
            address = _address(text, "recipient")
        except Refusal as refusal:
            self._answer(str(refusal))
            return
        self._recipients.setdefault(address.key, address)
        self.write("250 2.1.5 Ok")

    def _rset(self, _: str) -> None:
        self._forget()
        self.write("250 2.0.0 Ok")

    def _forget(self) -> None:
        self._envelope = None
        self._recipients = {}

    # The message

    def _data(self, argument: str) -> None:
        if self._envelope is None:
            self._answer("503 5.5.1 MAIL first")
        elif not self._recipients:
            self._answer("554 5.5.1 No valid recipients")
        elif argument:
            self._answer("501 5.5.4 Syntax: DATA")
        elif self.more_waits:  # RFC 2920 3.1; a web page that posts to this port does so
            self._answer("421 5.5.0 Input before 354")
        else:
            self.write("354 End with <CR><LF>.<CR><LF>")
            self.expect_body(self._config.max_size)

    def body(self, body: bytes | None) -> None:
        begun, guest = self._envelope, self.guest
        recipients = tuple(self._recipients.values())
        self._forget()
        if begun is None or guest is None:  # cannot be: DATA was allowed
            self._answer("503 5.5.1 MAIL first")
            return
        if body is None or len(body) > self._config.max_size:
            self._answer("552 5.3.4 Message too large")
        elif has_bare_line_end(body):
            self._answer("550 5.6.11 Bare CR or LF")
        else:
            handed = Handed(guest, begun.sender, recipients, begun.utf8, body)
            self.wait_for(self._gateway.store(handed), self._stored)

    def _stored(self, reply: str) -> None:
        if reply.startswith("250"):  # a long list with old addresses in it is no attack
            self._faults = 0
        self._answer(reply)
        if self._gateway.closing:
            self.give_notice(SHUTTING_DOWN)


def _address(text: str, whose: str) -> Address:
    try:
        return Address.parse(text)
    except AddressError as error:
        number = "5.1.7" if whose == "sender" else "5.1.3"
        raise Refusal(f"553 {number} Bad {whose} address: {error.reason}") from None
