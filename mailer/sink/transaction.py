"""One transaction, RFC 5321 3.3: MAIL, RCPT, DATA or BDAT, and where the rules step in."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from mailer.sink import envelope
from mailer.sink.config import Rule
from mailer.sink.dialogue import Dialogue
from mailer.sink.envelope import Envelope, Refusal
from mailer.sink.wire import has_bare_line_end

if TYPE_CHECKING:
    from mailer.sink.server import Sink

#: Carries a phase out and answers with this reply; with an empty one, does not answer.
Accept = Callable[[str], None]


class Transaction(Dialogue):
    """What the sessions of a ``Sink`` know about messages."""

    def __init__(self, sink: Sink) -> None:
        super().__init__(sink.config.hostname, sink.config.latency)
        self._sink = sink
        self._config = sink.config
        self._number = 0  # of this connection
        self._messages = 0
        self._logged_in = False
        self._offered: frozenset[str] = frozenset()
        self._envelope: Envelope | None = None
        self._last_chunk = False

    # What a rule, or its absence, leads to

    def _apply(self, phase: str, key: str, accept: Accept, reply: str, recipient: str | None = None) -> None:
        sender = self._envelope.sender if self._envelope else ""
        self._follow(self._sink.rules.find(phase, sender, recipient, key), phase, accept, reply)

    def _follow(self, rule: Rule | None, phase: str, accept: Accept, reply: str) -> None:
        if rule is None:
            accept(reply)
        elif rule.delay:
            self.hold(rule.delay, partial(self._carry_out, rule, phase, accept, reply))
        else:
            self._carry_out(rule, phase, accept, reply)

    def _carry_out(self, rule: Rule, phase: str, accept: Accept, reply: str) -> None:
        if rule.reply is None and rule.drop is None:
            accept(reply)
        elif rule.drop == "after-dot" or (rule.reply is not None and rule.reply.startswith("2")):
            accept(rule.reply or "")
        elif rule.reply is not None:
            self.refuse(phase, rule.reply)
        if rule.drop is not None:
            self._drop(rule.drop)

    def refuse(self, phase: str, reply: str) -> None:
        """Answer and count; 421 closes, and so does a refused greeting."""
        self._sink.received.refused[f"{phase} {reply[:3]}"] += 1
        self.write(reply)
        if phase == "dot":
            self._envelope = None
        if reply.startswith("421") or phase == "connect":
            self.close()

    def _drop(self, where: str) -> None:
        self._sink.received.dropped[where] += 1
        self.close()

    # The envelope

    def _mail(self, argument: str) -> None:
        try:
            self._check_turn()
            begun = envelope.read_mail(argument, self._offered, self._config.max_size)
        except Refusal as refusal:
            self.refuse("mail", str(refusal))
            return
        self._sink.received.transactions += 1
        rule = self._sink.rules.find("mail", begun.sender, None, str(self._sink.received.transactions))
        self._follow(rule, "mail", partial(self._begin, begun), "250 2.1.0 Ok")

    def _check_turn(self) -> None:
        if not self._greeted:
            raise Refusal("503 5.5.1 EHLO first")
        if self._envelope is not None:
            raise Refusal("503 5.5.1 One MAIL at a time")
        if self._config.require_auth and not self._logged_in:
            raise Refusal("530 5.7.0 Authentication required")
        if self._messages == self._config.messages_per_connection:
            raise Refusal("421 4.3.2 Enough for one connection")

    def _begin(self, begun: Envelope, reply: str) -> None:
        self._envelope = begun
        self.write(reply)

    def _rcpt(self, argument: str) -> None:
        begun = self._envelope
        try:
            if begun is None:
                raise Refusal("503 5.5.1 MAIL first")
            if len(begun.recipients) >= self._config.max_recipients:
                raise Refusal("452 4.5.3 Too many recipients")
            recipient, options = envelope.read_rcpt(argument, self._offered, begun.utf8)
        except Refusal as refusal:
            self.refuse("rcpt", str(refusal))
            return
        accept = partial(self._add, begun, recipient, options)
        self._apply("rcpt", "", accept, "250 2.1.5 Ok", recipient)

    def _add(self, begun: Envelope, recipient: str, options: str, reply: str) -> None:
        begun.recipients.append(recipient)
        begun.rcpt_options.append(options)
        self.write(reply)

    def _rset(self, _: str) -> None:
        self._envelope = None
        self.write("250 2.0.0 Ok")

    # The message

    def _data(self, _: str) -> None:
        begun = self._envelope
        if begun is None:
            self.refuse("data", "503 5.5.1 MAIL first")
        elif not begun.recipients or begun.chunks is not None:
            self.write("554 5.5.1 No valid recipients")  # its RCPT was counted already
        elif self.more_waits:
            self.refuse("pipelining", "421 5.5.0 Input before 354")
        else:
            rule = self._sink.rules.find_any("data", begun.sender, begun.recipients)
            self._follow(rule, "data", partial(self._go_ahead, begun), "354 End with <CR><LF>.<CR><LF>")

    def _go_ahead(self, begun: Envelope, reply: str) -> None:
        self._find_last_rule(begun)
        self.write(reply)
        self.expect_body(self._config.max_size)

    def _find_last_rule(self, begun: Envelope) -> None:
        """Before the body: a rule that breaks off within it must be known at its first octet."""
        begun.rule = self._sink.rules.find_any("dot", begun.sender, begun.recipients)

    def body_began(self) -> None:
        rule = self._envelope.rule if self._envelope else None
        if rule is None or rule.drop != "before-dot":
            return
        if rule.delay:
            self.hold(rule.delay, partial(self._drop, "before-dot"))
        else:
            self._drop("before-dot")

    def body(self, body: bytes | None) -> None:
        if self._envelope is not None:
            self._finish(self._envelope, body)

    def _bdat(self, argument: str) -> None:
        """RFC 3030. The octets follow at once, wanted or not: after a syntax error nothing can be read."""
        size, _, last = argument.upper().partition(" ")
        valid = size.isascii() and size.isdigit() and last in {"", "LAST"}
        if not valid or "CHUNKING" not in self._offered:
            self.refuse("data", "421 5.5.4 Syntax: BDAT octets [LAST]")
            return
        self._last_chunk = last == "LAST"
        if int(size):
            self.expect_chunk(int(size))
        else:
            self.chunk(b"")

    def chunk(self, chunk: bytes) -> None:
        begun = self._envelope
        if begun is None or not begun.recipients:
            self.refuse("data", "503 5.5.1 No valid recipients")
            return
        if begun.chunks is None:
            begun.chunks = bytearray()
            self._find_last_rule(begun)
            self.body_began()
        begun.chunks += chunk
        if self.at_rest:
            return
        if self._last_chunk:
            self._finish(begun, bytes(begun.chunks))
        else:
            self.write(f"250 2.0.0 {len(chunk)} octets")

    def _finish(self, begun: Envelope, body: bytes | None) -> None:
        if body is None or len(body) > self._config.max_size:
            self.refuse("dot", "552 5.3.4 Message too large")
        elif has_bare_line_end(body):
            self.refuse("dot", "550 5.6.11 Bare CR or LF")
        else:
            accept = partial(self._take, begun, body)
            self._follow(begun.rule, "dot", accept, "250 2.0.0 Ok")

    def _take(self, begun: Envelope, body: bytes, reply: str) -> None:
        if not (begun.eight_bit or body.isascii()):
            self._sink.received.odd["eight-bit body without BODY=8BITMIME"] += 1
        try:
            self._sink.take(begun, body, self._number)
        except OSError as error:
            self.refuse("dot", f"452 4.3.1 Cannot be stored: {error.strerror}")
            return
        self._envelope = None
        self._messages += 1
        if reply:
            self.write(reply)
