"""Sealing everything anew under the newest key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Column, Table, select, update

from cloudide.identity.sealing import Sealing, key_of
from cloudide.secrets.store import about_value, owner_of
from cloudide.storage.database import Database
from cloudide.storage.tables import (
    git_credentials,
    image_secrets,
    prebuilds,
    secret_versions,
    secrets,
    webhooks,
)

About = Callable[[Mapping[Any, Any]], str]


def _about_version(row: Mapping[Any, Any]) -> str:
    return about_value(row["id"], owner_of(row), row["name"], row["version"])


async def seal_anew(database: Database, sealing: Sealing) -> int:
    """Seal each value under the newest key that is under another one; returns how many.

    Raises:
        Unsealable: one of them cannot be opened; those before it are done.
    """
    count = 0
    versions = select(secrets, secret_versions.c.version, secret_versions.c.value).join(
        secret_versions, secret_versions.c.secret == secrets.c.id
    )
    async with database.begin() as db:
        rows = [row._mapping for row in await db.execute(versions)]
    for row in rows:
        where = [secret_versions.c.secret == row["id"], secret_versions.c.version == row["version"]]
        column = secret_versions.c.value
        count += await _renew(database, sealing, column, where, row["value"], _about_version(row))
    for table, name, about in _OTHERS:
        async with database.begin() as db:
            found = [row._mapping for row in await db.execute(select(table))]
        for row in found:
            where = [table.c.id == row["id"]]
            count += await _renew(database, sealing, table.c[name], where, row[name], about(row))
    return count


async def _renew(
    database: Database,
    sealing: Sealing,
    column: Column[Any],
    where: list[Any],
    sealed: bytes | None,
    about: str,
) -> int:
    if sealed is None or key_of(sealed) == sealing.newest:
        return 0
    fresh = sealing.seal(sealing.open(sealed, about), about)
    async with database.begin() as db:
        # Only what is still the same: somebody may have changed it meanwhile.
        changed = await db.execute(
            update(column.table).where(*where, column == sealed).values({column: fresh})
        )
        return changed.rowcount


def _about_git(row: Mapping[Any, Any]) -> str:
    """As `git.credentials` binds them."""
    fields = ("id", "user", "host", "path", "username")
    return "\0".join(("git credential", *(row[name] for name in fields)))


_OTHERS: list[tuple[Table, str, About]] = [
    (prebuilds, "hook", lambda row: f"prebuild hook {row['id']}"),
    (webhooks, "secret", lambda row: f"webhook {row['id']}"),
    (webhooks, "previous", lambda row: f"webhook {row['id']}"),
    (git_credentials, "sealed", _about_git),
    (image_secrets, "value", lambda row: f"image secret {row['image']} {row['name']}"),
]
