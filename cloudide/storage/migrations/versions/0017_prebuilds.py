"""Projects that are set up ahead of new workspaces."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.create_table(
        "prebuilds",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column(
            "team",
            sa.String,
            sa.ForeignKey("teams.id", ondelete="CASCADE"),
            nullable=True,
            index=True,
        ),
        sa.Column("image", sa.String, nullable=False),
        sa.Column("git_url", sa.String, nullable=False),
        sa.Column("git_ref", sa.String, nullable=False),
        sa.Column("every_hours", sa.Float, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("commit", sa.String, nullable=False),
        sa.Column("seed", sa.String, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("built_at", sa.Float, nullable=False),
    )
    op.create_table("prebuild_seeds", sa.Column("id", sa.String, primary_key=True))
