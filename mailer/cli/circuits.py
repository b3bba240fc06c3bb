"""What ``mailer backends`` says of circuits: which backends the processes that send leave alone now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from mailer.campaigns.times import shown
from mailer.cli.output import note, span
from mailer.delivery.breaker import Circuit
from mailer.delivery.circuits import KEY, Broken, broken
from mailer.errors import LimitsUnavailable
from mailer.ledger.ledger import Ledger
from mailer.settings import Settings
from mailer.wiring import limits_url


class Circuits:
    """As they are shared at this moment; None: nobody knows, and why was said on standard error."""

    def __init__(self, known: Mapping[str, Broken] | None, ahead: float = 0.0) -> None:
        self._known = known
        self._ahead = ahead  # of this machine's clock

    def of(self, name: str, *, route: bool) -> dict[str, Any]:
        """The part of a backend's JSON object that says it; a route has none of its own."""
        found = (self._known or {}).get(name)
        otherwise = None if route or self._known is None else Circuit.CLOSED.value
        return {
            "circuit": found.circuit.value if found else otherwise,
            "circuit_since": found.since - self._ahead if found else None,
            "circuit_until": found.until - self._ahead if found else None,
            "circuit_reason": found.reason if found else None,
        }


def read(settings: Settings, rooms: Ledger) -> Circuits:
    """From where the limits are."""
    try:
        memory, now = _memory(settings, rooms)
    except (LimitsUnavailable, ModuleNotFoundError) as error:
        note(f"circuits are not known: {error}")
        return Circuits(None)
    return Circuits(broken(memory, now), now - time.time())


def _memory(settings: Settings, rooms: Ledger) -> tuple[Mapping[str, Any], float]:
    url = limits_url(settings)
    if url is None:
        return rooms.buckets.look(KEY)
    from mailer.delivery.limits.redis import look

    return asyncio.run(look(url, KEY))


def words(told: Mapping[str, Any]) -> str:
    """For the table."""
    circuit = told["circuit"]
    if circuit == Circuit.OPEN:
        left = span(max(0.0, told["circuit_until"] - time.time()))
        return f"open since {shown(told['circuit_since'])}, tried again in {left}"
    if circuit == Circuit.HALF_OPEN:
        return f"half-open: the next message tries it; open since {shown(told['circuit_since'])}"
    return circuit or ""
