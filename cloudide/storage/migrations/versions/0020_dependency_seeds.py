"""What projects of a team depend on, kept where its workspaces find it without a network."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.create_table(
        "dependency_seeds",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("team", sa.String, sa.ForeignKey("teams.id", ondelete="CASCADE"), nullable=True),
        sa.Column("seed", sa.String, nullable=False),
        sa.Column("packages", sa.Text, nullable=False),
        sa.Column("made_at", sa.Float, nullable=False),
    )
