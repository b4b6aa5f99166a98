"""Alembic's environment: runs the migrations over one plain, synchronous connection."""

from alembic import context
from sqlalchemy import create_engine

from cloudide.storage.tables import metadata

engine = create_engine(context.config.attributes["url"])
with engine.begin() as connection:
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
    context.run_migrations()
engine.dispose()
