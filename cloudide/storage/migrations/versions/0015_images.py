"""Images that teams and the site define, their versions and builds, and who uses which."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.create_table(
        "image_definitions",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("team", sa.String, sa.ForeignKey("teams.id"), nullable=True, index=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("title", sa.String, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("context", sa.String, nullable=False),
        sa.Column("updates", sa.String, nullable=False),
        sa.Column("active", sa.Integer, nullable=True),
        sa.Column("previous", sa.Integer, nullable=True),
        sa.Column("canary", sa.Integer, nullable=True),
        sa.Column("canary_percent", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("created_by", sa.String, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
    )
    op.create_table(
        "image_versions",
        _image(primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("inputs", sa.String, nullable=False),
        sa.Column("made_from", sa.Text, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("engine_id", sa.String, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("security", sa.Text, nullable=True),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("created_by", sa.String, nullable=False),
        sa.Column("built_at", sa.Float, nullable=True),
        sa.Column("activated_at", sa.Float, nullable=True),
    )
    op.create_index("ix_image_versions_inputs", "image_versions", ["image", "inputs"], unique=True)
    op.create_table(
        "image_builds",
        sa.Column("id", sa.String, primary_key=True),
        _image(),
        sa.Column("version", sa.Integer, nullable=True),
        sa.Column("state", sa.String, nullable=False, index=True),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("fresh", sa.String, nullable=False),
        sa.Column("reused", sa.Boolean, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("steps", sa.Text, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("created_by", sa.String, nullable=False),
        sa.Column("started_at", sa.Float, nullable=True),
        sa.Column("ended_at", sa.Float, nullable=True),
    )
    op.create_index("ix_image_builds_image", "image_builds", ["image", "created_at"])
    op.create_table(
        "image_secrets",
        sa.Column("id", sa.String, primary_key=True),
        _image(),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("value", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("created_by", sa.String, nullable=False),
    )
    op.create_index("ix_image_secrets_name", "image_secrets", ["image", "name"], unique=True)
    op.create_table(
        "workspace_versions",
        sa.Column("workspace", sa.String, primary_key=True),
        sa.Column(
            "image", sa.String, sa.ForeignKey("image_definitions.id"), nullable=False, index=True
        ),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("pinned", sa.Boolean, nullable=False),
        sa.Column("wanted", sa.Boolean, nullable=False),
    )


def _image(*, primary_key: bool = False) -> sa.Column[str]:
    key = sa.ForeignKey("image_definitions.id", ondelete="CASCADE")
    return sa.Column("image", sa.String, key, primary_key=primary_key, nullable=False)
