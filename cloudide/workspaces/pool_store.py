"""Pools in the database: how many ready workspaces are wanted, and which there are.

A slot is a workspace of nobody's. Its row is there before anything of it is in the engine, and goes
after everything of it has gone, so that a server that dies at any moment finds all it has made.
"""

from __future__ import annotations

import time

import msgspec
from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from cloudide.errors import Conflict, InvalidInput
from cloudide.storage.database import Database
from cloudide.storage.tables import pool_slots, pools


class Pool(msgspec.Struct, frozen=True):
    """`size` workspaces of an image are kept ready, for a team or ("") for everybody."""

    team: str
    image: str
    size: int

    @property
    def key(self) -> tuple[str, str]:
        return self.team, self.image


class Slot(msgspec.Struct, frozen=True):
    """One workspace of a pool. `version`: what its container was made as (`Containers.draw`)."""

    id: str
    team: str
    image: str
    version: str

    @property
    def key(self) -> tuple[str, str]:
        return self.team, self.image


class PoolStore:
    """`preset`: size by image of everybody's pools, where nobody has said otherwise."""

    def __init__(self, database: Database, preset: dict[str, int], per_team: int) -> None:
        self._database = database
        self._preset = preset
        self._per_team = per_team

    async def pools(self, team: str | None = None) -> list[Pool]:
        """All pools, or those of one team ("": everybody's), by team and image."""
        async with self._database.begin() as db:
            found = await self._pools(db)
        return [pool for pool in found if team is None or pool.team == team]

    async def _pools(self, db: AsyncConnection) -> list[Pool]:
        rows = await db.execute(select(pools))
        said = [Pool(row.team or "", row.image, row.size) for row in rows]
        preset = [Pool("", image, size) for image, size in self._preset.items()]
        by_key = {pool.key: pool for pool in [*preset, *said]}
        return sorted(by_key.values(), key=lambda pool: pool.key)

    async def resize(self, team: str, image: str, size: int) -> None:
        """Say how many there are to be; 0: no pool.

        Raises:
            InvalidInput: more than one team may have.
        """
        id = f"{team}/{image}"
        async with self._database.begin() as db:
            await db.execute(delete(pools).where(pools.c.id == id))
            # What the settings preset can only be said otherwise; a team's is gone without its row.
            if size or not team:
                values = {"id": id, "team": team or None, "image": image, "size": size}
                await db.execute(insert(pools).values(**values))
            total = sum(pool.size for pool in await self._pools(db) if pool.team == team)
            if team and total > self._per_team:
                raise InvalidInput(
                    f"size: the pools of a team hold up to {self._per_team} workspaces together, "
                    f"and these would be {total}.",
                    pointer="/size",
                )

    async def slots(self) -> list[Slot]:
        async with self._database.begin() as db:
            rows = await db.execute(select(pool_slots).order_by(pool_slots.c.created_at))
            return [Slot(row.id, row.team, row.image, row.version) for row in rows]

    async def add(self, slot: Slot) -> None:
        async with self._database.begin() as db:
            values = msgspec.structs.asdict(slot)
            await db.execute(insert(pool_slots).values(**values, created_at=time.time()))

    async def remove(self, id: str) -> None:
        async with self._database.begin() as db:
            await db.execute(delete(pool_slots).where(pool_slots.c.id == id))


async def leave_pool(db: AsyncConnection, id: str) -> None:
    """A slot becomes somebody's workspace, in the transaction that makes its row as that.

    Raises:
        Conflict: it is no slot any more.
    """
    gone = await db.execute(delete(pool_slots).where(pool_slots.c.id == id))
    if not gone.rowcount:
        raise Conflict("The ready workspace was taken meanwhile; try again.")
