"""Requests and answers over pooled HTTP connections, and what it means when one of them is lost.

What is lost before the request was written is unsent; what is lost after it is Unknown, unless the
request carries an idempotency key: then it is sent once more first, the same octets under the same key, and
an answer that says nothing of the first leaves it lost.

httpx's own pool asks every connection about every request, which costs 6.7 ms of CPU a request at 64 of them.
So each connection is a transport of its own, and the pool is a list of those that are free: httpx's own where
there is a proxy, httpcore's for HTTP/2, ours for HTTP/1.1. There is nothing here for a client to do: no
redirects, cookies or hooks.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from mailer.backends.account import Account
from mailer.backends.answers import Answer
from mailer.backends.http1 import ANSWER_LIMIT, Http1
from mailer.backends.http2 import Http2
from mailer.backends.provider import Request
from mailer.errors import BackendUnusable

log = logging.getLogger(__name__)
logging.getLogger("hpack").setLevel(logging.INFO)  # below that it logs every header, keys among them
logging.getLogger("httpx").setLevel(logging.WARNING)  # one line per request is no news here

#: Raised before the first octet of the request was written. Everything else may come after the last.
_UNSENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
)
#: Of a second try: turned away at the door, which says nothing of what became of the first.
_TURNED_AWAY = frozenset({401, 402, 403, 407, 408, 409, 421, 425, 429})
#: One connection, closed when nobody wanted it for so many seconds.
_ONE = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=15.0)


class Lost(Exception):
    """``Lost(reason)``: the request was written and no answer came back."""


class Channel:
    """One account's connections. Opened by the first request; safe for concurrent calls."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._proxy = _proxy(account)
        # HTTP/2 has to be asked for while TLS begins; who turns out not to speak it is not asked again.
        self._http2 = account.http2 and account.base.startswith("https:")
        self._contexts: dict[bool, ssl.SSLContext] = {}
        self._free: list[httpx.AsyncBaseTransport] = []
        seconds = account.timeout
        self._timeouts = {"connect": 10.0, "read": seconds, "write": seconds, "pool": seconds}
        self._room = asyncio.Semaphore(account.connections)
        self._most = account.connections
        self._used = 0
        self._ending: set[asyncio.Task[None]] = set()
        self._opening = asyncio.Lock()
        self._closed = False

    async def close(self) -> None:
        """Those in use are closed when they are given back."""
        self._closed = True
        while self._free:
            await self._free.pop().aclose()
        await asyncio.gather(*self._ending)

    @property
    def open(self) -> int:
        """Connections that there are, also those that rest or are being closed."""
        return self._used + len(self._free) + len(self._ending)

    def keep(self, most: int) -> None:
        """At most so many from now on: of those that rest, the oldest go at once; others when given back."""
        self._most = most
        while self._free and self._used + len(self._free) > most:
            ending = asyncio.get_running_loop().create_task(self._free.pop(0).aclose())
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)

    async def exchange(self, request: Request) -> Answer:
        """Raises BackendUnusable when nothing was written, Lost when the answer is missing."""
        try:
            return await self._once(request)
        except Lost:
            if not request.repeatable:
                raise
        try:
            answer = await self._once(request)
        except BackendUnusable as error:  # of the second try; of the first nobody knows
            raise Lost(error.reason) from None
        if answer.status in _TURNED_AWAY or answer.status >= 500:
            raise Lost(f"no answer, and {answer.status} when asked again")
        return answer

    async def _once(self, request: Request) -> Answer:
        wanted = self._wanted(request)
        try:
            async with asyncio.timeout(self._account.deadline), self._connection() as connection:
                return await self._answer(connection, wanted)
        except _UNSENT as error:
            lasting = "CERTIFICATE_VERIFY" in str(error) or isinstance(error, httpx.UnsupportedProtocol)
            raise BackendUnusable(self._account.name, _fault(error, self._account.base), lasting) from None
        except (httpx.HTTPError, TimeoutError, OSError) as error:
            log.debug("%s: %s after the request was written", self._account.name, type(error).__name__)
            raise Lost(_fault(error, self._account.base)) from None

    def _wanted(self, request: Request) -> httpx.Request:
        url = _url(f"{self._account.base}{request.path}")
        headers = {"Host": self._account.host, "User-Agent": USER_AGENT, "Accept": "*/*", **request.headers}
        if request.content or request.method != "GET":
            headers["Content-Length"] = str(len(request.content))
        # httpx would look for all of these by itself, which costs as much again.
        stream = httpx.ByteStream(request.content)
        return httpx.Request(
            request.method, url, headers=headers, stream=stream, extensions={"timeout": self._timeouts}
        )

    async def _answer(self, connection: httpx.AsyncBaseTransport, request: httpx.Request) -> Answer:
        response = await connection.handle_async_request(request)
        try:
            body = bytearray()
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > ANSWER_LIMIT:
                    break
        finally:
            await response.aclose()
        if response.extensions.get("http_version") == b"HTTP/1.1":
            self._http2 = False
        headers = {name.lower(): value for name, value in response.headers.items()}
        text = self._account.without_secrets(body.decode("utf-8", "replace"))
        return Answer(response.status_code, headers, text)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[httpx.AsyncBaseTransport]:
        """The one that was used last, so that the others may time out."""
        async with self._room:
            connection = self._free.pop() if self._free else None
            self._used += 1
            try:
                connection = connection or await self._opened()
                try:
                    yield connection
                except BaseException:
                    await connection.aclose()  # whatever it was in the middle of
                    raise
                if self._closed or self._used + len(self._free) > self._most or self._clumsy(connection):
                    await connection.aclose()
                else:
                    self._free.append(connection)
            finally:
                self._used -= 1

    def _clumsy(self, connection: httpx.AsyncBaseTransport) -> bool:
        """It was made for HTTP/2 and speaks HTTP/1.1, for which there is something better."""
        return isinstance(connection, Http2) and not self._http2

    async def _opened(self) -> httpx.AsyncBaseTransport:
        http2 = self._http2
        context = await self._tls(http2)
        if self._proxy is None:
            return Http2(context) if http2 else Http1(context)
        return httpx.AsyncHTTPTransport(
            verify=context or False,
            http2=self._account.http2,
            limits=_ONE,
            proxy=self._proxy,
            trust_env=False,
        )

    async def _tls(self, http2: bool) -> ssl.SSLContext | None:
        """Made once; reading the system's certificates takes tens of milliseconds, so off the loop.

        httpcore writes into the context what it speaks, so whoever speaks less has one of its own.
        """
        if not self._account.base.startswith("https:"):
            return None
        async with self._opening:
            if http2 not in self._contexts:
                self._contexts[http2] = await asyncio.to_thread(_tls, self._account.ca_file)
            return self._contexts[http2]


def _proxy(account: Account) -> str | None:
    """The environment's, for the world outside. Not by ``trust_env``: that sends logins of ~/.netrc, too."""
    parts = urlsplit(account.base)
    if account.local or proxy_bypass(parts.hostname or ""):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")


@lru_cache(maxsize=256)
def _url(text: str) -> httpx.URL:
    """An account has few; parsing one takes as long as sending to it."""
    return httpx.URL(text)


def _tls(ca_file: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _fault(error: Exception, base: str) -> str:
    """What happened, in words; never the request, which holds a key."""
    host = base.partition("://")[2].partition("/")[0]
    return f"{host}: {str(error)[:200] or type(error).__name__}"


def _version() -> str:
    try:
        return version("mailer-worker")
    except PackageNotFoundError:  # a checkout that nobody installed
        return "0"


USER_AGENT = f"mailer-worker/{_version()}"
