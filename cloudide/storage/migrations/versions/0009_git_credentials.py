"""What people sign in to Git hosts with."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "git_credentials",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column(
            "user",
            sa.String,
            sa.ForeignKey("users.id", ondelete="CASCADE"),
            nullable=False,
            index=True,
        ),
        sa.Column("host", sa.String, nullable=False),
        sa.Column("path", sa.String, nullable=False),
        sa.Column("username", sa.String, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("used_at", sa.Float, nullable=True),
    )
    op.create_table(
        "git_profiles",
        sa.Column(
            "user", sa.String, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("email", sa.String, nullable=False),
        sa.Column("dotfiles", sa.String, nullable=False),
    )
