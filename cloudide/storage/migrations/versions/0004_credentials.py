"""Passwords, deactivated accounts, what a session is used with, and API tokens."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    # Columns are added in place: making the table anew would delete what refers to it.
    op.add_column("users", sa.Column("email", sa.String, nullable=True))
    op.add_column("users", sa.Column("password", sa.String, nullable=True))
    op.add_column("users", sa.Column("active", sa.Boolean, nullable=False, server_default="1"))
    op.create_index("ix_users_email", "users", ["email"], unique=True)
    op.add_column("sessions", sa.Column("agent", sa.String, nullable=False, server_default=""))
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("hash", sa.String, nullable=False, unique=True),
        sa.Column(
            "user",
            sa.String,
            sa.ForeignKey("users.id", ondelete="CASCADE"),
            nullable=False,
            index=True,
        ),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("scopes", sa.String, nullable=False),
        sa.Column(
            "workspace",
            sa.String,
            sa.ForeignKey("workspaces.id", ondelete="CASCADE"),
            nullable=True,
            index=True,
        ),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("expires_at", sa.Float, nullable=True),
        sa.Column("used_at", sa.Float, nullable=True),
    )
