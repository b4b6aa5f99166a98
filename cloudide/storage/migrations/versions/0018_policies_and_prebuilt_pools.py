"""Policies of teams; prebuilds that are kept ready, told of pushes, and have a log."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.create_table(
        "team_policies",
        sa.Column(
            "team", sa.String, sa.ForeignKey("teams.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("policy", sa.Text, nullable=False),
    )
    op.add_column("prebuilds", sa.Column("ready", sa.Integer, nullable=False, server_default="0"))
    op.add_column("prebuilds", sa.Column("log", sa.Text, nullable=False, server_default=""))
    op.add_column("prebuilds", sa.Column("hook", sa.LargeBinary, nullable=True))
    for name in ("prebuild", "seed", "git_url", "git_ref"):
        op.add_column("pool_slots", sa.Column(name, sa.String, nullable=False, server_default=""))
    op.add_column("workspaces", sa.Column("prebuilt", sa.String, nullable=False, server_default=""))
