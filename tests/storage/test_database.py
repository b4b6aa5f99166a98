"""The database: migrations lead to exactly the tables that the code uses."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import aiosqlite
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, select, text

from cloudide.errors import Unavailable
from cloudide.storage import database as database_
from cloudide.storage.database import HEAD, Database
from cloudide.storage.tables import metadata, users


def test_the_head_is_the_newest_revision() -> None:
    config = Config()
    config.set_main_option("script_location", str(database_._MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


async def test_migrations_lead_to_the_tables(tmp_path: Path) -> None:
    path = tmp_path / "cloudide.sqlite"
    database = Database(path)
    await database.start()
    await database.close()
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


async def test_a_second_start_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "cloudide.sqlite"
    for _ in range(2):
        database = Database(path)
        await database.start()
        async with database.begin() as db:
            assert (await db.execute(text("PRAGMA journal_mode"))).scalar() == "delete"
            assert (await db.execute(text("PRAGMA foreign_keys"))).scalar() == 1
        await database.close()


async def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    database = Database(tmp_path / "cloudide.sqlite")
    await database.start()

    async def fail() -> None:
        async with database.begin() as db:
            await db.execute(text("INSERT INTO sign_in_tokens VALUES ('x', 1)"))
            raise RuntimeError("a named fault")

    with pytest.raises(RuntimeError):
        await fail()
    async with database.begin() as db:
        found = await db.execute(text("SELECT count(*) FROM sign_in_tokens"))
        assert found.scalar() == 0
    await database.close()


async def test_a_database_of_another_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "cloudide.sqlite"
    database = Database(path)
    await database.start()
    async with database.begin() as db:
        await db.execute(text("UPDATE alembic_version SET version_num = 'from the future'"))
    await database.close()
    content = path.read_bytes()
    database = Database(path)
    with pytest.raises(Unavailable, match=r"cloudide\.sqlite.*another version"):
        await database.start()
    await database.close()
    assert path.read_bytes() == content


async def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cloudide.sqlite"
    path.write_bytes(b"no database at all, but long enough to look at " * 50)
    database = Database(path)
    with pytest.raises(Unavailable, match=r"cloudide\.sqlite"):
        await database.start()
    await database.close()


async def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    database = Database(tmp_path / "missing" / "cloudide.sqlite")
    with pytest.raises(Unavailable, match=r"cloudide\.sqlite"):
        await database.start()
    await database.close()


async def test_who_is_cancelled_while_reading_keeps_nobody_from_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(tmp_path / "cloudide.sqlite")
    await database.start()
    async with database.begin() as db:
        for number in range(200):
            row = {"id": str(number), "name": "x" * 5000, "color": "", "admin": False}
            await db.execute(users.insert().values({**row, "created_at": 0.0}))

    async def read() -> None:
        async with database.begin() as db:
            await db.execute(select(users))

    # Between the running of a statement and the reading of its rows.
    reached = asyncio.Event()

    async def for_ever(self: aiosqlite.Cursor) -> None:
        reached.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(aiosqlite.Cursor, "fetchall", for_ever)
        reading = asyncio.create_task(read())
        await reached.wait()
        reading.cancel()
        # The error is held, and with it all that its frames know: nothing is freed by chance.
        [gone] = await asyncio.gather(reading, return_exceptions=True)
    assert isinstance(gone, asyncio.CancelledError)
    other = sqlite3.connect(tmp_path / "cloudide.sqlite", timeout=0)
    other.execute("DELETE FROM users")
    other.commit()
    other.close()
    await database.close()
