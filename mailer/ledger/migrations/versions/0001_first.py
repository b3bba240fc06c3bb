"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
IDS = sa.Text().with_variant(sa.ARRAY(sa.BigInteger()), "postgresql")
WAITING = sa.text("state IN ('pending', 'deferred')")
LATER = sa.text("state IN ('pending', 'deferred') AND due_at > 0")


def upgrade() -> None:
    _campaigns()
    _messages()
    _recipients()
    _work()
    _memory()


def _id(*, grows: bool) -> sa.Column[int]:
    return sa.Column("id", ID, primary_key=True, autoincrement=grows)


def _key(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), primary_key=True)


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=False) for name in names]


def _maybe_texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text()) for name in names]


def _times(*names: str) -> list[sa.Column[float]]:
    return [sa.Column(name, sa.Float(), nullable=False) for name in names]


def _maybe_times(*names: str) -> list[sa.Column[float]]:
    return [sa.Column(name, sa.Float()) for name in names]


def _count(name: str, default: int) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=False, server_default=sa.text(str(default)))


def _campaigns() -> None:
    op.create_table(
        "campaign",
        _id(grows=True),
        sa.Column("slug", sa.Text(), nullable=False, unique=True),
        *_texts("name", "digest", "spec", "runner", "stream", "backend"),
        sa.Column("priority", sa.Integer(), nullable=False),
        *_texts("state"),
        *_maybe_texts("reason"),
        _count("invalid_rows", 0),
        _count("version", 1),
        *_times("created_at"),
        *_maybe_times("start_at", "started_at", "finished_at"),
        sa.Column("blocked_seconds", sa.Float(), nullable=False, server_default=sa.text("0")),
        *_maybe_times("halted_since"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_campaign_digest", "campaign", ["digest"])
    op.create_index("ix_campaign_state", "campaign", ["state"])
    op.create_table(
        "tally",
        sa.Column("campaign_id", sa.BigInteger(), primary_key=True, autoincrement=False),
        _key("state"),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sqlite_with_rowid=False,
    )


def _messages() -> None:
    op.create_table(
        "message",
        _id(grows=False),
        sa.Column("campaign_id", sa.BigInteger(), nullable=False),
        *_texts("lane"),
        sa.Column("state", sa.Text(), nullable=False, server_default=sa.text("'pending'")),
        sa.Column("due_at", sa.Float(), nullable=False, server_default=sa.text("0")),
        sa.Column("fence", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        _count("version", 1),
        _count("attempts", 0),
        *_maybe_times("first_tried_at", "settled_at"),
        sa.Column("code", sa.Integer()),
        *_maybe_texts("enhanced", "phase", "reply", "reason", "backend", "reference", "copies", "outcome"),
    )
    due, later = ["campaign_id", "lane", "due_at"], ["campaign_id", "due_at"]
    op.create_index("message_due", "message", due, sqlite_where=WAITING, postgresql_where=WAITING)
    op.create_index("message_later", "message", later, sqlite_where=LATER, postgresql_where=LATER)


def _recipients() -> None:
    op.create_table(
        "recipient",
        _id(grows=False),
        sa.Column("line", sa.Integer(), nullable=False),
        *_texts("address", "cells"),
        *_maybe_texts("files"),
        sa.Column("address_hash", sa.BigInteger(), nullable=False),
    )
    op.create_index("recipient_address", "recipient", [sa.text("(id >> 13)"), "address_hash"])


def _work() -> None:
    op.create_table(
        "lease",
        _id(grows=True),
        sa.Column("campaign_id", sa.BigInteger(), nullable=False),
        *_texts("worker"),
        *_times("until"),
        sa.Column("ids", IDS, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "attempt",
        _id(grows=True),
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        *_times("at"),
        *_texts("state"),
        *_maybe_texts("phase"),
        sa.Column("code", sa.Integer()),
        *_maybe_texts("enhanced", "reply", "backend"),
    )
    op.create_index("ix_attempt_message_id", "attempt", ["message_id"])
    op.create_table("leader", _key("name"), *_texts("worker"), *_times("until"))


def _memory() -> None:
    op.create_table(
        "suppression",
        _key("address"),
        _key("stream"),
        *_texts("reason"),
        *_times("added_at"),
        sqlite_with_rowid=False,
    )
    op.create_table("meta", _key("key"), sa.Column("value", sa.BigInteger(), nullable=False))
    op.create_table("blob", _key("sha256"), sa.Column("data", sa.LargeBinary(), nullable=False))
    op.create_table("bucket", _key("key"), *_texts("memory"))
