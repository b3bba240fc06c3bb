"""Writes messages into a folder: a maildir, or one .eml file each."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mailer import crash
from mailer.backends import options
from mailer.backends.batch import one_by_one, too_large, unmarked
from mailer.backends.contract import BackendConfig, BackendLimits
from mailer.errors import BackendUnusable, ConfigError
from mailer.message import Accepted, Mark, Outcome, Outgoing, Phase, Reply, Unknown

#: Faults that pass by themselves, or when somebody makes room.
_PASSING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EIO, errno.EINTR})


def connect(config: BackendConfig) -> FileBackend:
    """``file:///var/outbox`` or the relative ``file:outbox``.

    Options: ``format`` (``maildir``, the default, or ``eml``), ``size`` (octets per message).
    """
    options.check(config, ("format", "size"))
    form = options.choice(config, "format", ("maildir", "eml"), "maildir")
    parts = urlsplit(config.url)
    if parts.netloc not in {"", "localhost"} or not parts.path.strip("/"):
        raise ConfigError(f"backend {config.name!r}: a path is expected: file:///var/outbox or file:outbox")
    folder = Path(unquote(parts.path))
    return FileBackend(config.name, folder, form == "maildir", options.whole(config, "size", None))


class FileBackend:
    """A message is accepted when its file and the folder's entry are on the disk.

    The name is made of the Message-ID, so the same message sent again replaces itself. A maildir holds LF,
    as mail readers expect, .eml files CRLF. The envelope is not kept; nobody else may read the files.
    """

    def __init__(self, name: str, folder: Path, maildir: bool, size: int | None = None) -> None:
        self._name = name
        self._folder = folder
        self._maildir = maildir
        self._limits = BackendLimits(batch=100, concurrency=4, size=size)
        self._writing = asyncio.Semaphore(16)
        self._ready = False

    @property
    def limits(self) -> BackendLimits:
        return self._limits

    async def send(self, batch: Sequence[Outgoing], mark: Mark, /) -> list[Outcome]:
        await self._prepare()
        return await one_by_one(batch, lambda message: self._send(message, mark), self._writing)

    async def probe(self) -> str:
        await self._prepare()
        return f"{'maildir' if self._maildir else 'folder'} {self._folder}"

    async def close(self) -> None:
        """Nothing stays open between messages."""

    async def _send(self, message: Outgoing, mark: Mark) -> Outcome:
        if refused := too_large(message, self._limits.size):
            return refused
        draft, final = self._paths(message)
        try:
            await asyncio.to_thread(_write, draft, self._octets(message))
        except OSError as error:
            raise self._unusable(error) from error
        if stays := await unmarked(message, mark):
            await asyncio.to_thread(draft.unlink, missing_ok=True)
            return stays
        return await asyncio.to_thread(self._publish, draft, final)

    def _publish(self, draft: Path, final: Path) -> Outcome:
        """Visible under its final name, or not at all."""
        crash.point("before_dot")
        try:
            draft.replace(final)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise self._unusable(error) from error
        crash.point("after_dot")
        try:
            _sync(final.parent)
        except OSError as error:
            return Unknown(Reply(str(error.strerror), phase=Phase.DOT, reason="The disk did not confirm."))
        crash.point("after_reply")
        reply = Reply("written", code=250, enhanced="2.0.0", phase=Phase.DOT)
        return Accepted(reply, reference=final.name)

    def _paths(self, message: Outgoing) -> tuple[Path, Path]:
        """The draft also carries fence and attempt: an old claim cannot write into a newer one's.

        A Message-ID alone is no name: recipients of a message that was handed over finished share it.
        """
        identity = f"{message.message_id} {message.id}".encode("utf-8", "surrogateescape")
        digest = hashlib.sha256(identity).hexdigest()[:40]
        draft = f"{digest}.{message.id}.{message.fence}.{message.attempt}"
        if not self._maildir:
            return self._folder / f".{draft}.part", self._folder / f"{digest}.eml"
        name = f"{digest}.mailer"
        final = self._folder / "new" / name
        if message.attempt > 1:  # a mail reader moves what it has seen, and adds its flags to the name
            final = next((self._folder / "cur").glob(f"{name}*"), final)
        return self._folder / "tmp" / draft, final

    def _octets(self, message: Outgoing) -> bytes:
        return message.data.replace(b"\r\n", b"\n") if self._maildir else message.data

    async def _prepare(self) -> None:
        if self._ready:
            return
        try:
            await asyncio.to_thread(self._make_folders)
        except OSError as error:
            raise self._unusable(error) from error
        self._ready = True

    def _make_folders(self) -> None:
        folders = [self._folder / part for part in ("tmp", "new", "cur")] if self._maildir else [self._folder]
        for folder in folders:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def _unusable(self, error: OSError) -> BackendUnusable:
        self._ready = False  # somebody may mend it; look again
        reason = f"{self._folder}: {error.strerror}"
        return BackendUnusable(self._name, reason, error.errno not in _PASSING)


def _write(path: Path, data: bytes) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
