"""HTTP as uvicorn speaks it, with a problem document also for what is none."""

from __future__ import annotations

import json

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mailer.web.problems import MEDIA_TYPE, Problem


class ProblemProtocol(HttpToolsProtocol):
    """Of a request that cannot be read no application hears, so this answers it, and hangs up."""

    def send_400_response(self, msg: str) -> None:
        body = json.dumps(Problem(400, "this request is not HTTP that can be read").as_json()).encode()
        head = (
            "HTTP/1.1 400 Bad Request\r\n"
            f"Content-Type: {MEDIA_TYPE}\r\n"
            f"Content-Length: {len(body)}\r\n"
            "Connection: close\r\n"
            "\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
