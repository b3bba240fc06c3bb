"""Objects over a socket between this process and its own children; nobody else holds an end of it."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

_HEAD = 4


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
