"""One kept connection for HTTP/2 as a transport for httpx: httpcore's connection, without the pool around it.

httpx's own transport brings a pool, which costs 0.9 ms of CPU a request even when it holds one connection
(docs/performance.md).
"""

from __future__ import annotations

import ssl

import httpcore
import httpx

from mailer.backends.http1 import ANSWER_LIMIT, KEPT_SECONDS

#: What httpcore raises has the names of what httpx promises.
_ERRORS = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError)


class Http2(httpx.AsyncBaseTransport):
    """Promises what ``Http1`` does. The server chooses; the answer's ``http_version`` says what it chose."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        self._connection: httpcore.AsyncHTTPConnection | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return await self._exchange(request)
        except httpcore.ConnectionNotAvailable as error:  # the server has just said that it takes no more
            raise httpx.ConnectError("the connection was closed") from error
        except _ERRORS as error:
            raise getattr(httpx, type(error).__name__)(str(error)) from error

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.aclose()

    async def _exchange(self, request: httpx.Request) -> httpx.Response:
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        connection = await self._usable(url.origin)
        answer = await connection.handle_async_request(
            httpcore.Request(
                request.method,
                url,
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        if answer.status < 200:  # 101: of the others httpcore waits for the end
            await self.aclose()
            raise httpx.RemoteProtocolError("the server wants another protocol")
        said = {"http_version": answer.extensions["http_version"]}
        return httpx.Response(
            answer.status, headers=answer.headers, content=await _read(answer), extensions=said
        )

    async def _usable(self, origin: httpcore.Origin) -> httpcore.AsyncHTTPConnection:
        connection = self._connection
        if connection is None or connection.is_closed() or connection.has_expired():
            await self.aclose()
            self._connection = connection = httpcore.AsyncHTTPConnection(
                origin, ssl_context=self._context, keepalive_expiry=KEPT_SECONDS, http2=True
            )
        return connection


async def _read(answer: httpcore.Response) -> bytes:
    body = bytearray()
    try:
        async for piece in answer.aiter_stream():
            body += piece
            if len(body) > ANSWER_LIMIT:
                break
    finally:
        await answer.aclose()
    return bytes(body)
