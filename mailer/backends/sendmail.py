"""Hands messages to the local ``sendmail`` program, as Postfix, Exim, msmtp and others provide it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import shutil
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO
from urllib.parse import unquote, urlsplit

from mailer import crash
from mailer.backends import options
from mailer.backends.batch import one_by_one, too_large, unmarked
from mailer.backends.contract import BackendConfig, BackendLimits
from mailer.backends.smtp import replies
from mailer.errors import BackendUnusable, ConfigError
from mailer.message import (
    Accepted,
    Blocked,
    Deferred,
    Mark,
    Outcome,
    Outgoing,
    Phase,
    Rejected,
    Reply,
    Unknown,
)

#: What sysexits.h makes of a message. Where a program means its own relay (msmtp: 68) or does not say how
#: far it came (74, 76), the recipient is not punished and nothing is sent twice.
EXITS: dict[int, tuple[type[Deferred | Rejected | Blocked | Unknown], str]] = {
    64: (Blocked, "The program does not understand its arguments."),
    65: (Rejected, "The program refuses the message or an address."),
    66: (Blocked, "The program cannot read a file it needs."),
    67: (Rejected, "There is no such recipient."),
    68: (Deferred, "A host is unknown."),
    69: (Deferred, "A service is not available."),
    70: (Deferred, "The program found an error in itself."),
    71: (Deferred, "The system lacks resources."),
    72: (Blocked, "A system file is missing or wrong."),
    73: (Deferred, "A file cannot be created."),
    74: (Unknown, "The program lost its connection or its disk."),
    75: (Deferred, "The program asks to try again."),
    76: (Unknown, "The program did not understand its relay."),
    77: (Blocked, "The program refuses our login or our permission."),
    78: (Blocked, "The program is not configured."),
}
#: A server's reply that the program repeats; msmtp does: ``server message: 550 5.1.1 no such user``.
_REPLY = re.compile(r"(?:^|: )([45]\d\d)[ -]([^\n]+)", re.MULTILINE)
_OUTPUT_LIMIT = 10_000
_PLACES = ("/usr/sbin/sendmail", "/usr/lib/sendmail")


def connect(config: BackendConfig) -> SendmailBackend:
    """``sendmail:`` looks for the program, ``sendmail:///usr/bin/msmtp`` names it.

    Options: ``args`` (more arguments, as a shell splits them), ``timeout`` (seconds for one message,
    default 300), ``size`` (octets per message).
    """
    options.check(config, ("args", "timeout", "size"))
    parts = urlsplit(config.url)
    if parts.netloc:
        raise ConfigError(
            f"backend {config.name!r}: an absolute path is expected: sendmail:///usr/sbin/sendmail"
        )
    try:
        more = shlex.split(config.options.get("args", ""))
    except ValueError as error:
        raise ConfigError(f"backend {config.name!r}: option 'args': {error}") from error
    return SendmailBackend(
        config.name,
        unquote(parts.path) or shutil.which("sendmail") or next(filter(os.path.exists, _PLACES), _PLACES[0]),
        tuple(more),
        timeout=options.seconds(config, "timeout", 300.0),
        processes=config.connections,
        size=options.whole(config, "size", None),
    )


class SendmailBackend:
    """One process per message: ``PROGRAM ARGS -i -f SENDER -- RECIPIENTS``, the message with LF on its input.

    Exit 0 is accepted; the others are in ``EXITS``. A program that takes longer than ``timeout`` is ended
    with all its children, and its message is Unknown.
    """

    def __init__(
        self,
        name: str,
        program: str,
        args: Sequence[str] = (),
        *,
        timeout: float = 300.0,
        processes: int = 10,
        size: int | None = None,
    ) -> None:
        self._name = name
        self._program = program
        self._args = tuple(args)
        self._timeout = timeout
        self._processes = processes
        self._slots = asyncio.Semaphore(processes)
        self._limits = BackendLimits(batch=100, concurrency=processes, size=size)

    @property
    def limits(self) -> BackendLimits:
        return self._limits

    async def send(self, batch: Sequence[Outgoing], mark: Mark, /) -> list[Outcome]:
        self._check_program()
        return await one_by_one(batch, lambda message: self._send(message, mark), self._slots)

    async def probe(self) -> str:
        self._check_program()
        return f"runs {self._program}"

    async def close(self) -> None:
        """Wait for the processes that run."""
        for _ in range(self._processes):
            await self._slots.acquire()
        for _ in range(self._processes):
            self._slots.release()

    def _check_program(self) -> None:
        if not (Path(self._program).is_file() and os.access(self._program, os.X_OK)):
            raise BackendUnusable(self._name, f"{self._program} is not an executable program", lasting=True)

    async def _send(self, message: Outgoing, mark: Mark) -> Outcome:
        if refused := too_large(message, self._limits.size):
            return refused
        try:
            letter = await asyncio.to_thread(_spooled, message.data)
        except OSError as error:
            raise BackendUnusable(self._name, f"temporary file: {error.strerror}") from error
        with letter, TemporaryFile() as output:  # not a pipe: a child that stays behind would keep it open
            # Before the program starts: once it runs, nobody can tell it to forget the message.
            if stays := await unmarked(message, mark):
                return stays
            code = await self._run(message, letter, output)
            output.seek(0)
            said = output.read(_OUTPUT_LIMIT).decode("utf-8", "replace")
        crash.point("after_reply")
        if code is None:
            text = f"no answer within {self._timeout:g} s"
            return Unknown(Reply(text, phase=Phase.REQUEST, reason="The program may have sent it."))
        return outcome_of(code, said)

    async def _run(self, message: Outgoing, letter: IO[bytes], output: IO[bytes]) -> int | None:
        """The exit code; None when there was none in time."""
        crash.point("before_dot")
        try:
            process = await self._start(message, letter, output)
        except OSError as error:
            raise BackendUnusable(self._name, f"{self._program}: {error.strerror}") from error
        crash.point("after_dot")
        try:
            async with asyncio.timeout(self._timeout):
                return await process.wait()
        except TimeoutError:
            return None
        finally:
            await _end(process)

    async def _start(
        self, message: Outgoing, letter: IO[bytes], output: IO[bytes]
    ) -> asyncio.subprocess.Process:
        command = (self._program, *self._args, "-i", "-f", message.sender, "--", *message.recipients)
        starting = asyncio.ensure_future(
            asyncio.create_subprocess_exec(
                *command,
                stdin=letter,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for us; and all its children can be ended together
            )
        )
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            await _end(await starting)  # asyncio itself would end the program, but not its children
            raise


def _spooled(data: bytes) -> IO[bytes]:
    """A file, not a pipe: were we killed while writing, the program would send the half it got."""
    letter = TemporaryFile()  # noqa: SIM115 - closed by whom it is handed to
    try:
        letter.write(data.replace(b"\r\n", b"\n"))
        letter.seek(0)
    except OSError:
        letter.close()
        raise
    return letter


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill what still runs, with its children, and wait for it."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def outcome_of(code: int, output: str) -> Outcome:
    """What an exit code means; a server's reply that the program repeats says it more exactly."""
    text = " ".join(output.split())[:500]
    if code == 0:
        return Accepted(Reply(text or "taken", phase=Phase.REQUEST))
    if code < 0 or code > 128:  # a shell adds 128 to the signal that ended its child
        return Unknown(Reply(text, phase=Phase.REQUEST, reason=f"The program died, exit code {code}."))
    kind, reason = EXITS.get(code, (Deferred, f"The program ended with exit code {code}."))
    if kind is not Blocked and (said := _REPLY.search(output)):
        verdict = replies.classify(int(said[1]), said[2], Phase.RCPT)
        return replace(verdict, reply=replace(verdict.reply, phase=Phase.REQUEST))
    reply = Reply(text or reason, phase=Phase.REQUEST, reason=reason)
    return Rejected(reply, suppress=code == 67) if kind is Rejected else kind(reply)
