"""Requests and answers over pooled HTTP connections, and what it means when one of them is lost.

What is lost before the request was written is unsent; what is lost after it is Unknown, unless the
request carries an idempotency key: then it is sent once more first, the same octets under the same key.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from importlib.metadata import PackageNotFoundError, version

import httpx

from mailer.backends.account import Account
from mailer.backends.answers import Answer
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
#: Octets of an answer that are read; no provider says more about its largest batch.
_ANSWER_LIMIT = 8_000_000


class Lost(Exception):
    """``Lost(reason)``: the request was written and no answer came back."""


class Channel:
    """One account's connections. Opened by the first request; safe for concurrent calls."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._client: httpx.AsyncClient | None = None
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

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
        client = await self._opened()
        wanted = client.build_request(
            request.method,
            f"{self._account.base}{request.path}",
            content=request.content or None,
            headers=dict(request.headers),
        )
        try:
            async with asyncio.timeout(self._account.deadline):
                return await self._answer(client, wanted)
        except _UNSENT as error:
            lasting = "CERTIFICATE_VERIFY" in str(error) or isinstance(error, httpx.UnsupportedProtocol)
            raise BackendUnusable(self._account.name, _fault(error, self._account.base), lasting) from None
        except (httpx.HTTPError, TimeoutError, OSError) as error:
            log.debug("%s: %s after the request was written", self._account.name, type(error).__name__)
            raise Lost(_fault(error, self._account.base)) from None

    async def _answer(self, client: httpx.AsyncClient, request: httpx.Request) -> Answer:
        response = await client.send(request, stream=True)
        try:
            body = bytearray()
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > _ANSWER_LIMIT:
                    break
        finally:
            await response.aclose()
        text = self._account.without_secrets(bytes(body).decode("utf-8", "replace"))
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, headers, text)

    async def _opened(self) -> httpx.AsyncClient:
        """Made once; reading the system's certificates takes tens of milliseconds, so off the loop."""
        async with self._opening:
            if self._client is None:
                account = self._account
                secure = account.base.startswith("https:")
                context = await asyncio.to_thread(_tls, account.ca_file) if secure else False
                self._client = httpx.AsyncClient(
                    http2=True,
                    verify=context,
                    trust_env=not account.local,  # a proxy of the environment is for the world outside
                    timeout=httpx.Timeout(account.timeout, connect=10.0, pool=None),
                    limits=httpx.Limits(
                        max_connections=account.connections,
                        max_keepalive_connections=account.connections,
                        keepalive_expiry=15.0,
                    ),
                    headers={"User-Agent": USER_AGENT},
                )
            return self._client


def _tls(ca_file: str | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)


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
