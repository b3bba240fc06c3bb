"""What one worker process has: ledger, engine, pump and the way to the broker, built from the settings."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from mailer.ledger.writer import GroupCommit

from mailer.backends import urls
from mailer.backends.contract import BackendConfig
from mailer.delivery.epoch import SidecarEpoch
from mailer.delivery.hints import CeleryDispatcher
from mailer.delivery.limits.plan import BackendRates
from mailer.delivery.pump import Pump
from mailer.delivery.runner import beside
from mailer.delivery.safety import Safety
from mailer.delivery.station import Station, StationConfig
from mailer.ledger import open_ledger
from mailer.ledger.contract import Runner
from mailer.publisher import Publisher
from mailer.settings import BackendSettings, Settings, as_rates


class Rooms:
    """Entered on the event loop that is to use them; left, everything is closed in reverse.

    What is still under way then is given back or becomes unknown at once, not when its lease ends.
    """

    def __init__(self, settings: Settings, worker: str) -> None:
        self._settings = settings
        self._worker = worker
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Raises ConfigError and LedgerError."""
        async with self._open:
            writer = GroupCommit(open_ledger(self._settings.ledger_url))
            self._open.push_async_callback(writer.close)
            self._open.push_async_callback(writer.run, lambda ledger: ledger.slices.abandon(self._worker))
            station = Station(station_config(self._settings, self._worker), writer)
            self.engine = station.engine
            self._open.push_async_callback(station.engine.close)
            dispatcher = self._dispatcher(writer)
            self._open.push_async_callback(dispatcher.close)
            self.pump = Pump(
                writer,
                dispatcher,
                runner=Runner.WORKERS,
                worker=self._worker,
                throttle=station.throttle,
                epoch_copy=SidecarEpoch(beside(self._settings.ledger_url, "-epoch")),
                recipients_per_task=self._settings.recipients_per_task,
            )
            dispatcher.done = self.pump.done
            self._open.push_async_callback(self.pump.resign)
            self._open = self._open.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.aclose()

    def _dispatcher(self, writer: GroupCommit) -> CeleryDispatcher:
        publisher = Publisher(self._settings.broker_url or "")
        self._open.callback(publisher.close)

        async def still_waiting(ids: Sequence[int]) -> Collection[int]:
            return await writer.run(lambda ledger: ledger.schedule.still_waiting(ids))

        return CeleryDispatcher(
            publisher,
            still_waiting,
            recipients_per_task=self._settings.recipients_per_task,
        )


def station_config(settings: Settings, worker: str) -> StationConfig:
    """Raises ConfigError for a backend whose URL, rate or password file cannot be read."""
    return StationConfig(
        ledger_url=settings.ledger_url,
        worker=worker,
        backends={name: _backend(name, backend) for name, backend in settings.backends.items()},
        rates={name: _rates(backend) for name, backend in settings.backends.items()},
        safety=Safety(settings.safety.redirect_to, tuple(settings.safety.allow_recipients)),
        lease_seconds=settings.lease_seconds,
        files_root=str(settings.files_root),
    )


def _backend(name: str, backend: BackendSettings) -> BackendConfig:
    return urls.parse(
        name,
        backend.address(),
        user=backend.user,
        password=backend.secret(),
        connections=backend.connections,
        rates=backend.rates,
        options={
            key: str(value).lower() if isinstance(value, bool) else str(value)
            for key, value in backend.options.items()
        },
    )


def _option(value: str | int | bool) -> str:
    """As it would stand in the URL."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _rates(backend: BackendSettings) -> BackendRates:
    return BackendRates(backend.rates, _each(backend.lanes), _each(backend.domains))


def _each(rates: Mapping[str, str | list[str]]) -> dict[str, tuple[str, ...]]:
    return {name: as_rates(rate) for name, rate in rates.items()}
