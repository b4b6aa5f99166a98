"""`cloudide audit …`: the audit log, beside the server or without it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import typer

from cloudide import settings as settings_
from cloudide.errors import NotFound
from cloudide.identity.audit import KEY_FILE, Audit
from cloudide.storage.database import Database


def verify(**options: Any) -> None:
    """Go through the whole chain.

    Raises:
        Tampered: it was changed. NotFound: there is none where the settings say.
    """
    count = asyncio.run(_verify(options))
    typer.echo(f"The audit log is whole: {count:,} records.")


def export(**options: Any) -> None:
    """Print every record as a line of JSON, the oldest first.

    Raises:
        NotFound: there is no log where the settings say.
    """
    asyncio.run(_export(options))


async def _verify(options: dict[str, Any]) -> int:
    async with _audit(options) as audit:
        return await audit.verify()


async def _export(options: dict[str, Any]) -> None:
    async with _audit(options) as audit:
        async for record in audit.all():
            fields = msgspec.structs.asdict(record)
            fields["detail"] = msgspec.Raw(record.detail.encode())
            typer.echo(msgspec.json.encode(fields))


@asynccontextmanager
async def _audit(options: dict[str, Any]) -> AsyncIterator[Audit]:
    folder = settings_.load(**options).data_dir
    path, key = folder / "cloudide.sqlite", folder / KEY_FILE
    if not path.exists() or not key.exists():
        raise NotFound(f"No server has kept an audit log in {folder}; see --data-dir.")
    database = Database(path)
    try:
        await database.start()
        yield Audit(database, key.read_bytes())
    finally:
        await database.close()
