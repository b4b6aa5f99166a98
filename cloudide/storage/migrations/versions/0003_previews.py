"""Who may see which port, and the cookies of previews."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "ports",
        sa.Column(
            "workspace",
            sa.String,
            sa.ForeignKey("workspaces.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("port", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("visibility", sa.String, nullable=False),
        sa.Column("link", sa.String, nullable=False),
        sa.Column("expires_at", sa.Float, nullable=False),
    )
    op.create_table(
        "preview_passes",
        sa.Column("hash", sa.String, primary_key=True),
        sa.Column(
            "workspace",
            sa.String,
            sa.ForeignKey("workspaces.id", ondelete="CASCADE"),
            nullable=False,
            index=True,
        ),
        sa.Column("port", sa.Integer, nullable=False),
        sa.Column(
            "user",
            sa.String,
            sa.ForeignKey("users.id", ondelete="CASCADE"),
            nullable=True,
            index=True,
        ),
        sa.Column(
            "session",
            sa.String,
            sa.ForeignKey("sessions.hash", ondelete="CASCADE"),
            nullable=True,
            index=True,
        ),
        sa.Column("link", sa.String, nullable=False),
        sa.Column("expires_at", sa.Float, nullable=False),
    )
