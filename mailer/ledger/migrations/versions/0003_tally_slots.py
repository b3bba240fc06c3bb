"""The tally in slots, so that writers that work at the same time do not wait for each other."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    # Made anew: SQLite cannot change a primary key.
    op.rename_table("tally", "old_tally")
    op.create_table(
        "tally",
        sa.Column("campaign_id", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("state", sa.Text(), primary_key=True),
        sa.Column("slot", sa.Integer(), primary_key=True, autoincrement=False, server_default=sa.text("0")),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.execute("INSERT INTO tally (campaign_id, state, n) SELECT campaign_id, state, n FROM old_tally")
    op.drop_table("old_tally")
