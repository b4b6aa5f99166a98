"""The database: one async SQLAlchemy engine, brought to the newest schema when it opens."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import event, text
from sqlalchemy.exc import DatabaseError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from cloudide.errors import Unavailable
from cloudide.storage import outbox

_log = structlog.get_logger(__name__)
_MIGRATIONS = Path(__file__).parent / "migrations"
HEAD = "0020"  # the newest revision; a test holds it equal to what Alembic finds


class Database:
    """Open with `start`, end with `close`; `begin` gives a connection in a transaction."""

    def __init__(self, path: Path) -> None:
        self.on_events: Callable[[], None] = lambda: None  # some were committed to the outbox
        self._path = path
        self._engine = create_async_engine(
            f"sqlite+aiosqlite:///{path}", connect_args={"factory": _Connection}
        )
        event.listen(self._engine.sync_engine, "connect", _configure)

    async def start(self) -> None:
        """Bring the schema up to date.

        Raises:
            Unavailable: the file cannot be opened or is of a newer version of this program.
        """
        try:
            if await self._revision() != HEAD:
                await asyncio.to_thread(self._upgrade)
        except DatabaseError as error:
            raise Unavailable(f"The database {self._path} cannot be opened: {error}") from error

    async def close(self) -> None:
        await self._engine.dispose()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        told = False
        async with self._engine.begin() as connection:
            yield connection
            # A mark that a failed transaction leaves behind only wakes somebody for nothing.
            told = outbox.took_mark(connection)
        if told:
            self.on_events()

    async def _revision(self) -> str | None:
        async with self._engine.connect() as connection:
            found = await connection.execute(
                text("SELECT name FROM sqlite_master WHERE name = 'alembic_version'")
            )
            if found.scalar() is None:
                return None
            version = await connection.execute(text("SELECT version_num FROM alembic_version"))
            return version.scalar()

    def _upgrade(self) -> None:
        # Imported here: an up-to-date database does without, and the server starts sooner.
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS))
        config.attributes["url"] = f"sqlite:///{self._path}"
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise Unavailable(
                f"The database {self._path} belongs to another version of CloudIDE: {error}"
            ) from error
        _log.info("database.upgraded", revision=HEAD)


class _Cursor(sqlite3.Cursor):
    """Reads all rows in the call that runs the statement.

    That call and the reading are two steps for those who wait for them, and who is cancelled in
    between would leave a statement half read: it keeps its lock, and nobody can commit until the
    garbage collector finds it.
    """

    _rows: deque[Any]

    def execute(self, sql: str, parameters: Any = (), /) -> _Cursor:
        super().execute(sql, parameters)
        self._rows = deque(super().fetchall() if self.description else ())
        return self

    def fetchone(self) -> Any:
        return self._rows.popleft() if self._rows else None

    def fetchmany(self, size: int | None = 1) -> list[Any]:
        return [self._rows.popleft() for _ in range(min(size or 1, len(self._rows)))]

    def fetchall(self) -> list[Any]:
        rows = [*self._rows]
        self._rows.clear()
        return rows


class _Connection(sqlite3.Connection):
    def cursor(self, factory: Any = None) -> Any:
        return super().cursor(factory or _Cursor)


def _configure(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=DELETE")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA busy_timeout=5000")
    cursor.close()
