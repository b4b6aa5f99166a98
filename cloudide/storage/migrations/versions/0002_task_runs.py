"""Runs of tasks, and why a workspace was stopped."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "task_runs",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column(
            "workspace",
            sa.String,
            sa.ForeignKey("workspaces.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("task", sa.String, nullable=False),
        sa.Column("batch", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("person", sa.String, nullable=False),
        sa.Column("background", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("seconds", sa.Float),
        sa.Column("exit_code", sa.Integer),
        sa.Column("exit_signal", sa.Integer),
        sa.Column("cpu_seconds", sa.Float),
        sa.Column("peak_memory", sa.BigInteger),
        sa.Column("signature", sa.String, nullable=False),
        sa.Column("output", sa.LargeBinary),
        sa.Column("lost", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_task_runs_workspace", "task_runs", ["workspace", "task", "created_at"])
    op.add_column(
        "workspaces", sa.Column("stopped_by", sa.String, nullable=False, server_default="")
    )
