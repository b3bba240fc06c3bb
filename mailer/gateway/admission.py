"""Who may hand over mail, under which name, and how fast."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from mailer.delivery.limits.rates import Rate, parse_all
from mailer.delivery.limits.windows import Gate, decide, gates
from mailer.errors import AccessDenied
from mailer.gateway.config import GatewayConfig, Network
from mailer.ledger.ledger import Ledger
from mailer.outbox.access import Key, authenticate

#: Addresses and clients that are remembered; of more the oldest are forgotten.
REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Guest:
    """Somebody who may hand over mail: a key, or a device of a network that needs none."""

    client: str
    rates: tuple[Rate, ...]
    key: Key | None = None

    def may_send_as(self, address: str) -> bool:
        return self.key is None or self.key.may_send_as(address)


def logged_in(ledger: Ledger, config: GatewayConfig, user: str, password: str) -> Guest | None:
    """The guest of this login: the id of a key and its secret, or the whole key as password. None: refused.

    Raises LedgerError.
    """
    text = password if password.startswith("mk_") else f"{user}_{password}"
    if not text.startswith(f"{user}_"):
        return None
    try:
        key = authenticate(ledger, text)
    except AccessDenied:
        return None
    if not key.may("send"):
        return None
    own = parse_all(key.rate) if key.rate else ()
    return Guest(key.id, (*config.rates, *own), key)


def without_login(config: GatewayConfig, peer: str) -> Guest | None:
    """The guest that a device of ``allow_networks`` is, each address for itself."""
    address = _address(peer)
    if address is None or not any(_holds(network, address) for network in config.allow_networks):
        return None
    return Guest(f"network:{address}", config.rates)


def _holds(network: Network, address: IPv4Address | IPv6Address) -> bool:
    return address.version == network.version and address in network


def _address(peer: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return None
    # An IPv4 client of a socket that listens on both.
    return getattr(address, "ipv4_mapped", None) or address


class FailedLogins:
    """How often logins from an address failed lately. Of IPv6, where addresses are free, a /64 counts."""

    def __init__(self, most: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._seconds = seconds
        self._clock = clock
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def failed(self, peer: str) -> int:
        """One more; how many these are now."""
        where = _neighbours(peer)
        count = self._count(where) + 1
        self._failures[where] = (count, self._clock())
        self._failures.move_to_end(where)
        if len(self._failures) > REMEMBERED:
            self._failures.popitem(last=False)
        return count

    def too_many(self, peer: str) -> bool:
        return self._count(_neighbours(peer)) >= self._most

    def _count(self, where: str) -> int:
        count, last = self._failures.get(where, (0, 0.0))
        return count if count and self._clock() - last < self._seconds else 0


def _neighbours(peer: str) -> str:
    address = _address(peer)
    if isinstance(address, IPv6Address):
        return str(ip_network((address, 64), strict=False))
    return str(address or peer)


class Meter:
    """Counts what each client has handed over. Of this process alone, and forgotten with it."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._memories: OrderedDict[tuple[str, str], Any] = OrderedDict()

    def wait(self, guest: Guest) -> float:
        """Seconds until it may hand over one more message; 0: now."""
        asked = [(gate, self._memories.get(name)) for name, gate in _gates(guest)]
        decision = decide(asked, 1, self._clock())
        return 0.0 if decision.granted else decision.wait

    def count(self, guest: Guest, messages: int) -> None:
        now = self._clock()
        for name, gate in _gates(guest):
            self._memories[name] = gate.after(self._memories.get(name), now, messages)
            self._memories.move_to_end(name)
        while len(self._memories) > REMEMBERED:
            self._memories.popitem(last=False)


def _gates(guest: Guest) -> list[tuple[tuple[str, str], Gate]]:
    return [((guest.client, gate.name), gate) for gate in gates(guest.rates)]
