"""Prebuilds in the database: what is declared, how the last one went, and what is in the engine."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import delete, func, insert, or_, select, update

from cloudide.errors import NotFound, TooMany
from cloudide.storage.database import Database
from cloudide.storage.tables import prebuild_seeds, prebuilds

HOUR = 3600.0


class Prebuild(msgspec.Struct, frozen=True):
    """`state`: queued, building, ready or failed; a failed one may have an older seed still.

    `seed`: whose volumes in the engine it is; "": there is none yet.
    """

    id: str
    team: str
    image: str
    git_url: str
    git_ref: str
    every_hours: float
    state: str
    error: str
    commit: str
    seed: str
    seconds: float
    built_at: float


class PrebuildStore:
    def __init__(self, database: Database, per_team: int) -> None:
        self._database = database
        self._per_team = per_team

    async def interrupted(self) -> None:
        """A server that ended in the middle of one makes it anew."""
        async with self._database.begin() as db:
            building = update(prebuilds).where(prebuilds.c.state == "building")
            await db.execute(building.values(state="queued"))

    async def create(
        self, team: str, image: str, url: str, ref: str, every_hours: float
    ) -> Prebuild:
        """Raises: TooMany: the team has as many as there may be."""
        same = (
            prebuilds.c.team == team if team else prebuilds.c.team.is_(None),
            prebuilds.c.image == image,
            prebuilds.c.git_url == url,
            prebuilds.c.git_ref == ref,
        )
        async with self._database.begin() as db:
            id = (await db.execute(select(prebuilds.c.id).where(*same))).scalar()
            if id is None:
                whose = select(func.count()).select_from(prebuilds).where(same[0])
                if team and (await db.execute(whose)).scalar_one() >= self._per_team:
                    raise TooMany(
                        f"The team has {self._per_team} prebuilds, which is the limit. Delete one "
                        "first."
                    )
                id = "b" + secrets.token_hex(6)
                await db.execute(
                    insert(prebuilds).values(
                        id=id,
                        team=team or None,
                        image=image,
                        git_url=url,
                        git_ref=ref,
                        every_hours=every_hours,
                        state="queued",
                        error="",
                        commit="",
                        seed="",
                        seconds=0.0,
                        built_at=0.0,
                    )
                )
            else:
                changed = update(prebuilds).where(prebuilds.c.id == id)
                await db.execute(changed.values(every_hours=every_hours))
        return await self.get(id)

    async def get(self, id: str) -> Prebuild:
        """Raises: NotFound."""
        async with self._database.begin() as db:
            row = (await db.execute(select(prebuilds).where(prebuilds.c.id == id))).first()
        if row is None:
            raise NotFound("There is no such prebuild.")
        return _prebuild(row._mapping)

    async def list(self, team: str) -> list[Prebuild]:
        """Those of a team, or ("") those for everybody."""
        whose = prebuilds.c.team == team if team else prebuilds.c.team.is_(None)
        async with self._database.begin() as db:
            rows = await db.execute(select(prebuilds).where(whose).order_by(prebuilds.c.git_url))
            return [_prebuild(row._mapping) for row in rows]

    async def fitting(self, team: str, image: str, url: str, ref: str) -> Prebuild | None:
        """The newest with a seed that a workspace can begin with."""
        whose = prebuilds.c.team.is_(None)
        query = (
            select(prebuilds)
            .where(or_(whose, prebuilds.c.team == team) if team else whose)
            .where(prebuilds.c.image == image, prebuilds.c.git_url == url, prebuilds.c.seed != "")
            # Of the same branch before others of the repository, which have most of it as well.
            .order_by((prebuilds.c.git_ref == ref).desc(), prebuilds.c.built_at.desc())
            .limit(1)
        )
        async with self._database.begin() as db:
            row = (await db.execute(query)).first()
        return _prebuild(row._mapping) if row else None

    async def queue(self, id: str) -> None:
        """Raises: NotFound."""
        async with self._database.begin() as db:
            found = update(prebuilds).where(prebuilds.c.id == id)
            if not (await db.execute(found.values(state="queued", error=""))).rowcount:
                raise NotFound("There is no such prebuild.")

    async def due(self, now: float) -> Prebuild | None:
        """One that is to be made: asked for, or by its schedule."""
        p = prebuilds.c
        scheduled = (p.every_hours > 0) & (p.built_at + p.every_hours * HOUR <= now)
        query = select(prebuilds).where(or_(p.state == "queued", scheduled)).order_by(p.built_at)
        async with self._database.begin() as db:
            row = (await db.execute(query.limit(1))).first()
        return _prebuild(row._mapping) if row else None

    async def begin(self, id: str, builder: str) -> None:
        """From here on there may be something of this builder in the engine."""
        async with self._database.begin() as db:
            await db.execute(insert(prebuild_seeds).values(id=builder))
            this = update(prebuilds).where(prebuilds.c.id == id)
            await db.execute(this.values(state="building", error=""))

    async def finished(self, id: str, builder: str, commit: str, seconds: float) -> None:
        """What was built is the seed; the former one is of no use any more."""
        values = {"seed": builder, "commit": commit, "seconds": seconds, "built_at": time.time()}
        await self._ended(id, "ready", values)

    async def failed(self, id: str, error: str) -> None:
        await self._ended(id, "failed", {"error": error, "built_at": time.time()})

    async def _ended(self, id: str, state: str, values: dict[str, Any]) -> None:
        async with self._database.begin() as db:
            this = update(prebuilds).where(prebuilds.c.id == id)
            await db.execute(this.values(**values))
            # Somebody may have asked for another one meanwhile.
            at_work = this.where(prebuilds.c.state == "building")
            await db.execute(at_work.values(state=state))

    async def discard(self, id: str) -> None:
        """Raises: NotFound."""
        async with self._database.begin() as db:
            gone = await db.execute(delete(prebuilds).where(prebuilds.c.id == id))
            if not gone.rowcount:
                raise NotFound("There is no such prebuild.")

    async def stale(self) -> list[str]:
        """What there may be in the engine and no prebuild begins with."""
        used = select(prebuilds.c.seed)
        async with self._database.begin() as db:
            rows = await db.execute(select(prebuild_seeds).where(prebuild_seeds.c.id.not_in(used)))
            return list(rows.scalars())

    async def removed(self, seed: str) -> None:
        async with self._database.begin() as db:
            await db.execute(delete(prebuild_seeds).where(prebuild_seeds.c.id == seed))


def _prebuild(row: Mapping[Any, Any]) -> Prebuild:
    values = {name: row[name] for name in Prebuild.__struct_fields__}
    return Prebuild(**{**values, "team": values["team"] or ""})
