"""Teams, workspaces that are theirs, guests, and invitations to more than workspaces."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "teams",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
    )
    op.create_table(
        "team_members",
        sa.Column(
            "team", sa.String, sa.ForeignKey("teams.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column(
            "user",
            sa.String,
            sa.ForeignKey("users.id", ondelete="CASCADE"),
            primary_key=True,
            index=True,
        ),
        sa.Column("role", sa.String, nullable=False),
    )
    # Columns are added in place: making the table anew would delete what refers to it.
    op.add_column("users", sa.Column("guest", sa.Boolean, nullable=False, server_default="0"))
    # Who joined by a link and set no password had nothing but that workspace.
    op.execute("UPDATE users SET guest = 1 WHERE NOT admin AND password IS NULL")
    # Alembic will not add a reference to a table of SQLite; SQLite and PostgreSQL do.
    op.execute("ALTER TABLE workspaces ADD COLUMN team VARCHAR REFERENCES teams (id)")
    op.add_column(
        "workspaces",
        sa.Column("team_role", sa.String, nullable=False, server_default="terminal"),
    )
    op.create_index("ix_workspaces_team", "workspaces", ["team"])
    # An editor could run programs until there was a role for that.
    op.execute("UPDATE members SET role = 'terminal' WHERE role = 'editor'")
    op.rename_table("invites", "invites_of_workspaces")
    op.drop_index("ix_invites_workspace", "invites_of_workspaces")
    op.create_table(
        "invites",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("hash", sa.String, nullable=False, unique=True),
        sa.Column(
            "workspace",
            sa.String,
            sa.ForeignKey("workspaces.id", ondelete="CASCADE"),
            nullable=True,
            index=True,
        ),
        sa.Column(
            "team",
            sa.String,
            sa.ForeignKey("teams.id", ondelete="CASCADE"),
            nullable=True,
            index=True,
        ),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("approval", sa.Boolean, nullable=False),
        sa.Column(
            "invited_by", sa.String, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("expires_at", sa.Float, nullable=False),
    )
    op.execute(
        "INSERT INTO invites (id, hash, workspace, role, approval, invited_by, created_at, "
        "expires_at) SELECT id, hash, workspace, replace(role, 'editor', 'terminal'), 0, "
        "invited_by, created_at, expires_at FROM invites_of_workspaces"
    )
    op.drop_table("invites_of_workspaces")
    op.create_table(
        "join_requests",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column(
            "invite",
            sa.String,
            sa.ForeignKey("invites.id", ondelete="CASCADE"),
            nullable=False,
            index=True,
        ),
        sa.Column(
            "user",
            sa.String,
            sa.ForeignKey("users.id", ondelete="CASCADE"),
            nullable=False,
            index=True,
        ),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("state", sa.String, nullable=False),
    )
