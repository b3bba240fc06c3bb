"""Messages that applications hand over inside a transaction of their own."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

HAS_A_KEY = sa.text('"key" IS NOT NULL')


def upgrade() -> None:
    op.create_table(
        "handover",
        sa.Column("public", sa.Text(), primary_key=True),
        sa.Column("campaign_id", sa.BigInteger(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("cells", sa.Text(), nullable=False),
        sa.Column("due_at", sa.Float(), nullable=False),
        sa.Column("scope", sa.Text()),
        sa.Column("key", sa.Text()),
        sa.Column("fingerprint", sa.Text()),
    )
    op.create_index(
        "handover_key",
        "handover",
        ["scope", "key"],
        unique=True,
        sqlite_where=HAS_A_KEY,
        postgresql_where=HAS_A_KEY,
    )
