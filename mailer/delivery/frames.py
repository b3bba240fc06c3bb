"""What this process and its own children say to each other, over a socket that nobody else has an end of.

From parent to child: first the StationConfig, then Hints, then a Drain. From child to parent: Reports.
"""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mailer.delivery.carrier import Resting
from mailer.delivery.dispatcher import Done

_HEAD = 4


@dataclass(frozen=True, slots=True)
class Report:
    """A hint is done; ``rests`` says which backends are left alone."""

    done: Done
    rests: Mapping[str, Resting]


@dataclass(frozen=True, slots=True)
class Drain:
    """Take no more, finish within so many seconds, end."""

    seconds: float


async def receive(reader: asyncio.StreamReader) -> Any:
    """The next object. Raises EOFError when the other process is gone."""
    try:
        size = int.from_bytes(await reader.readexactly(_HEAD), "big")
        body = await reader.readexactly(size)
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise EOFError from error
    return pickle.loads(body)  # noqa: S301 - written by our own parent or child


def post(writer: asyncio.StreamWriter, thing: object) -> None:
    """Send without waiting; what the other process can no longer hear is lost, and that is fine."""
    body = pickle.dumps(thing)
    writer.write(len(body).to_bytes(_HEAD, "big") + body)
