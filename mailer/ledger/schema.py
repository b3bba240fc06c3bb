"""Tables. The arrows between the states are in docs/architecture.md, the tables in docs/reference/ledger.md.

What changes while a campaign is sent (``message``) lies apart from what never does (``recipient``): forty
hot rows share a page, so ten rows marked in one commit are one or two pages of log, and a long row of
cells is not copied four times on its way to ``accepted``.

Foreign keys are not declared: every id is made from its campaign's, and the hot tables pay for each check.
"""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    ColumnElement,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    and_,
    cast,
    func,
    literal_column,
    text,
)

metadata = MetaData()

#: SQLite gives a table its rowid, and growing ids, only for this exact type.
_Id = BigInteger().with_variant(Integer(), "sqlite")
#: An array as ``dialect.array`` makes it; on SQLite that is JSON.
_Ids = Text().with_variant(ARRAY(BigInteger), "postgresql")


#: One row per key: the epoch.
meta = Table(
    "meta", metadata, Column("key", Text, primary_key=True), Column("value", BigInteger, nullable=False)
)

campaign = Table(
    "campaign",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("slug", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("digest", Text, nullable=False, index=True),
    Column("spec", Text, nullable=False),
    Column("runner", Text, nullable=False),
    Column("stream", Text, nullable=False),
    Column("backend", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("state", Text, nullable=False, index=True),
    Column("reason", Text),
    Column("invalid_rows", Integer, nullable=False, server_default=text("0")),
    Column("version", Integer, nullable=False, server_default=text("1")),
    Column("created_at", Float, nullable=False),
    Column("start_at", Float),
    Column("started_at", Float),
    Column("finished_at", Float),
    Column("blocked_seconds", Float, nullable=False, server_default=text("0")),
    Column("halted_since", Float),
    Column("revision", Integer, nullable=False, server_default=text("1")),
    Column("event", Text),  # what somebody has to be told of
    Column("pruned_at", Float),
    sqlite_autoincrement=True,
)

_TO_BE_TOLD = campaign.c.event.is_not(None)
Index("campaign_event", campaign.c.event, sqlite_where=_TO_BE_TOLD, postgresql_where=_TO_BE_TOLD)

#: The hot half of a row. ``due_at`` 0 is "as soon as possible"; the reply columns hold the latest attempt.
message = Table(
    "message",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=False),
    Column("campaign_id", BigInteger, nullable=False),
    Column("lane", Text, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'pending'")),
    Column("due_at", Float, nullable=False, server_default=text("0")),
    Column("fence", BigInteger, nullable=False, server_default=text("0")),
    Column("version", Integer, nullable=False, server_default=text("1")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("first_tried_at", Float),
    Column("settled_at", Float),
    Column("code", Integer),
    Column("enhanced", Text),
    Column("phase", Text),
    Column("reply", Text),
    Column("reason", Text),
    Column("backend", Text),
    Column("reference", Text),
    Column("copies", Text),
    Column("outcome", Text),
)

#: The cold half: written once, at opening.
recipient = Table(
    "recipient",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=False),
    Column("line", Integer, nullable=False),
    Column("address", Text, nullable=False),
    Column("cells", Text, nullable=False),
    Column("files", Text),
    Column("address_hash", BigInteger, nullable=False),
)

#: Rows of a campaign by state, changed in the transaction that changes the rows. What counts is the sum over
#: the slots: writers that work at the same time use different ones, and one alone may be below zero.
tally = Table(
    "tally",
    metadata,
    Column("campaign_id", BigInteger, primary_key=True, autoincrement=False),
    Column("state", Text, primary_key=True),
    Column("slot", Integer, primary_key=True, autoincrement=False, server_default=text("0")),
    Column("n", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

#: Rows of some tallies together. PostgreSQL adds up whole numbers to a decimal one.
ROWS = cast(func.coalesce(func.sum(tally.c.n), 0), BigInteger)

#: A claimed slice; its id is the fence. ``ids`` makes an index on rows in flight unnecessary.
lease = Table(
    "lease",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("campaign_id", BigInteger, nullable=False),
    Column("worker", Text, nullable=False),
    Column("until", Float, nullable=False),
    Column("ids", _Ids, nullable=False),
    sqlite_autoincrement=True,
)

#: Tries that were spent and did not end the row.
attempt = Table(
    "attempt",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("message_id", BigInteger, nullable=False, index=True),
    Column("at", Float, nullable=False),
    Column("state", Text, nullable=False),
    Column("phase", Text),
    Column("code", Integer),
    Column("enhanced", Text),
    Column("reply", Text),
    Column("backend", Text),
)

#: Who does what only one may do: the pump.
leader = Table(
    "leader",
    metadata,
    Column("name", Text, primary_key=True),
    Column("worker", Text, nullable=False),
    Column("until", Float, nullable=False),
)

#: Backends that a person has stopped; the others are in no table.
paused_backend = Table(
    "paused_backend",
    metadata,
    Column("name", Text, primary_key=True),
    Column("since", Float, nullable=False),
    Column("reason", Text, nullable=False),
)

suppression = Table(
    "suppression",
    metadata,
    Column("address", Text, primary_key=True),  # in its compared form: Address.key
    Column("stream", Text, primary_key=True),  # or "*"
    Column("reason", Text, nullable=False),
    Column("added_at", Float, nullable=False),
    sqlite_with_rowid=False,
)

blob = Table(
    "blob", metadata, Column("sha256", Text, primary_key=True), Column("data", LargeBinary, nullable=False)
)

#: Of a message that an application handed over: the name by which it asks, and the key that keeps it from
#: being sent twice. The row itself is one of ``message``.
single = Table(
    "single",
    metadata,
    Column("message_id", BigInteger, primary_key=True, autoincrement=False),
    Column("public", Text, nullable=False, unique=True),
    Column("scope", Text),  # whose key, and in which stream
    Column("key", Text),
    Column("fingerprint", Text),  # of the content: the same key must mean the same message
)
_HAS_A_KEY = single.c.key.is_not(None)
Index(
    "single_key",
    single.c.scope,
    single.c.key,
    unique=True,
    sqlite_where=_HAS_A_KEY,
    postgresql_where=_HAS_A_KEY,
)

#: What an application shows to be let in: of the secret only a hash.
api_key = Table(
    "api_key",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("digest", Text, nullable=False),  # SHA-256 of the secret, as hex
    Column("scopes", Text, nullable=False),  # JSON lists
    Column("senders", Text, nullable=False),
    Column("rate", Text),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),
    Column("used_at", Float),
    Column("revoked_at", Float),
)

#: What applications wrote inside transactions of their own. The pump makes rows of what was committed: an
#: application must not hold locks of the ledger for as long as its transaction lasts.
handover = Table(
    "handover",
    metadata,
    Column("public", Text, primary_key=True),
    Column("campaign_id", BigInteger, nullable=False),
    Column("address", Text, nullable=False),
    Column("lane", Text, nullable=False),
    Column("cells", Text, nullable=False),
    Column("due_at", Float, nullable=False),
    Column("scope", Text),
    Column("key", Text),
    Column("fingerprint", Text),
)
_HANDED_WITH_A_KEY = handover.c.key.is_not(None)
Index(
    "handover_key",
    handover.c.scope,
    handover.c.key,
    unique=True,
    sqlite_where=_HANDED_WITH_A_KEY,
    postgresql_where=_HANDED_WITH_A_KEY,
)

#: The last ordinal of a campaign whose rows come one by one.
serial = Table(
    "serial",
    metadata,
    Column("campaign_id", BigInteger, primary_key=True, autoincrement=False),
    Column("last", BigInteger, nullable=False),
)

#: What a limit remembers, as JSON.
bucket = Table(
    "bucket", metadata, Column("key", Text, primary_key=True), Column("memory", Text, nullable=False)
)


def _either(*states: str) -> ColumnElement[bool]:
    """Literals, because SQLite uses a partial index only for the very condition it was made with."""
    return message.c.state.in_([literal_column(f"'{state}'") for state in states])


#: Waiting for a worker. With it a query can use the two indexes below, without it it cannot.
WAITING = _either("pending", "deferred")
#: Held by a worker.
HELD = _either("claimed", "sending")
#: Waiting for its time.
LATER = and_(WAITING, message.c.due_at > literal_column("0"))

Index(
    "message_due",
    message.c.campaign_id,
    message.c.lane,
    message.c.due_at,
    sqlite_where=WAITING,
    postgresql_where=WAITING,
)
# Holds only rows that were given back or deferred, so it costs a fresh row nothing.
Index("message_later", message.c.campaign_id, message.c.due_at, sqlite_where=LATER, postgresql_where=LATER)

#: Refused for what the sender is or writes, not for who the recipient is.
REFUSED_BY_POLICY = and_(
    message.c.state == literal_column("'rejected'"),
    func.substr(message.c.enhanced, literal_column("1"), literal_column("4")) == literal_column("'5.7.'"),
)
# Holds only such rows, so it costs the others nothing.
Index(
    "message_policy",
    message.c.campaign_id,
    message.c.settled_at,
    sqlite_where=REFUSED_BY_POLICY,
    postgresql_where=REFUSED_BY_POLICY,
)

#: Rows of one block of addresses.
BLOCK_BITS = 13
#: For ``find``. By block first: addresses come in no order, and an index over all of them touches another
#: page for each; within 8192 neighbours it touches forty. A search looks into every block. Measured at a
#: million rows: none 149 000 rows/s, this 96 000, a plain hash index 42 000, the full address 26 000.
BLOCK = recipient.c.id.bitwise_rshift(literal_column(str(BLOCK_BITS)))
Index("recipient_address", BLOCK, recipient.c.address_hash)
