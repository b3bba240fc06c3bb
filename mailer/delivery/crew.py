"""Who does the work of a run: an engine in this process, or one in each of several children."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from mailer.backends import connect
from mailer.delivery.carrier import Resting
from mailer.delivery.contract import Dispatcher
from mailer.delivery.dispatcher import Done, InProcess
from mailer.delivery.processes import Processes
from mailer.delivery.station import Station, StationConfig, make_throttle
from mailer.delivery.throttle import Throttle
from mailer.ledger.writer import GroupCommit


class Crew(Protocol):
    """What a run needs of those who work for it. They call ``done`` for each hint that is worked off."""

    @property
    def dispatcher(self) -> Dispatcher: ...

    @property
    def throttle(self) -> Throttle: ...

    @property
    def workers(self) -> tuple[str, ...]:
        """The names under which leases are held."""
        ...

    async def start(self) -> None: ...

    def resting(self, backend: str) -> Resting: ...

    async def close(self, *, clean: bool) -> None:
        """``clean``: everything was answered. Otherwise whatever is under way is abandoned."""
        ...


class Solo:
    """In this process."""

    def __init__(self, config: StationConfig, writer: GroupCommit, done: Callable[[Done], None]) -> None:
        self._station = Station(config, writer)
        self.throttle = self._station.throttle
        self.workers = (config.worker,)
        self.dispatcher = InProcess(self._station.engine, done=done)

    async def start(self) -> None:
        """Nothing to start: the engine opens what it needs with the first message."""

    def resting(self, backend: str) -> Resting:
        return self._station.engine.resting(backend)

    async def close(self, *, clean: bool) -> None:
        await self.dispatcher.close()
        if clean:
            await self._station.engine.close()
        else:
            await self._station.engine.abort()


class Team:
    """In child processes; this one only pumps."""

    def __init__(
        self, config: StationConfig, writer: GroupCommit, done: Callable[[Done], None], *, processes: int
    ) -> None:
        for backend in config.backends.values():
            connect(backend)  # a setting that is wrong must be said here, not by every child
        self.dispatcher = Processes(config, processes, writer, done=done)
        self.throttle = make_throttle(config, writer)
        self.workers = self.dispatcher.workers

    async def start(self) -> None:
        await self.dispatcher.start()

    def resting(self, backend: str) -> Resting:
        return self.dispatcher.resting(backend)

    async def close(self, *, clean: bool) -> None:
        await self.dispatcher.close()
