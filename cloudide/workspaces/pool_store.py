"""Pools in the database: how many ready workspaces are wanted, and which there are.

A slot is a workspace of nobody's. Its row is there before anything of it is in the engine, and goes
after everything of it has gone, so that a server that dies at any moment finds all it has made.
"""

from __future__ import annotations

import time

import msgspec
from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from cloudide.errors import Conflict, InvalidInput
from cloudide.storage.database import Database
from cloudide.storage.tables import pool_slots, pools, prebuilds

Key = tuple[str, str, str]  # team, image and prebuild


class Pool(msgspec.Struct, frozen=True):
    """`size` workspaces of an image are kept ready, for a team or ("") for everybody.

    With a `prebuild` they are filled from its `seed`, and are for its repository and branch.
    """

    team: str
    image: str
    size: int
    prebuild: str = ""
    seed: str = ""
    git_url: str = ""
    git_ref: str = ""

    @property
    def key(self) -> Key:
        return self.team, self.image, self.prebuild


class Slot(msgspec.Struct, frozen=True):
    """One workspace of a pool. `version`: what its container was made as (`Containers.draw`)."""

    id: str
    team: str
    image: str
    version: str
    prebuild: str = ""
    seed: str = ""
    git_url: str = ""
    git_ref: str = ""

    @property
    def key(self) -> Key:
        return self.team, self.image, self.prebuild


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
        p = prebuilds.c
        made = await db.execute(select(prebuilds).where(p.ready > 0, p.seed != ""))
        said += [
            Pool(r.team or "", r.image, r.ready, r.id, r.seed, r.git_url, r.git_ref) for r in made
        ]
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
            await check_total(db, team, self._per_team, "size")

    @property
    def per_team(self) -> int:
        """How many workspaces the pools of one team hold together."""
        return self._per_team

    async def slots(self) -> list[Slot]:
        async with self._database.begin() as db:
            rows = await db.execute(select(pool_slots).order_by(pool_slots.c.created_at))
            names = Slot.__struct_fields__
            return [Slot(**{name: row._mapping[name] for name in names}) for row in rows]

    async def add(self, slot: Slot) -> None:
        async with self._database.begin() as db:
            values = msgspec.structs.asdict(slot)
            await db.execute(insert(pool_slots).values(**values, created_at=time.time()))

    async def remove(self, id: str) -> None:
        async with self._database.begin() as db:
            await db.execute(delete(pool_slots).where(pool_slots.c.id == id))


async def check_total(db: AsyncConnection, team: str, limit: int, name: str) -> None:
    """Raises: InvalidInput: what a team has kept ready is more than it may be now."""
    if not team:
        return
    total = 0
    for column, whose in ((pools.c.size, pools.c.team), (prebuilds.c.ready, prebuilds.c.team)):
        total += (await db.execute(select(func.sum(column)).where(whose == team))).scalar() or 0
    if total > limit:
        raise InvalidInput(
            f"The pools of a team hold up to {limit} workspaces together, "
            f"and these would be {total}.",
            pointer=f"/{name}",
        )


async def leave_pool(db: AsyncConnection, id: str) -> None:
    """A slot becomes somebody's workspace, in the transaction that makes its row as that.

    Raises:
        Conflict: it is no slot any more.
    """
    gone = await db.execute(delete(pool_slots).where(pool_slots.c.id == id))
    if not gone.rowcount:
        raise Conflict("The ready workspace was taken meanwhile; try again.")
