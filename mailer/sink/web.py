"""The pages of ``mailer sink --web``: what arrived, live, in a browser.

Mail is shown as hostile as it may be: its HTML lies in a sandboxed frame without scripts and without any
connection to the outside. Requests under another host name are refused, or a page of a stranger could read
the mail by pointing its own name at this machine (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import quote

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import StreamingResponse

from mailer.errors import ConfigError
from mailer.sink.mailbox import MEANINGS, Letter, Mailbox

PAGES = Path(__file__).with_name("pages")
MOST = 200
#: A comment line so often keeps proxies and browsers from giving up.
ALIVE_SECONDS = 15.0

_PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; frame-src 'self';"
    " img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_MAIL_POLICY = (
    "sandbox allow-popups; default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:;"
    " font-src data:; frame-ancestors 'self'"
)
#: Shown in the page itself; everything else is only ever downloaded.
_PICTURES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif"})
_FILES = {"app.js": "text/javascript", "app.css": "text/css"}
_CID = re.compile(r"""(?i)(["'(=]\s*)cid:([^"')\s>]+)""")


class Bell:
    """Tells everybody who looks that something has arrived. For one event loop."""

    def __init__(self) -> None:
        self.rung = 0
        self._news = asyncio.Event()

    def ring(self) -> None:
        self.rung += 1
        self._news.set()
        self._news = asyncio.Event()

    async def wait(self) -> None:
        await self._news.wait()


class Pages:
    """What the browser asks for, over one folder. Arrivals ring the bell."""

    def __init__(self, mailbox: Mailbox, bell: Bell) -> None:
        self._mailbox = mailbox
        self._bell = bell

    def page(self) -> Response:
        headers = {"Content-Security-Policy": _PAGE_POLICY, "Referrer-Policy": "no-referrer"}
        return Response((PAGES / "index.html").read_bytes(), media_type="text/html", headers=headers)

    def file(self, name: str) -> Response:
        if name not in _FILES:
            raise HTTPException(404)
        return Response((PAGES / name).read_bytes(), media_type=_FILES[name])

    def messages(self, search: str = "", before: int | None = None) -> list[dict[str, Any]]:
        return self._mailbox.newest(MOST, search, before)

    def message(self, number: int) -> dict[str, Any]:
        with _there():
            return _shown(self._mailbox, number)

    def html(self, number: int) -> Response:
        with _there():
            letter = self._mailbox.letter(number)
        headers = {"Content-Security-Policy": _MAIL_POLICY, "Referrer-Policy": "no-referrer"}
        return Response(_with_pictures(letter, number), media_type="text/html", headers=headers)

    def source(self, number: int) -> Response:
        with _there():
            data = self._mailbox.source(number)
        return Response(data, media_type="text/plain", headers={"X-Content-Type-Options": "nosniff"})

    def content(self, number: int, part: int) -> Response:
        with _there():
            about, data = self._mailbox.content(number, part)
        picture = about.kind in _PICTURES
        how = "inline" if picture else "attachment"
        name = quote(about.name or f"part-{part}", safe="")
        return Response(
            data,
            media_type=about.kind if picture else "application/octet-stream",
            headers={
                "Content-Disposition": f"{how}; filename*=UTF-8''{name}",
                "X-Content-Type-Options": "nosniff",
                "Content-Security-Policy": "sandbox",
            },
        )

    def live(self) -> StreamingResponse:
        return StreamingResponse(_arrivals(self._bell), media_type="text/event-stream")


def app(pages: Pages) -> FastAPI:
    api = FastAPI(title="mailer sink", docs_url=None, redoc_url=None, openapi_url=None)
    api.middleware("http")(_only_this_machine)
    for path, answer in (
        ("/", pages.page),
        ("/pages/{name}", pages.file),
        ("/messages", pages.messages),
        ("/messages/{number}", pages.message),
        ("/messages/{number}/html", pages.html),
        ("/messages/{number}/source", pages.source),
        ("/messages/{number}/parts/{part}", pages.content),
        ("/live", pages.live),
    ):
        api.add_api_route(path, answer, response_model=None)
    return api


@asynccontextmanager
async def serving(api: FastAPI, host: str, port: int) -> AsyncIterator[int]:
    """Serve on this event loop; yields the real port. Raises ConfigError when it cannot listen."""
    try:
        listener = socket.create_server((host, port))
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror}; try another --web-port"
        ) from None
    server = _Server(uvicorn.Config(api, log_level="critical", lifespan="off"))
    running = asyncio.create_task(server.serve([listener]))
    try:
        yield int(listener.getsockname()[1])
    finally:
        server.should_exit = server.force_exit = True
        await running


class _Server(uvicorn.Server):
    """Signals are the sink's business."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _only_this_machine(request: Request, go_on: Any) -> Response:
    host = request.url.hostname or ""
    if host != "localhost" and not _is_address(host):
        return Response("Open this page by its address or as localhost.\n", 421)
    response: Response = await go_on(request)
    return response


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


@contextmanager
def _there() -> Iterator[None]:
    try:
        yield
    except (KeyError, StopIteration):
        raise HTTPException(404, "no such message") from None


def _shown(mailbox: Mailbox, number: int) -> dict[str, Any]:
    letter = mailbox.letter(number)
    return {
        "number": number,
        "envelope": mailbox.envelope(number),
        "headers": [
            {"name": name, "value": value, "meaning": MEANINGS.get(name.lower(), "")}
            for name, value in letter.headers
        ],
        "text": letter.text,
        "has_html": letter.html is not None,
        "parts": [asdict(part) for part in letter.parts if part.attached or part.content_id],
    }


def _with_pictures(letter: Letter, number: int) -> str:
    """The HTML; its ``cid:`` pictures come from here."""
    places = {part.content_id: part.number for part in letter.parts if part.content_id}

    def place(match: re.Match[str]) -> str:
        found = places.get(match.group(2))
        return match.group(0) if found is None else f"{match.group(1)}/messages/{number}/parts/{found}"

    return _CID.sub(place, letter.html or "")


async def _arrivals(bell: Bell) -> AsyncIterator[str]:
    """Server-sent events: how many have come since the start."""
    seen = -1
    while True:
        if bell.rung != seen:
            seen = bell.rung
            yield f"data: {seen}\n\n"
        try:
            await asyncio.wait_for(bell.wait(), ALIVE_SECONDS)
        except TimeoutError:
            yield ": still here\n\n"
