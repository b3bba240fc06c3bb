"""What is read of a request before anybody looks at what it means."""

from __future__ import annotations

import json
import re
from hashlib import sha256

from fastapi import Request

from mailer.web.problems import Problem

_KEY = re.compile(r"[!-~][ -~]{0,198}[!-~]|[!-~]")
_ID = re.compile(r"[0-9a-f]{11,40}")


async def body(request: Request, most: int) -> bytes:
    """The JSON that was sent, never more of it in memory than ``most``. Raises Problem 413 and 415."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem(415, "send JSON, with Content-Type: application/json")
    if int(request.headers.get("content-length", "0")) > most:
        raise too_large(most)
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise too_large(most)
        parts.append(part)
    return b"".join(parts)


def too_large(most: int) -> Problem:
    problem = Problem(413, f"a request has no more than {most:,} bytes here")
    problem.headers["Connection"] = "close"  # what is left of it is not read
    return problem


def idempotency_key(request: Request) -> str | None:
    """Raises Problem 422."""
    text = request.headers.get("idempotency-key")
    if text is not None and not _KEY.fullmatch(text):
        complaint = "must be 1 to 200 printable ASCII characters"
        raise Problem(422, f"Idempotency-Key {complaint}", [("Idempotency-Key", complaint)])
    return text


def fingerprint(sent: bytes) -> str:
    """Equal for the same JSON, however it is written."""
    return sha256(json.dumps(json.loads(sent), sort_keys=True).encode()).hexdigest()


def message_id(text: str) -> str:
    """Raises Problem 404 for what cannot be one."""
    if not _ID.fullmatch(text):
        raise Problem(404, "there is no message of this id")
    return text
