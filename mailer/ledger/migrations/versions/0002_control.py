"""Control over campaigns under way: their revision, what has to be told, what was pruned; paused backends."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

EVENT = sa.text("event IS NOT NULL")
POLICY = sa.text("state = 'rejected' AND substr(enhanced, 1, 4) = '5.7.'")


def upgrade() -> None:
    op.add_column(
        "campaign", sa.Column("revision", sa.Integer(), nullable=False, server_default=sa.text("1"))
    )
    op.add_column("campaign", sa.Column("event", sa.Text()))
    op.add_column("campaign", sa.Column("pruned_at", sa.Float()))
    op.create_index("campaign_event", "campaign", ["event"], sqlite_where=EVENT, postgresql_where=EVENT)
    op.create_index(
        "message_policy",
        "message",
        ["campaign_id", "settled_at"],
        sqlite_where=POLICY,
        postgresql_where=POLICY,
    )
    op.create_table(
        "paused_backend",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
    )
