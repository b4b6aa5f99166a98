"""Pools of ready workspaces."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.create_table(
        "pools",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column(
            "team",
            sa.String,
            sa.ForeignKey("teams.id", ondelete="CASCADE"),
            nullable=True,
            index=True,
        ),
        sa.Column("image", sa.String, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
    )
    op.create_table(
        "pool_slots",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("team", sa.String, nullable=False),
        sa.Column("image", sa.String, nullable=False),
        sa.Column("version", sa.String, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
    )
