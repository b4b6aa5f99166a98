"""Chat of a workspace, and comments on text."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.create_table(
        "chat_messages",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("workspace", sa.String, _reference("workspaces.id"), nullable=False),
        sa.Column("author", sa.String, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Index("ix_chat_messages_workspace", "workspace", "id"),
    )
    op.create_table(
        "comment_threads",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("workspace", sa.String, _reference("workspaces.id"), nullable=False, index=True),
        sa.Column("path", sa.String, nullable=False),
        sa.Column("start", sa.String, nullable=False),
        sa.Column("end", sa.String, nullable=False),
        sa.Column("line", sa.Integer, nullable=False),
        sa.Column("quote", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("resolved_by", sa.String, nullable=False),
    )
    op.create_table(
        "comment_replies",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column(
            "thread", sa.String, _reference("comment_threads.id"), nullable=False, index=True
        ),
        sa.Column("author", sa.String, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )


def _reference(to: str) -> sa.ForeignKey:
    return sa.ForeignKey(to, ondelete="CASCADE")
