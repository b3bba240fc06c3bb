"""Redis as the memory of limits, though it may be emptied or restarted at any time.

A marker says which filling of Redis this is. Without it nothing is granted: whoever comes first puts back
the ledger's copy, which one process makes each second, and nobody gets anything until every process that the
copy names has added what it was granted since, and what else only it knows.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, cast
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from mailer.delivery.limits.copies import Copies, Copy
from mailer.delivery.limits.journal import Journal
from mailer.delivery.limits.script import source
from mailer.errors import ConfigError, LedgerError, LimitsUnavailable

log = logging.getLogger(__name__)

#: All keys in one slot of a cluster, so that one script may touch them together.
PREFIX = "mailer:{limits}:"
MARKER, INDEX = f"{PREFIX}filling", f"{PREFIX}lasting"
#: Redis answers within this, or counts as away.
PATIENCE = 1.5
#: It is not asked again for this long after it did not answer, or refused.
REST_SECONDS, REFUSED_SECONDS = 1.0, 0.25
#: How often every process looks whether Redis was emptied, and one of them copies it to the ledger.
BEAT_SECONDS = 1.0
#: Nothing is granted for so long after Redis was refilled where a process is silent: it has died, or it will
#: notice within this.
SETTLE_SECONDS = 2.5
#: What one process copied last, another may have replaced since; so it is copied again, changed or not.
RECOPY_SECONDS = 10.0
PRESENT, EXPECTED = f"{PREFIX}present", f"{PREFIX}expected"


class Filling:
    """Runs the script, and refills Redis when it must be. For one event loop.

    ``do`` raises LimitsUnavailable: within about two seconds when Redis hangs or is away, at once for up to
    a second after that.
    """

    def __init__(
        self,
        url: str,
        journal: Journal,
        copies: Copies | None = None,
        *,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._where = shown(url)
        self.redis = connect(url)
        self._script = self.redis.register_script(source())
        self._journal = journal
        self._copies = copies
        self._clock = clock
        self._name = secrets.token_hex(4)
        self._known = ""
        self._rest_until = 0.0
        self._filling = asyncio.Lock()
        self._sayers: list[Callable[[], Awaitable[None]]] = []
        self._unspoken = asyncio.Event()
        self._beating: asyncio.Task[None] | None = None
        self._closing = False
        self._copied: list[tuple[bytes, bytes, bytes]] = []
        self._recopy_at = 0.0

    async def do(self, what: str, keys: Sequence[str], *arguments: str) -> Any:
        """What the script returns for this."""
        full = [f"{PREFIX}{key}" for key in keys]
        for _ in range(3):
            known = self._known
            answer = await self._call(what, full, known, *arguments)
            if known and answer[0].decode() == known:
                return answer[1]
            await self._fill(known)
        raise LimitsUnavailable(f"the limits in {self._where}: emptied again and again")

    @property
    def known(self) -> bytes:
        """The filling that ``do`` has met last."""
        return self._known.encode()

    def when_emptied(self, say: Callable[[], Awaitable[None]]) -> None:
        """Nobody gets anything of an emptied Redis until this has returned. May raise LimitsUnavailable or
        LedgerError: then it is tried again."""
        self._sayers.append(say)

    async def close(self) -> None:
        """Copy a last time, and let go of Redis."""
        self._closing = True  # a cancellation may be lost in the client while it gives up waiting
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
            with suppress(LimitsUnavailable, LedgerError):
                await self._copy(0.0, leaves=True)
        await self.redis.aclose()

    async def guarded(self, call: Awaitable[Any]) -> Any:
        """What Redis answers; whatever it raises is LimitsUnavailable."""
        try:
            return await call
        except (RedisError, OSError) as error:
            refused = isinstance(error, RedisConnectionError) and not isinstance(error, RedisTimeoutError)
            self._rest_until = time.monotonic() + (REFUSED_SECONDS if refused else REST_SECONDS)
            raise LimitsUnavailable(f"the limits in {self._where}: {_said(error)}") from None

    async def _call(self, what: str, keys: Sequence[str], *arguments: str | bytes) -> list[Any]:
        if time.monotonic() < self._rest_until:
            raise LimitsUnavailable(f"the limits in {self._where} did not answer a moment ago")
        known, *more = arguments
        now = "" if self._clock is None else repr(self._clock())
        call = self._script([MARKER, INDEX, *keys], [what, known, now, *more])
        return cast("list[Any]", await self.guarded(call))

    # When it was emptied.

    async def _fill(self, known: str) -> None:
        """Make sure that Redis is filled, and that what this process knows is in it."""
        async with self._filling:
            if known != self._known:
                return  # somebody else here has done it
            copy = await self._copies.read() if self._copies is not None else None
            settle = SETTLE_SECONDS if copy is not None else 0.0
            memories = [part for memory in (copy.memories if copy else ()) for part in memory]
            at = copy.at if copy else 0.0
            new = secrets.token_hex(8)
            (filling,) = await self._call("restore", [], new, repr(settle), repr(at), *memories)
            if filling.decode() == new and copy is not None:
                log.warning("limits: Redis was empty; the ledger's copy was put back")
            await self._replay(filling.decode())
            await self._register(filling.decode())
            self._known = filling.decode()
            self._unspoken.set()
            if self._beating is None and self._copies is not None:
                self._beating = asyncio.create_task(self._beat())

    async def _replay(self, filling: str) -> None:
        copied_at = await self.guarded(self.redis.hget(MARKER, "copied_at"))
        later = self._journal.since(float(copied_at or 0))
        if later:
            request = [
                {"terms": terms.as_json(), "granted": [part for entry in granted for part in entry]}
                for terms, granted in later.values()
            ]
            await self._call("replay", [f"{PREFIX}{key}" for key in later], filling, json.dumps(request))

    async def _register(self, filling: str) -> None:
        """Who is granted anything is in the ledger's copy before that."""
        if self._copies is not None:
            answer = await self._call("beat", [PRESENT, EXPECTED], filling, "0", self._name, "")
            if answer[0].decode() == filling:
                await self._write(answer[1])

    async def _beat(self) -> None:
        """Until cancelled: notice an empty Redis although nothing is sent, say what is known, and copy it."""
        failing = False
        while not self._closing:
            if failing:
                await asyncio.sleep(REFUSED_SECONDS)
            else:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._unspoken.wait(), BEAT_SECONDS)
            try:
                await self._speak()
                await self._copy(BEAT_SECONDS)
                failing = False
            except (LimitsUnavailable, LedgerError) as error:
                if not failing:
                    log.warning("limits not copied to the ledger: %s", error)
                failing = True

    async def _speak(self) -> None:
        """Say what only this process knows of the filling that it met last, unless it has."""
        while self._unspoken.is_set():
            known = self._known
            for say in self._sayers:
                await say()
            await self._call("spoken", [PRESENT, EXPECTED], known, self._name, repr(self._journal.last))
            if known == self._known:
                self._unspoken.clear()

    async def _copy(self, interval: float, *, leaves: bool = False) -> None:
        """Unless another process has done so within ``interval``."""
        keys = [PRESENT.removeprefix(PREFIX), EXPECTED.removeprefix(PREFIX)]
        await self._write(await self.do("beat", keys, repr(interval), self._name, "1" if leaves else ""))

    async def _write(self, found: Sequence[bytes]) -> None:
        at, *found = found
        if at and self._copies is not None:
            memories = [(found[i], found[i + 1], found[i + 2]) for i in range(0, len(found), 3)]
            now = time.monotonic()
            if memories != self._copied or now >= self._recopy_at:  # an idle night costs no write a second
                await self._copies.write(Copy(float(at), memories))
                self._copied, self._recopy_at = memories, now + RECOPY_SECONDS


def connect(url: str) -> Redis:
    """A client that gives up soon: a stale connection is tried anew once, a server that hangs is not.

    Raises ConfigError when the URL cannot be read.
    """
    try:
        return Redis.from_url(
            url,
            protocol=2,
            socket_timeout=PATIENCE,
            socket_connect_timeout=PATIENCE,
            retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        )
    except ValueError as error:
        said = f"limits: {shown(url)} cannot be used ({error}); write redis://HOST:6379/0"
        raise ConfigError(said) from None


def _said(error: Exception) -> str:
    """What the server said in words; the client's own words may hold the password."""
    name = type(error).__name__
    return f"{name}: {str(error).splitlines()[0][:200]}" if isinstance(error, ResponseError) else name


async def ping(url: str) -> str:
    """One line about the Redis that is to hold limits. Raises LimitsUnavailable or ConfigError."""
    filling = Filling(url, Journal())
    try:
        about = await filling.guarded(filling.redis.info("server"))
        return f"{shown(url)}, Redis {about.get('redis_version', '?')}"
    finally:
        await filling.close()


def shown(url: str) -> str:
    """The URL without user and password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
