"""Prebuilds in the database: what is declared, how the last one went, and what is in the engine."""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from sqlalchemy import delete, func, insert, or_, select, true, update

from cloudide.errors import NotFound, TooMany
from cloudide.identity.sealing import Sealing
from cloudide.storage.database import Database
from cloudide.storage.tables import dependency_seeds, prebuild_seeds, prebuilds
from cloudide.workspaces.pool_store import check_total

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
    ready: int = 0  # workspaces that are kept ready with it
    hooked: bool = False  # a Git host can tell of pushes


class PrebuildStore:
    """`per_team`: how many a team may have. `pooled_per_team`: how many workspaces its pools may
    hold."""

    def __init__(
        self, database: Database, sealing: Sealing, per_team: int, pooled_per_team: int
    ) -> None:
        self._database = database
        self._sealing = sealing
        self._per_team = per_team
        self._pooled_per_team = pooled_per_team

    @property
    def per_team(self) -> int:
        return self._per_team

    async def interrupted(self) -> None:
        """A server that ended in the middle of one makes it anew."""
        async with self._database.begin() as db:
            building = update(prebuilds).where(prebuilds.c.state == "building")
            await db.execute(building.values(state="queued"))

    async def create(
        self, team: str, image: str, url: str, ref: str, every_hours: float, ready: int
    ) -> Prebuild:
        """Raises: TooMany: the team has as many as there may be. InvalidInput: too many ready."""
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
                        ready=ready,
                    )
                )
            else:
                changed = update(prebuilds).where(prebuilds.c.id == id)
                await db.execute(changed.values(every_hours=every_hours, ready=ready))
            await check_total(db, team, self._pooled_per_team, "ready")
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
        """The newest with a seed that a workspace can begin with; `image` "": of any."""
        whose = prebuilds.c.team.is_(None)
        query = (
            select(prebuilds)
            .where(or_(whose, prebuilds.c.team == team) if team else whose)
            .where(prebuilds.c.git_url == url, prebuilds.c.seed != "")
            .where(prebuilds.c.image == image if image else true())
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

    async def finished(self, id: str, builder: str, commit: str, seconds: float, log: str) -> None:
        """What was built is the seed; the former one is of no use any more."""
        values = {"seed": builder, "commit": commit, "seconds": seconds, "log": log}
        await self._ended(id, "ready", {**values, "built_at": time.time()})

    async def failed(self, id: str, error: str, log: str) -> None:
        await self._ended(id, "failed", {"error": error, "log": log, "built_at": time.time()})

    async def set_log(self, id: str, log: str) -> None:
        async with self._database.begin() as db:
            await db.execute(update(prebuilds).where(prebuilds.c.id == id).values(log=log))

    async def log(self, id: str) -> str:
        """Of the last one that ended. Raises: NotFound."""
        async with self._database.begin() as db:
            found = await db.execute(select(prebuilds.c.log).where(prebuilds.c.id == id))
            row = found.first()
        if row is None:
            raise NotFound("There is no such prebuild.")
        return row.log

    # ── what a Git host tells ───────────────────────────────────────────────────────────────────

    async def set_hook(self, id: str, secret: str) -> None:
        """Raises: NotFound."""
        sealed = self._sealing.seal(secret.encode(), f"prebuild hook {id}")
        async with self._database.begin() as db:
            this = update(prebuilds).where(prebuilds.c.id == id)
            if not (await db.execute(this.values(hook=sealed))).rowcount:
                raise NotFound("There is no such prebuild.")

    async def hook(self, id: str) -> str | None:
        """The secret that messages of the host are signed with; None: it has none, or is gone."""
        async with self._database.begin() as db:
            query = select(prebuilds.c.hook).where(prebuilds.c.id == id)
            sealed = (await db.execute(query)).scalar()
        return self._sealing.open(sealed, f"prebuild hook {id}").decode() if sealed else None

    async def of_repository(self, urls: Collection[str]) -> list[Prebuild]:
        async with self._database.begin() as db:
            rows = await db.execute(select(prebuilds).where(prebuilds.c.git_url.in_(urls)))
            return [_prebuild(row._mapping) for row in rows]

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
        used = select(prebuilds.c.seed).union(select(dependency_seeds.c.seed))
        async with self._database.begin() as db:
            rows = await db.execute(select(prebuild_seeds).where(prebuild_seeds.c.id.not_in(used)))
            return list(rows.scalars())

    async def add(self, seed: str) -> None:
        """From here on there may be something of this id in the engine."""
        async with self._database.begin() as db:
            await db.execute(insert(prebuild_seeds).values(id=seed))

    async def removed(self, seed: str) -> None:
        async with self._database.begin() as db:
            await db.execute(delete(prebuild_seeds).where(prebuild_seeds.c.id == seed))


def _prebuild(row: Mapping[Any, Any]) -> Prebuild:
    values = {name: row[name] for name in Prebuild.__struct_fields__ if name != "hooked"}
    hooked = row["hook"] is not None
    return Prebuild(**{**values, "team": values["team"] or "", "hooked": hooked})
