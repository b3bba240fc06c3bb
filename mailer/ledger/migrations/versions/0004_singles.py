"""Messages that applications hand over one by one: their public names, idempotency keys and numbers."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

HAS_A_KEY = sa.text('"key" IS NOT NULL')


def upgrade() -> None:
    op.create_table(
        "single",
        sa.Column("message_id", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("public", sa.Text(), nullable=False, unique=True),
        sa.Column("scope", sa.Text()),
        sa.Column("key", sa.Text()),
        sa.Column("fingerprint", sa.Text()),
    )
    op.create_index(
        "single_key",
        "single",
        ["scope", "key"],
        unique=True,
        sqlite_where=HAS_A_KEY,
        postgresql_where=HAS_A_KEY,
    )
    op.create_table(
        "serial",
        sa.Column("campaign_id", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
    )
