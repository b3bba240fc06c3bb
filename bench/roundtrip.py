"""What pipelining is worth far from the relay: the same client, 50 ms of round trip, on and off."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from bench import payload
from bench.processes import sink
from bench.senders import ours
from tests.proxy import TcpProxy

#: One way; the round trip is twice this.
DELAY = 0.025
COUNT = 2_000


def measure(rounds: int = 3) -> list[tuple[str, float, float]]:
    """(client, messages/s, ratio to pipelining off), medians of alternating rounds."""
    rates: dict[str, list[float]] = {"pipelining on": [], "pipelining off": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        payload.write(folder, COUNT)
        for _ in range(rounds):
            for client, done in rates.items():
                with sink() as server, TcpProxy(server.port, delay=DELAY) as proxy:
                    option = "" if client.endswith("on") else "&pipelining=off"
                    done.append(ours(1, port=proxy.port, options=option)(server, folder, COUNT).rate)
    off = statistics.median(rates["pipelining off"])
    return [
        (client, statistics.median(done), statistics.median(done) / off) for client, done in rates.items()
    ]
