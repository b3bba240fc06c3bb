"""What limits remember, shared by all processes over one ledger and by the next run.

What a memory means, and when a message may go, is decided in ``mailer.delivery.limits``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from zlib import crc32

from sqlalchemy import bindparam, delete, insert, select

from mailer.ledger.database import Database
from mailer.ledger.dialect import Room
from mailer.ledger.schema import bucket
from mailer.ledger.statements import one_of

T = TypeVar("T")
Memories = Mapping[str, Mapping[str, Any]]

_KNOWN = select(bucket.c.key, bucket.c.memory).where(one_of(bucket.c.key, "keys"))
_FORGET = delete(bucket).where(one_of(bucket.c.key, "keys"))
_REMEMBER = insert(bucket).values(key=bindparam("key"), memory=bindparam("memory"))


class Buckets:
    """One JSON-able memory per key."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def exchange(self, keys: Sequence[str], change: Callable[[Memories, float], tuple[Memories, T]]) -> T:
        """Give ``change`` what is known of the keys, and the time; write the memories that it returns, and
        return its result. Nobody else's exchange comes between."""
        with self._database.write() as tx:
            tx.alone(Room.BUCKET, [crc32(key.encode()) - (1 << 31) for key in keys])
            known = {key: json.loads(memory) for key, memory in tx.rows(_KNOWN, keys=tx.array(keys))}
            changed, result = change(known, tx.now)
            if changed:
                tx.run(_FORGET, keys=tx.array(list(changed)))
                tx.many(_REMEMBER, [(key, json.dumps(dict(memory))) for key, memory in changed.items()])
        return result

    def look(self, key: str) -> tuple[Mapping[str, Any], float]:
        """What is known of one key, and the time; waits for nobody."""
        with self._database.read() as connection:
            memory = connection.execute(select(bucket.c.memory).where(bucket.c.key == key)).scalar()
        return json.loads(memory) if memory else {}, self._database.clock()
