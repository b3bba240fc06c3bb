"""Requests and answers over pooled HTTP connections, and what it means when one of them is lost.

What is lost before the request was written is unsent; what is lost after it is Unknown, unless the
request carries an idempotency key: then it is sent once more first, the same octets under the same key.

aiohttp, because a request costs it an eighth of what httpx takes, and httpx's pool asks every connection
about every request: docs/performance.md has the figures.
"""

from __future__ import annotations

import asyncio
import io
import logging
import ssl
from importlib.metadata import PackageNotFoundError, version
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from mailer.backends.account import Account
from mailer.backends.answers import Answer
from mailer.backends.provider import Request
from mailer.errors import BackendUnusable

log = logging.getLogger(__name__)
logging.getLogger("httpx").setLevel(logging.WARNING)  # other rooms' requests; a line each is no news here

#: Raised before the first octet of the request was written. Everything else may come after the last.
_UNSENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    aiohttp.InvalidURL,
)
#: What no later try would mend.
_LASTING = (aiohttp.ClientConnectorCertificateError, aiohttp.InvalidURL)
#: Octets of an answer that are read; no provider says more about its largest batch.
_ANSWER_LIMIT = 8_000_000
#: Requests over so many octets are written piece by piece, so that others get their turn.
_WHOLE = 500_000


class Lost(Exception):
    """``Lost(reason)``: the request was written and no answer came back."""


class Channel:
    """One account's connections. Opened by the first request; safe for concurrent calls."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._proxy = _proxy(account)
        self._session: aiohttp.ClientSession | None = None
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def exchange(self, request: Request) -> Answer:
        """Raises BackendUnusable when nothing was written, Lost when the answer is missing."""
        try:
            return await self._once(request)
        except Lost:
            if not request.repeatable:
                raise
        try:
            return await self._once(request)
        except BackendUnusable as error:  # of the second try; of the first nobody knows
            raise Lost(error.reason) from None

    async def _once(self, request: Request) -> Answer:
        session = await self._opened()
        try:
            async with asyncio.timeout(self._account.deadline):
                return await self._answer(session, request)
        except _UNSENT as error:
            reason = _fault(error, self._account.base)
            raise BackendUnusable(self._account.name, reason, isinstance(error, _LASTING)) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.debug("%s: %s after the request was written", self._account.name, type(error).__name__)
            raise Lost(_fault(error, self._account.base)) from None

    async def _answer(self, session: aiohttp.ClientSession, request: Request) -> Answer:
        content = request.content
        asked = session.request(
            request.method,
            URL(f"{self._account.base}{request.path}", encoded=True),  # as it is signed
            data=(io.BytesIO(content) if len(content) > _WHOLE else content) or None,
            headers=request.headers,
            allow_redirects=False,
            proxy=self._proxy,
        )
        async with asked as response:
            body = bytearray()
            async for piece in response.content.iter_any():
                body += piece
                if len(body) > _ANSWER_LIMIT:
                    response.close()
                    break
        text = self._account.without_secrets(body.decode("utf-8", "replace"))
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, headers, text)

    async def _opened(self) -> aiohttp.ClientSession:
        """Made once; reading the system's certificates takes tens of milliseconds, so off the loop."""
        if self._session is not None:
            return self._session
        async with self._opening:
            if self._session is None:
                account = self._account
                secure = account.base.startswith("https:")
                context = await asyncio.to_thread(_tls, account.ca_file) if secure else True
                self._session = aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(
                        limit=account.connections, keepalive_timeout=15.0, ssl=context
                    ),
                    timeout=aiohttp.ClientTimeout(sock_connect=10.0, sock_read=account.timeout),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    headers={"User-Agent": USER_AGENT},
                )
            return self._session


def _proxy(account: Account) -> str | None:
    """The environment's, for the world outside. Not by ``trust_env``: that sends logins of ~/.netrc, too."""
    parts = urlsplit(account.base)
    if account.local or proxy_bypass(parts.hostname or ""):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")


def _tls(ca_file: str | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)


def _fault(error: Exception, base: str) -> str:
    """What happened, in words; never the request, which holds a key."""
    host = base.partition("://")[2].partition("/")[0]
    if isinstance(error, aiohttp.ClientHttpProxyError):  # its text names the proxy's address, login and all
        return f"{host}: the proxy answered {error.status} {error.message[:200]}"
    return f"{host}: {str(error)[:200] or type(error).__name__}"


def _version() -> str:
    try:
        return version("mailer-worker")
    except PackageNotFoundError:  # a checkout that nobody installed
        return "0"


USER_AGENT = f"mailer-worker/{_version()}"
