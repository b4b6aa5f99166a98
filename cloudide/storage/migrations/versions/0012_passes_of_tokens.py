"""A preview's cookie that was made with an API token ends with it."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    # Made anew: nothing refers to it, and who loses their pass is given another at the next page.
    op.drop_table("preview_passes")
    op.create_table(
        "preview_passes",
        sa.Column("hash", sa.String, primary_key=True),
        _reference("workspace", "workspaces.id", nullable=False),
        sa.Column("port", sa.Integer, nullable=False),
        _reference("user", "users.id"),
        _reference("session", "sessions.hash"),
        _reference("token", "api_tokens.id"),
        sa.Column("link", sa.String, nullable=False),
        sa.Column("expires_at", sa.Float, nullable=False),
    )


def _reference(name: str, to: str, *, nullable: bool = True) -> sa.Column[str]:
    key = sa.ForeignKey(to, ondelete="CASCADE")
    return sa.Column(name, sa.String, key, nullable=nullable, index=True)
