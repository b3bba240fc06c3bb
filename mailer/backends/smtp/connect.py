"""From nothing to a session: connect, greeting, EHLO, STARTTLS, login. aiosmtplib does the talking.

Whatever goes wrong here is BackendUnusable, sorted by whether a person must mend it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast

import aiosmtplib

from mailer import crash
from mailer.backends.hosts import is_loopback, is_private
from mailer.backends.smtp.envelope import Offers
from mailer.backends.smtp.faults import Fault, translate
from mailer.backends.smtp.oauth import TokenSource
from mailer.backends.smtp.options import Options
from mailer.backends.smtp.session import Session
from mailer.backends.smtp.wire import Wire
from mailer.errors import BackendUnusable
from mailer.message import Phase

log = logging.getLogger(__name__)

#: Most wanted first. Without TLS (loopback only) the one that does not show the password.
_UNDER_TLS = ("plain", "login", "cram-md5")
_IN_CLEAR = ("cram-md5", "plain", "login")


@dataclass(frozen=True, slots=True)
class Opened:
    """A session, and what a person wants to know about it."""

    session: Session
    greeting: str
    tls: str | None
    mechanism: str | None


async def open_session(options: Options, context: ssl.SSLContext | None) -> Opened:
    """One more connection, ready for its first transaction. Raises BackendUnusable."""
    crash.point("before_connect")
    opening = _Opening(options, context)
    try:
        opened = await opening.run()
    except BaseException as error:
        opening.abandon()
        fault = translate(error, opening.phase, f"{options.host}:{options.port}")
        if fault is None:
            raise
        log.debug("%s: %s", options.name, fault.reason)
        raise BackendUnusable(options.name, fault.reason, fault.lasting) from error
    crash.point("after_connect")
    return opened


class _Opening:
    """One attempt; ``phase`` says how far it came."""

    def __init__(self, options: Options, context: ssl.SSLContext | None) -> None:
        self.phase = Phase.CONNECT
        self._options = options
        self._context = context
        self._socket: socket.socket | None = None
        self._client = aiosmtplib.SMTP()
        self._wire: Wire | None = None

    def abandon(self) -> None:
        if self._client.transport is not None:
            cast("asyncio.Transport", self._client.transport).abort()
        if self._socket is not None:
            self._socket.close()
        if self._wire is not None:
            self._wire.abort()

    async def run(self) -> Opened:
        options, limits = self._options, self._options.timeouts
        async with asyncio.timeout(limits.connect):
            self._socket = await _connect(options)
        peer = str(self._socket.getpeername()[0])
        self._check_peer(peer)
        self._client = self._make_client(self._socket)
        self.phase = Phase.GREETING
        self._socket = None  # the transport's from here on
        greeting = await self._client.connect(timeout=limits.greeting)
        await self._ehlo()
        await self._encrypt()
        mechanism = await self._login(peer)
        return self._hand_over(greeting.message, mechanism)

    def _check_peer(self, peer: str) -> None:
        if self._options.tls == "none" and not is_private(peer):
            raise Fault(
                "tls=none is for a relay in our own network, and this one is not; use tls=required", True
            )

    def _make_client(self, sock: socket.socket) -> aiosmtplib.SMTP:
        return aiosmtplib.SMTP(
            hostname=self._options.host,
            sock=sock,
            local_hostname=self._options.ehlo or _own_name(sock),
            use_tls=self._options.implicit_tls,
            start_tls=False,  # done below, where injected plain text is noticed
            tls_context=self._context if self._options.implicit_tls else None,
        )

    async def _ehlo(self) -> None:
        self.phase = Phase.EHLO
        try:
            await self._client.ehlo(timeout=self._options.timeouts.ehlo)
        except aiosmtplib.SMTPHeloError as error:
            # HELO knows neither STARTTLS nor AUTH, so it is for servers of which we want neither.
            if error.code not in (500, 502, 504) or self._options.tls == "required" or self._options.user:
                raise
            await self._client.helo(timeout=self._options.timeouts.ehlo)

    async def _encrypt(self) -> None:
        options = self._options
        if options.implicit_tls or options.tls == "none":
            return
        offered = self._client.supports_extension("starttls")
        if not offered and options.tls == "opportunistic":
            return
        if not offered:
            raise Fault("the server offers no STARTTLS, and tls=required", True)
        self.phase = Phase.STARTTLS
        async with asyncio.timeout(options.timeouts.starttls):
            await self._start_tls()
        await self._ehlo()  # what was offered in clear no longer counts, RFC 3207 section 4.2

    async def _start_tls(self) -> None:
        """By hand, to refuse a server (or somebody between) that says more than 220 in clear."""
        protocol, transport = self._client.protocol, self._client.transport
        assert protocol is not None and transport is not None and self._context is not None  # noqa: PT018, S101
        wire = Wire()
        wire.attach(transport)
        wire.write(b"STARTTLS\r\n")
        replies = await wire.read((self._options.timeouts.starttls,))
        if not replies:
            raise ConnectionError(wire.lost)
        if replies[0].code != 220:
            raise aiosmtplib.SMTPResponseException(replies[0].code, replies[0].text.decode(errors="replace"))
        if not wire.quiet:
            raise Fault("plain text followed STARTTLS: somebody may be between us and the server", True)
        encrypted = await asyncio.get_running_loop().start_tls(
            wire.transport, protocol, self._context, server_hostname=self._options.host
        )
        if encrypted is None:
            raise ConnectionError("connection lost")
        wire.let_go()
        self._client.transport = protocol.transport = encrypted

    async def _login(self, peer: str) -> str | None:
        options = self._options
        if options.user is None or (options.password is None and options.tokens is None):
            return None
        self.phase = Phase.AUTH
        encrypted = self._client.get_transport_info("sslcontext") is not None
        if not encrypted and not is_loopback(peer):
            raise Fault("the connection is not encrypted, so the password is not sent", True)
        mechanism = self._choose(encrypted)
        method = getattr(self._client, f"auth_{mechanism.replace('-', '')}")

        async def present(secret: str | None) -> None:
            await method(options.user, secret, timeout=options.timeouts.auth)

        await (_present(options.tokens, present) if options.tokens else present(options.password))
        return mechanism

    def _choose(self, encrypted: bool) -> str:
        """One mechanism, tried once: several failed logins in a row lock accounts."""
        offered = self._client.server_auth_methods
        only = "xoauth2" if self._options.tokens else self._options.auth
        wanted = (only,) if only else _UNDER_TLS if encrypted else _IN_CLEAR
        for mechanism in wanted:
            if mechanism in offered:
                return mechanism
        known = ", ".join(sorted(set(offered))) or "none at all"
        raise Fault(f"the server offers no login by {' or '.join(map(str, wanted))}, but: {known}", True)

    def _hand_over(self, greeting: str, mechanism: str | None) -> Opened:
        """The transport gets a protocol of ours; aiosmtplib's part ends here."""
        client, options = self._client, self._options
        tls = client.get_transport_info("ssl_object")
        offers = Offers.parse(client.esmtp_extensions, options.size)
        transport = client.transport
        assert transport is not None  # noqa: S101 - get_transport_info has just used it
        self._wire = Wire()
        self._wire.attach(transport)
        session = Session(self._wire, offers, options.timeouts, pipelining=options.pipelining)
        return Opened(session, greeting, tls.version() if tls else None, mechanism)


async def _present(tokens: TokenSource, present: Callable[[str], Awaitable[None]]) -> None:
    """A token that was good until now is replaced once; a new one that is refused is somebody's mistake."""
    token = await tokens.token()
    try:
        await present(token)
    except aiosmtplib.SMTPAuthenticationError:
        other = await tokens.another(token)
        if other is None:
            raise
        await present(other)
    tokens.proven()


async def _connect(options: Options) -> socket.socket:
    """The first address that answers. The time limit is for all of them together."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM)
    failure: OSError | None = None
    for family, kind, proto, _, address in found:
        sock = socket.socket(family, kind, proto)
        try:
            sock.setblocking(False)
            if options.source:
                sock.bind((options.source, 0))
            await loop.sock_connect(sock, address)
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
    raise failure or OSError("the name has no address")


def _own_name(sock: socket.socket) -> str:
    """Our host name when it has a domain, else our address (RFC 5321 section 4.1.3)."""
    name = socket.gethostname()
    if "." in name.strip("."):
        return name
    address = str(sock.getsockname()[0]).partition("%")[0]
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"
