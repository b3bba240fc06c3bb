"""A multipart request: a recipient list, streamed to a private file, and what to make of it."""

from __future__ import annotations

import asyncio
import errno
import logging
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from fastapi import Request
from starlette.datastructures import FormData, UploadFile

from mailer.errors import MailerError
from mailer.web.problems import Problem, of_fields
from mailer.web.requests import too_large

log = logging.getLogger(__name__)

#: Formats that are known by the end of the file's name; anything else is looked into.
ENDINGS = frozenset({".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".xlsx"})
LARGEST_SPEC = 1_000_000
#: What a file system says that takes no more. Somebody has to make room, so a client need not hurry.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FULL_REST = 60


@dataclass(frozen=True, slots=True)
class Upload:
    """``recipients`` lies in a folder of its own, which goes with the request."""

    spec: str
    recipients: Path


@asynccontextmanager
async def received(request: Request, most: int) -> AsyncIterator[Upload]:
    """Never more than a piece of it in memory. Raises Problem 413, 415 and 422; 503 when there is no room for
    it on the disk, or for what is made of it within the block."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise Problem(415, "send multipart/form-data with the parts `spec` and `recipients`")
    try:
        async with _spooled(request, most) as upload:
            yield upload
    except (OSError, MailerError) as error:
        if not _is_full(error):
            raise
        log.error("no room for an upload: free space in %s, or set TMPDIR", tempfile.gettempdir())
        detail = "the server has no room for this list, and kept nothing of it; send it again when there is"
        raise Problem(503, detail, retry_after=_FULL_REST) from None


@asynccontextmanager
async def _spooled(request: Request, most: int) -> AsyncIterator[Upload]:
    counted = Request(request.scope, _counted(request, most))
    async with counted.form(max_files=1, max_fields=1, max_part_size=LARGEST_SPEC) as form:
        spec, file = _parts(form)
        with tempfile.TemporaryDirectory(prefix="mailer-upload-") as folder:
            ending = Path(file.filename or "").suffix.lower()
            path = Path(folder) / f"recipients{ending if ending in ENDINGS else '.csv'}"
            await asyncio.to_thread(_written, file.file, path)
            yield Upload(spec, path)


def _parts(form: FormData) -> tuple[str, UploadFile]:
    spec, file = form.get("spec"), form.get("recipients")
    if isinstance(spec, str) and isinstance(file, UploadFile):
        return spec, file
    wrong = []
    if not isinstance(spec, str):
        wrong.append(("spec", "must be a part with JSON"))
    if not isinstance(file, UploadFile):
        wrong.append(("recipients", "must be a part with a file"))
    raise of_fields(wrong)


def _counted(request: Request, most: int) -> Any:
    size = 0

    async def receive() -> Any:
        nonlocal size
        message = await request.receive()
        size += len(message.get("body", b""))
        if size > most:
            raise too_large(most)
        return message

    return receive


def _is_full(error: BaseException) -> bool:
    """Whoever noticed it: the rooms below raise errors of their own from the system's."""
    cause = error if isinstance(error, OSError) else error.__cause__
    return isinstance(cause, OSError) and cause.errno in _FULL


def _written(source: IO[bytes], path: Path) -> None:
    with path.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
