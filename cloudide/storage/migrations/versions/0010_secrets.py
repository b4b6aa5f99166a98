"""Secrets, their versions, and where they went."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "secrets",
        sa.Column("id", sa.String, primary_key=True),
        *(
            sa.Column(
                owner,
                sa.String,
                sa.ForeignKey(f"{owner}s.id", ondelete="CASCADE"),
                nullable=True,
                index=True,
            )
            for owner in ("user", "team", "workspace")
        ),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("description", sa.String, nullable=False),
        sa.Column("readers", sa.Text, nullable=False),
        sa.Column("latest", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("created_by", sa.String, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
    )
    secret = sa.ForeignKey("secrets.id", ondelete="CASCADE")
    op.create_table(
        "secret_versions",
        sa.Column("secret", sa.String, secret, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("value", sa.LargeBinary, nullable=True),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("created_by", sa.String, nullable=False),
    )
    op.create_table(
        "secret_uses",
        sa.Column(
            "secret", sa.String, sa.ForeignKey("secrets.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column(
            "workspace",
            sa.String,
            sa.ForeignKey("workspaces.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("process", sa.String, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("user", sa.String, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
    )
