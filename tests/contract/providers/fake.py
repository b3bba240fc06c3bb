"""A provider's API on a loopback port: it checks what the real one would and can answer any error."""

from __future__ import annotations

import json
import ssl
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Recorded:
    """One request as it came in. Header names are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Response:
    """``body``: JSON unless it is text. ``taken`` are the messages that this answer accepts."""

    status: int
    body: Any = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    taken: tuple[Taken, ...] = ()

    def octets(self) -> bytes:
        return self.body.encode() if isinstance(self.body, str) else json.dumps(self.body).encode()


@dataclass(frozen=True)
class Taken:
    """One message that the provider took over."""

    subject: str
    recipients: tuple[str, ...]
    raw: bytes = b""


#: Instead of a response: the request is read, and the connection closed.
DROP = "drop"
#: Instead of a response: the request is read, and nothing follows until the server stops.
HANG = "hang"

Play = Callable[[Recorded], Response]


class Fake:
    """``script`` is answered first, one entry per sending request; then ``play`` answers."""

    def __init__(self, play: Play) -> None:
        self.play = play
        self.script: list[Response | str] = []
        self.requests: list[Recorded] = []
        self.taken: list[Taken] = []
        self.stopping = threading.Event()
        self.port = 0
        self.secure: Callable[[ssl.SSLContext], None] = lambda context: None

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def sends(self) -> list[Recorded]:
        return [request for request in self.requests if request.method == "POST"]

    def contents(self) -> list[bytes]:
        """What was taken, as the message's octets or as the subject line that stands for it."""
        return [one.raw or f"Subject: {one.subject}\r\n".encode() for one in list(self.taken)]

    def answer(self, request: Recorded) -> Response | str:
        self.requests.append(request)
        response = self.script.pop(0) if self.script and request.method == "POST" else self.play(request)
        if isinstance(response, Response):
            self.taken += response.taken
        return response


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # whoever finds no room among five comes again after one, two and four seconds

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that does not wait for its answer is what some tests are about."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serving(play: Play) -> Iterator[Fake]:
    """The fake, listening until the block is left."""
    fake = Fake(play)
    server = _Server(("127.0.0.1", 0), _handler(fake))
    fake.port = server.server_address[1]

    def secure(context: ssl.SSLContext) -> None:
        server.socket = context.wrap_socket(server.socket, server_side=True)

    fake.secure = secure
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
    thread.start()
    try:
        yield fake
    finally:
        fake.stopping.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(fake: Fake) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1
        timeout = 30

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            response = fake.answer(Recorded(self.command, self.path, headers, body))
            if isinstance(response, str):
                if response == HANG:
                    fake.stopping.wait(20)
                self.close_connection = True
                return
            octets = response.octets()
            kind = "text/html" if isinstance(response.body, str) else "application/json"
            self.send_response(response.status)
            for name, value in {"Content-Type": kind, **response.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(octets)))
            self.end_headers()
            self.wfile.write(octets)
            self.wfile.flush()

        do_GET = do_POST = do_PUT = _serve

        def log_message(self, *args: Any) -> None:
            """Nothing is printed."""

    return Handler
